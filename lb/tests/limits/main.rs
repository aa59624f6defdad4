//! Who clients are and what each of them may, from outside: the real `lb proxy` process between clients at several
//! addresses and upstreams.

#![allow(clippy::expect_used)] // helpers of tests; the configuration knows only tests themselves

#[allow(dead_code)]
#[path = "../proxy/backend.rs"]
mod backend;
#[allow(dead_code)]
#[path = "../proxy/balancer.rs"]
mod balancer;
#[allow(dead_code)]
#[path = "../proxy/client.rs"]
mod client;

mod allow_deny;
mod compressed;
mod connections;
mod rates;
mod stage;
mod trusted_proxies;
