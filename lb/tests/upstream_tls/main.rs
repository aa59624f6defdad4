//! TLS with upstreams, from outside: the real `lb proxy` and, as its upstreams, rustls and OpenSSL, which have their own
//! mind of what is right.

#![allow(clippy::expect_used)] // helpers of tests; the configuration knows only tests themselves

#[allow(dead_code)] // shared with the tests of TLS, which use more of it
#[path = "../tls/authority.rs"]
mod authority;
#[allow(dead_code)]
#[path = "../proxy/backend.rs"]
mod backend;
#[allow(dead_code)]
#[path = "../proxy/balancer.rs"]
mod balancer;
#[allow(dead_code)]
#[path = "../proxy/client.rs"]
mod client;

mod announced;
mod certificates;
mod front;
mod http2;
mod own_certificates;
mod sharing;
mod swaps;
mod trouble;
