//! The cluster's certificates, with real TLS between real daemons on loopback.
//!
//! ```text
//!   founding.rs    init, and what it leaves
//!   joining.rs     tokens, the pin, hosts that are like another one
//!   strangers.rs   other CAs, addresses that are not theirs, plain HTTP
//!   revoking.rs    a host is taken out, and let in again
//!   rotation.rs    certificates get old while connections live
//!   crowds.rs      many connections that say nothing
//!   hostile_peers.rs  anything, from a peer
//!   balancer.rs    a balancer's port for changes
//!   stage.rs forger.rs run.rs   the means
//! ```
//!
//! No machine is made here: the hosts name a bridge that does not exist.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod balancer;
mod crowds;
mod forger;
mod founding;
mod hostile_peers;
mod joining;
mod revoking;
mod rotation;
#[path = "../cluster/run.rs"]
mod run;
mod stage;
mod strangers;
