//! The proxy from outside: the real `lb proxy` process between clients and upstreams that are written
//! here, byte by byte, so that each can misbehave in its own way.
//!
//! Each test has a loopback address of its own, or a network, so that all can run at once.

#![allow(clippy::expect_used)] // helpers of tests; the configuration knows only tests themselves

mod admin;
mod answers;
#[path = "../../../wire/tests/support/bad_input.rs"]
mod asked_wrongly;
mod backend;
mod bad_input;
mod balancer;
mod balancing;
mod changes;
mod check_answers;
mod checks;
mod client;
mod commands;
mod error_pages;
mod failover;
mod forwarding;
mod hand_over;
mod hand_over_cut;
mod hostile;
mod hostile_requests;
mod http2;
mod kept;
#[path = "../../../wire/tests/support/namespaces.rs"]
mod namespaces;
mod network;
mod observed;
mod overrides;
mod reload;
mod reopen;
mod rewriting;
mod routing;
mod slow_clients;
mod slowness;
mod speaker;
mod splitting;
mod standalone;
mod statuses;
mod streams;
mod supervised;
mod swaps;
mod traced;
mod trouble;
mod uploads;
mod vanished;
