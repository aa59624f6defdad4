//! The real program against servers whose behaviour is known exactly: what it says must be what was.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accounts;
mod cluster;
mod commands;
mod inputs;
mod loads;
mod names;
mod overlap;
mod process;
mod scenarios;
mod secure;
mod servers;
mod truth;
mod typed;
