//! How a pool's upstreams share its requests, and what takes one out of them: the parts of a
//! [`PoolPolicy`](crate::proxy_config::PoolPolicy). The algorithms are explained in `docs/balancing.md`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How requests are spread over the upstreams of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Balance {
    /// Which upstream a request goes to.
    pub algorithm: Algorithm,
    /// What of a request the hashing algorithms look at; a request without it is spread like
    /// [`Algorithm::PeakEwma`] would.
    pub hash_key: HashKey,
    /// Keeps a client's requests at one upstream while that can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// A new or readmitted upstream comes to its full share in so many milliseconds; 0: at once.
    pub slow_start_ms: u64,
    /// Where the balancer knows its zone, an upstream of another zone is used when the one of its own
    /// would be more than so many times as busy.
    pub zone_spill: f64,
}

/// Which upstream a request goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// The better of two at random, by their recent latency and their requests in flight.
    #[default]
    PeakEwma,
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastRequests,
    /// A consistent hash: a ring of points.
    RingHash,
    /// A consistent hash: Maglev's table.
    Maglev,
}

impl Algorithm {
    /// Its name, as a policy has it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::PeakEwma => "peak_ewma",
            Algorithm::RoundRobin => "round_robin",
            Algorithm::LeastRequests => "least_requests",
            Algorithm::RingHash => "ring_hash",
            Algorithm::Maglev => "maglev",
        }
    }
}

/// What of a request is hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// The client's address.
    #[default]
    Client,
    /// The path, without the query.
    Path,
    /// The value of the header field of this name.
    Header(String),
    /// The value of the cookie of this name.
    Cookie(String),
}

/// The cookie that keeps a client at an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// Its name.
    pub cookie: String,
    /// What it is signed with (HMAC-SHA256); the same on all balancers, 32 bytes or more.
    pub key: Secret,
    /// The key before this one: cookies signed with it still count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_key: Option<Secret>,
    /// How long clients keep it, in seconds; 0: until they end their session.
    #[serde(default)]
    pub max_age_seconds: u64,
    /// Whether clients send it over TLS only.
    #[serde(default)]
    pub secure: bool,
}

/// A text that is not shown to anyone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(transparent)]
pub struct Secret(pub String);

impl Secret {
    /// What stands in the place of a secret that is not shown.
    pub const HIDDEN: &'static str = "(hidden)";
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::HIDDEN)
    }
}

/// When answers, rather than broken connections, take an upstream out of use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Outlier {
    /// So many answers of 5xx in a row eject an upstream; 0: however many.
    pub consecutive_5xx: u32,
    /// A share of failed requests as high as this ejects it, if that of its peers is lower than half of its
    /// own; 0: whatever the share.
    pub failure_ratio: f64,
    /// The share is looked at from so many requests on …
    pub failure_min_requests: u32,
    /// … within so many milliseconds.
    pub window_ms: u64,
    /// Answers eject no more upstreams than leave this share of the pool in use; and when less of it is
    /// in use for other reasons, those that answers have ejected are used again.
    pub panic_below: f64,
}

/// The most that one upstream is given at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamLimits {
    /// Requests in flight from this balancer.
    pub max_requests: u32,
    /// Connections, those in use and those kept for the next request.
    pub max_connections: u32,
    /// When all upstreams have their fill, so many requests for each of them wait for one to be done.
    pub max_pending: u32,
    /// The longest such wait, in milliseconds.
    pub pending_timeout_ms: u64,
}

impl Default for Balance {
    fn default() -> Self {
        Balance {
            algorithm: Algorithm::default(),
            hash_key: HashKey::default(),
            sticky: None,
            slow_start_ms: 10_000,
            zone_spill: 2.0,
        }
    }
}

impl Default for Outlier {
    fn default() -> Self {
        Outlier {
            consecutive_5xx: 5,
            failure_ratio: 0.5,
            failure_min_requests: 20,
            window_ms: 10_000,
            panic_below: 0.5,
        }
    }
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        UpstreamLimits {
            max_requests: 10_000,
            max_connections: 10_000,
            max_pending: 1_000,
            pending_timeout_ms: 5_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_written_as_people_expect() {
        let text = r#"{"algorithm": "maglev", "hash_key": {"header": "X-User"}}"#;
        let balance: Balance = serde_json::from_str(text).expect("valid");
        assert_eq!(balance.algorithm, Algorithm::Maglev);
        assert_eq!(balance.hash_key, HashKey::Header("X-User".to_owned()));
        let by_path: Balance = serde_json::from_str(r#"{"hash_key": "path"}"#).expect("valid");
        assert_eq!(by_path.hash_key, HashKey::Path);
        for wrong in [r#"{"algorithm": "random"}"#, r#"{"weights": 1}"#, r#"{"hash_key": {"body": "x"}}"#] {
            serde_json::from_str::<Balance>(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret("very secret".to_owned())), Secret::HIDDEN);
    }
}
