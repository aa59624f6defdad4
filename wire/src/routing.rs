//! Which requests a route takes, and how it shares them over pools: parts of a
//! [`Route`](crate::proxy_config::Route), explained in `docs/routing.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::PoolName;

/// What a header field or a parameter of the query has to be. With the name alone, it has to be there; at most
/// one of the others says more. Of several with one name, any may fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldMatch {
    /// Its name.
    pub name: String,
    /// Its whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// What its value begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// A regular expression that finds something in its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Whether it has to be there, whatever its value, or has to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
}

/// One pool's part of a route's requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The pool.
    pub pool: PoolName,
    /// Its part relative to the others; 0: none.
    pub weight: u32,
}
