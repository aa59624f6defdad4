//! How the machines of a service with a `total` are spread over hosts: what is asked for, and what managers tell each
//! other of it, so that each of them comes to the same shares.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How strictly the machines of a service are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// As evenly over the hosts as their room permits.
    #[default]
    Soft,
    /// At most one machine on each host. What finds no host is not made, and that is said.
    Hard,
}

impl Spread {
    /// Whether it is the default, which need not be said.
    #[must_use]
    pub fn is_soft(&self) -> bool {
        *self == Spread::Soft
    }
}

/// What a host has of a service with a `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Placed {
    /// How many machines it is to have.
    pub wanted: u32,
    /// How many of them take requests.
    pub ready: u32,
}

/// How many machines of a service there are to be over all hosts, as somebody decided at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Total {
    /// Counts the decisions. The highest one holds; of two with the same, the one that asks for more.
    pub generation: u64,
    /// How many.
    pub count: u32,
}

/// Where the machines of a service with a `total` are, as the manager that is asked sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServicePlacement {
    /// How many there are to be over all hosts.
    pub total: u32,
    /// How many of these are this host's share.
    pub share: u32,
    /// How many take requests, over all hosts that live.
    pub ready: u32,
    /// For how many no host has room.
    pub unplaced: u32,
}
