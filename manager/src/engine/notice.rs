//! What the engine has to say to people: one notice for each transition.

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
