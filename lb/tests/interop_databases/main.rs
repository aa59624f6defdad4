//! Real databases, checked: MariaDB, PostgreSQL and Redis say of themselves whether they take writes, and the balancer
//! understands them.

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

mod mariadb;
mod postgres;
mod redis;
mod server;
