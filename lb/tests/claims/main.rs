//! What a client must never notice, or be told the truth about: the real `lb proxy` in front of real
//! backends in network namespaces, with real SIGKILL, SIGSTOP, cut cables and dropped packets.
//!
//! Times are asserted generously, because they are measured on machines that do other things beside: the
//! bench `faults` measures them, these tests say what is lost and what is executed twice.

#![allow(clippy::expect_used)] // helpers of tests; the configuration knows only tests themselves

#[allow(dead_code)] // shared with the tests on loopback, which use more of it
#[path = "../proxy/backend.rs"]
mod backend;
#[allow(dead_code)]
#[path = "../proxy/balancer.rs"]
mod balancer;
#[allow(dead_code)]
#[path = "../proxy/client.rs"]
mod client;

mod accounts;
mod bodies;
mod churn;
mod deaths;
mod errors;
mod grey;
mod in_flight;
mod load;
#[path = "../../../wire/tests/support/namespaces.rs"]
mod namespaces;
mod outage;
mod posts;
mod stage;
mod upgrade;
