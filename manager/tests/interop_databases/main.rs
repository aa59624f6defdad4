//! Real databases behind a TCP service: a lab of two hosts whose balancers lead to servers of somebody else, each on a
//! computer of its own on the same network.
//!
//! ```text
//!   switch ── host a, host b (balancers, the public address)
//!          ── client                                           writers
//!          ── db1, db2, db3: 192.168.10.61 to .63              MariaDB with Galera, or etcd
//! ```
//!
//! What dies here dies like a computer: its cable is pulled, and then its processes are killed or stopped.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod etcd;
mod galera;
#[path = "../cluster/lab.rs"]
#[allow(dead_code)]
mod lab;
mod node;
#[path = "../cluster/run.rs"]
#[allow(dead_code)]
mod run;
mod writers;
