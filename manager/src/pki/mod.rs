//! The cluster's certificates: who makes them, who keeps which key, and how they are renewed.
//!
//! ```text
//!   manager init ──▶ [authority] the cluster's CA ── signs ──▶ [intermediate] of this host ──▶ leaves
//!                        │  ▲                                                                  (in memory)
//!   manager token ──▶ [tokens]                                                                    │
//!   manager join ─────▶ [enrolment] ── signs ──▶ [intermediate] of another host                   ▼
//!   manager revoke ──▶ [revocation] ──▶ every manager and balancer                            [keeper], [rounds]
//! ```
//!
//! A host certifies itself and its balancer with its own intermediate, so that nothing but a new host needs the
//! CA. What is on disk is in [`files`]; the keys of leaves are nowhere but in memory and, a balancer's, with the
//! balancer.

pub mod authority;
pub mod balancer;
pub mod enrolment;
pub mod files;
pub mod intermediate;
pub mod keeper;
mod names;
pub mod revocation;
pub mod rounds;
pub mod tokens;

use std::time::Duration;

use thiserror::Error;
use time::OffsetDateTime;
use wire::Problem;

/// Certificates are valid from so long ago, so that clocks may differ by that much.
pub const BACKDATED: Duration = Duration::from_secs(3600);

/// How long the CA and the intermediates live: they are taken back by revocation, not by waiting.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long leaves live unless the configuration says otherwise. They are renewed after two thirds of it.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// What does not work with certificates, in words that say what to do.
#[derive(Debug, Error)]
pub enum PkiError {
    /// There is no CA for this host yet.
    #[error(
        "this host belongs to no cluster yet: `manager init` makes one, `manager join ADDRESS TOKEN` lets it into one"
    )]
    NotInitialised,
    /// Only the host that keeps the CA's key can do that.
    #[error("the key of the cluster's CA is not on this host: {0}")]
    NoAuthority(String),
    /// It cannot be done like this; says why and what to do instead.
    #[error("{0}")]
    Refused(String),
    /// A token that lets nobody in.
    #[error("{0}")]
    Token(String),
    /// What is on disk, or what was sent, cannot be used.
    #[error("{0}")]
    Damaged(String),
    /// The disk.
    #[error("{what}: {error}")]
    Io {
        /// What was to be read or written.
        what: String,
        /// Why it was not.
        error: std::io::Error,
    },
}

impl From<rcgen::Error> for PkiError {
    fn from(error: rcgen::Error) -> Self {
        PkiError::Damaged(format!("a certificate or key cannot be used: {error}"))
    }
}

impl From<PkiError> for Problem {
    fn from(error: PkiError) -> Self {
        let detail = error.to_string();
        match error {
            PkiError::Token(_) => Problem::forbidden(detail),
            PkiError::NotInitialised | PkiError::NoAuthority(_) | PkiError::Refused(_) => {
                Problem::conflict(detail)
            }
            PkiError::Damaged(_) | PkiError::Io { .. } => Problem::new(500, "Certificates unusable", detail),
        }
    }
}

/// Now, for certificates: whole seconds.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now)
}

/// Random bytes from the operating system.
fn random<const N: usize>() -> Result<[u8; N], PkiError> {
    let mut bytes = [0; N];
    kit::tls::provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| PkiError::Damaged("the operating system gives no random numbers".to_owned()))?;
    Ok(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
