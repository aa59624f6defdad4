//! Faults of a whole host, which its manager is told to bring about: what `loadtest` orders and people try out.
//!
//! Whoever ordered such a fault cannot be relied on to undo it: the host may be out of its reach by then. So each has a
//! time to live, and the host itself ends it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest that a fault of a host may last, in milliseconds: an hour.
pub const LONGEST_MS: u64 = 3_600_000;

/// The body of `POST /host/fault`; the route exists only on a manager with `chaos = true`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostFaultOrder {
    /// What to do to the host.
    pub fault: HostFaultKind,
    /// After so many milliseconds the host undoes it by itself; at most [`LONGEST_MS`].
    pub ttl_ms: u64,
}

/// What can be done to a host to see what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostFaultKind {
    /// Its uplink is switched off: no client and no other host reaches it or its machines, which all live on.
    Cut,
    /// Its manager is gone, and its machines are alone.
    StopManager,
}

/// What `POST /host/fault` answers, while the host can still answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostFaultBegun {
    /// In so many milliseconds the fault is in force: the answer has to leave the host first.
    pub in_ms: u64,
}

/// What `GET /host/fault` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostFaults {
    /// What this host can be ordered to suffer.
    pub possible: Vec<HostFaultKind>,
    /// Why the others are not possible, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// Whether it is cut off now, or is about to be.
    pub cut: bool,
}

impl HostFaultKind {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            HostFaultKind::Cut => "cut",
            HostFaultKind::StopManager => "stop-manager",
        }
    }
}
