//! TCP services from outside: the real `lb proxy` between clients and servers that speak whatever they like.
//!
//! Its ports are open on every address, so each test has a network of its own.

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

mod announced;
mod bytes;
mod crowds;
mod ends;
mod failing;
mod leaving;
mod moving;
mod names;
mod ports;
mod primary;
mod seen;
mod stage;
