//! What the managers of a cluster share so that all balancers show clients the same: one manager makes it, all have it.
//! It crosses the network between managers that have proved who they are by certificate, and is shown to nobody else.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::balancing::Secret;

/// All of it. Two that differ are merged in the same way on both sides, in whatever order they meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SharedSecrets {
    /// What session tickets are encrypted with, the oldest first.
    pub ticket_keys: BTreeSet<TicketKey>,
}

/// A key for session tickets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct TicketKey {
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub made_unix_ms: u64,
    /// The key.
    pub key: Secret,
}

/// What one manager tells another: what it holds, or only a digest of that while it does not know that they differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SecretsExchange {
    /// SHA-256 of what it holds, in hexadecimal.
    pub digest: String,
    /// All of what it holds, where the other one holds something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<SharedSecrets>,
}
