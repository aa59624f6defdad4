//! Other people's proxies before us and behind us: the real HAProxy says who its clients are, in both versions of the PROXY
//! protocol, and speaks TLS to us after it; and nginx, HAProxy and OpenSSL as upstreams hear the same from us.

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
#[allow(dead_code)]
#[path = "../tls/peers.rs"]
mod peers;
#[allow(dead_code)]
#[path = "../tls/stage.rs"]
mod stage;

mod haproxy;
mod upstreams;
