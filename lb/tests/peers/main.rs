//! The proxy between programs that nobody here wrote: curl, nghttp2's clients and server, gRPC's own library, Python's
//! `h2` and `websockets`. `deploy/test.sh interop` installs them.

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

mod clients;
mod compressed;
mod frames;
mod grpc;
mod stage;
mod streams;
mod upstreams;
mod websocket;
