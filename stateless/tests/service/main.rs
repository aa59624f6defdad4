//! The real program on a real port: what a client, a balancer and an operator see of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faults;
mod process;
mod stop;
mod values;
