//! TLS and the PROXY protocol from outside: the real `lb proxy` and its peers: curl and OpenSSL, which have their own
//! mind of what is right, and rustls as a client where a test has to look at single records.
//!
//! Each test has a loopback address of its own, or a network, so that all can run at once.

#![allow(clippy::expect_used)] // helpers of tests; the configuration knows only tests themselves

#[allow(dead_code)] // shared with the other tests, which use more of it
#[path = "../proxy/backend.rs"]
mod backend;
#[allow(dead_code)]
#[path = "../proxy/balancer.rs"]
mod balancer;
#[allow(dead_code)]
#[path = "../proxy/client.rs"]
mod client;
#[path = "../../../wire/tests/support/namespaces.rs"]
mod namespaces;
#[allow(dead_code)]
#[path = "../proxy/network.rs"]
mod network;
#[allow(dead_code)]
#[path = "../proxy/speaker.rs"]
mod speaker;

mod authority;
mod client_certificates;
mod crowds;
mod ends;
mod names;
mod ocsp;
mod operations;
mod peers;
mod proxied;
mod stage;
mod streams;
mod swaps;
mod tickets;
mod versions;
mod vip;
