//! What a balancer says of the health of its pools, for its manager and for people.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{EndpointId, PoolName};

/// Of so many upstreams of a pool that are not well it is said why.
pub const MOST_FAILING: usize = 10;

/// So many upstreams that a balancer checks and that fail are told to its manager, and by that to others.
pub const MOST_ILL: usize = 10_000;

/// What `GET /pools` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolsHealth {
    /// Whether this balancer chooses the primaries of pools; else it takes those that it is told.
    pub decides: bool,
    /// The pools whose upstreams are checked all the time.
    pub pools: BTreeMap<PoolName, PoolHealth>,
}

/// How a pool is, as one balancer sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolHealth {
    /// Upstreams that new requests and connections may go to.
    pub upstreams: u32,
    /// Those of them whose checks pass.
    pub well: u32,
    /// Why the checks of others do not: of the first ten, by their ids.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failing: BTreeMap<EndpointId, String>,
    /// How many of them other balancers check, and this one knows nothing against.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub elsewhere: u32,
    /// Those that this balancer checks on behalf of all, and whose checks fail, whether it uses them or not: of the first
    /// [`MOST_ILL`], by their ids. None from a balancer that knows no others, and checks all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ill: Option<BTreeSet<EndpointId>>,
    /// Where only one upstream is given connections: how that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<PrimaryHealth>,
}

/// The primary of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrimaryHealth {
    /// Who it is; none: nobody, and connections wait.
    pub id: Option<EndpointId>,
    /// Why.
    pub reason: String,
    /// How many there have been, one after the other, since the balancer started.
    pub terms: u64,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}
