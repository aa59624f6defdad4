//! The real program on a real port: what a client, a balancer and an operator see of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../wire/tests/support/bad_input.rs"]
mod asked_wrongly;
mod bad_input;
mod faults;
mod process;
mod stop;
mod values;
