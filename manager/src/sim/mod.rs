//! The simulator: whole clusters under faults, in virtual time, the same again for the same seed.
//!
//! ```text
//!            dice (the seed) ──▶ faults ──▶ network, hypervisors, disks, processes, people
//!                                                │
//!   production engine ◀── managers ──────────────┼────────────── election ──▶ production vrrp::Router
//!   production rule of generations ◀── calls ────┤                            production presence
//!                                                │
//!                        after every step: checks, holders   in the end: run::not_yet_well
//! ```
//!
//! Two or three hosts, each with a manager, a hypervisor, a balancer's machine and some of a service, and
//! a client that asks the VIP. What decides is the code that ships: the [`engine`](crate::engine), the VRRP
//! state machine, what the speaker thinks of its proxy, and the rule by which older documents are refused.
//! What is simulated is what they stand on. [`checks`] lists the promises; [`bug`] the mistakes that each
//! of them was seen to find.
//!
//! `SIM_SEED=7 cargo test -p manager --lib sim::suite -- --nocapture` runs one seed and prints what happened.

pub(crate) mod bug;

mod balancer;
mod bites;
mod calls;
mod checked;
mod checkers;
mod checks;
mod circles;
mod clients;
mod convergence;
mod dice;
mod election;
mod faults;
mod growth;
mod guest;
mod harm;
mod holders;
mod host;
mod lives;
mod machines;
mod managers;
mod metamorphic;
mod meter;
mod network;
mod placed;
mod processes;
mod queue;
mod reached;
mod regressions;
mod run;
mod speaker;
mod spread;
mod standbys;
mod suite;
mod trace;
mod world;
