//! The whole system from the client's side: two hosts and a client in namespaces (`deploy/lab.sh`), a
//! load on the public address, and one fault per test.
//!
//! ```text
//!   machines.rs    a service machine dies, freezes, is added, is removed    ┐
//!   balancers.rs   the balancer or the host that has the address dies       │
//!   managers.rs    a manager dies; machines and balancers do not mind       ├ stories
//!   replacement.rs machines are built anew because somebody asked for it       │
//!   addresses.rs   strangers have addresses of a pool                         │
//!   switchover.rs  the public address moves because somebody asked for it      │
//!   spread.rs      several public addresses over three hosts; one of these dies and returns
//!   uplink.rs      the cable that leaves a host dies                             │
//!   faults.rs      faults that were ordered end by themselves                    │
//!   services.rs    services of people's own: names, secrets, probes, endpoints      │
//!   placement.rs   services over all hosts, and machines that keep their disk          │
//!   standbys.rs    machines that stand by, and spares that become machines                │
//!   autoscale.rs   machines follow the load                               │
//!   slow.rs        slow requests are no failures                            │
//!   certificates.rs  a running cluster gets its CA; a host is taken out      │
//!   curl.rs        what one person with curl sees                           │
//!   peers.rs       hosts that contradict each other                         │
//!   ipv6.rs        all of it with addresses of IPv6                       │
//!   labs.rs        labs do not meet, and leave nothing                      ┘
//!   api.rs cli.rs  what cannot be meant is refused, in words
//!   lab.rs load.rs run.rs   the means
//! ```
//!
//! Bounds are generous: they hold on two busy cores with programs that are not optimized. How fast it
//! is, the benches say.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod addresses;
mod api;
mod autoscale;
mod balancers;
mod certificates;
mod cli;
mod curl;
mod faults;
mod ipv6;
mod lab;
mod labs;
mod load;
mod machines;
mod managers;
mod peers;
mod placement;
mod replacement;
mod rollout;
mod run;
mod services;
mod slow;
mod spread;
mod standbys;
mod switchover;
mod uplink;
