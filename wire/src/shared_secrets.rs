//! What the managers of a cluster share so that all balancers show clients the same: one manager makes it, all have it.
//! It crosses the network between managers that have proved who they are by certificate, and is shown to nobody else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::balancing::Secret;
use crate::certificates::Certificate;

/// All of it. Two that differ are merged in the same way on both sides, in whatever order they meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SharedSecrets {
    /// What session tickets are encrypted with, the oldest first.
    pub ticket_keys: BTreeSet<TicketKey>,
    /// The accounts at ACME servers, by their directories.
    pub accounts: BTreeMap<String, AcmeAccount>,
    /// What these issued, by the directory and the names, in their order, with a space between each.
    pub issued: BTreeMap<String, Issued>,
    /// What became of the last attempt to get a certificate, by the same.
    pub attempts: BTreeMap<String, Attempt>,
    /// What servers may ask at the moment, by their tokens.
    pub challenges: BTreeMap<String, AcmeChallenge>,
}

/// An account at an ACME server (RFC 8555, section 7.1.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct AcmeAccount {
    /// When it was made, in milliseconds since 1970-01-01 UTC. The youngest one counts.
    pub made_unix_ms: u64,
    /// Its name and key, as JSON.
    pub credentials: Secret,
}

/// A certificate that an ACME server issued. The one that is good for longest counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Issued {
    /// It, and its key.
    pub certificate: Certificate,
    /// When it begins to be good, in seconds since 1970-01-01 UTC.
    pub not_before_unix_s: u64,
    /// When it ends to be.
    pub not_after_unix_s: u64,
}

/// What became of an attempt to get a certificate. The last one counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// When it ended, in milliseconds since 1970-01-01 UTC.
    pub ended_unix_ms: u64,
    /// How many in a row have failed; 0: it did not.
    pub failures: u32,
    /// Why.
    pub message: String,
}

/// What an ACME server may ask until then, and what it is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct AcmeChallenge {
    /// When it is over, in milliseconds since 1970-01-01 UTC. The earliest that anybody knows of counts.
    pub until_unix_ms: u64,
    /// What the request for its token is answered (RFC 8555, section 8.3).
    pub key_authorization: String,
    /// Instead: what the handshake for its name shows (RFC 8737).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
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
    /// In answers: which certificates it could get itself, as [`SharedSecrets::issued`] names them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub orders: BTreeSet<String>,
    /// In answers: its balancer does not show all of that yet.
    pub is_behind: bool,
}
