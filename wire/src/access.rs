//! Who may ask a manager for what, what was asked, and when a manager only watches.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To see everything.
    Read,
    /// To change things, and to see everything.
    Operate,
    /// To harm machines, and nothing else.
    Chaos,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Scope::Read => "read",
            Scope::Operate => "operate",
            Scope::Chaos => "chaos",
        })
    }
}

/// The body of `POST /access/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it is called: 1 to 64 letters, digits, `.`, `_`, `@` and `-`.
    pub name: String,
    /// What it allows.
    pub scopes: BTreeSet<Scope>,
    /// After so many seconds it allows nothing any more; without this, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// A token as it can be shown. Times in seconds since 1970-01-01 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// What it is called.
    pub name: String,
    /// What it allows.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub created_unix_s: u64,
    /// From when on it allows nothing.
    pub expires_unix_s: Option<u64>,
    /// When it was last used, within a minute.
    pub last_used_unix_s: Option<u64>,
    /// Whether it has expired.
    pub expired: bool,
}

/// The answer to `POST /access/tokens`: the only time that the secret is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// What is sent as `Authorization: Bearer …`.
    pub secret: String,
    /// The token.
    pub token: TokenView,
}

/// One line of the audit log: somebody changed something, or was refused to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// When, in milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
    /// Who: a user on the manager's socket, a host by its certificate, a token, or an address.
    pub who: String,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// What was sent, shortened, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// So many refusals before this one are not listed, because there were too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlisted: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for it
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The body of `PUT /maintenance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceOrder {
    /// Whether the manager is only to watch.
    pub on: bool,
    /// For so many seconds; without this until it is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u64>,
}

/// Whether the manager only watches, and since when. Times in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaintenanceView {
    /// Whether it only watches.
    pub on: bool,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_unix_ms: Option<u64>,
    /// Until when; none means until somebody ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_unix_ms: Option<u64>,
    /// Who began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}
