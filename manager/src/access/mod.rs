//! Who asks, and what they may do.
//!
//! ```text
//!   listener ──▶ Origin ─┐
//!   Authorization ──▶ Bearer ─┤
//!   method and route ──▶ Need ─┼──▶ judge ──▶ Who, or why not ──▶ handler
//!   initialised? peers? ──▶ Rules ─┘                      └──▶ audit log
//! ```
//!
//! [`listen`] makes the origin, [`tokens`] knows the bearers, [`rules`] decides without looking at anything
//! else, [`gate`] puts the decision before every handler and writes what was changed to the [`audit`] log.

pub mod audit;
mod body;
mod browser;
pub mod gate;
pub mod listen;
mod origin;
pub mod rules;
pub mod tokens;

pub use origin::{From, Origin};

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since 1970-01-01 UTC.
pub(crate) fn unix_s() -> u64 {
    unix_ms() / 1000
}
