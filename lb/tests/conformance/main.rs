//! HTTP/1.1 to the letter: a table of raw requests and raw answers, each sent through lb, nginx and HAProxy to the
//! same backend, which records what it got.
//!
//! ```text
//!   case ──bytes──▶ lb, nginx, HAProxy ──▶ one recording backend each ──the case's bytes──▶ …
//!                        │
//!                        ├─ lb: the right answers, and nothing but the right requests at the backend
//!                        └─ all three: docs/http1.md, which has to be the same as what was measured
//! ```
//!
//! `HTTP1_TABLE=write` in the environment writes the table anew. What reached a backend is asserted of lb alone, as
//! the other two are only looked at.

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

mod case;
mod cases_answers;
mod cases_bodies;
mod cases_connections;
mod cases_heads;
mod cases_smuggling;
mod curl;
mod outcome;
mod peers;
mod recorder;
mod table;
mod through;
