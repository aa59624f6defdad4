//! What the engine has to say to people: one notice for each transition.

use std::time::Duration;

use wire::PoolName;

/// Something happened that a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub severity: Severity,
    /// What kind of thing, such as `machine.ready`.
    pub kind: &'static str,
    /// Whom it concerns.
    pub subject: String,
    /// In words.
    pub message: String,
    /// The same in numbers, where a machine got ready.
    pub start: Option<Start>,
}

/// How a machine got ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// What it is for.
    pub service: PoolName,
    /// From the order to create it to its first heartbeat.
    pub boot: Duration,
    /// From the death of the one before it to its first heartbeat, pauses included; none where nobody had died.
    pub down: Option<Duration>,
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// All is as it should be.
    Info,
    /// Something failed and is being dealt with.
    Warning,
    /// Somebody should look.
    Error,
}
