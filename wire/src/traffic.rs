//! What a balancer does right now, in few words: for pages and tables that people watch. Programs that keep
//! figures read `/metrics`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{EndpointId, HostName, MachineId, PoolName};

/// Rates and latencies are those of the last so many seconds.
pub const WINDOW_S: usize = 10;

/// One entry of [`Traffic::history`] is the average of so many seconds.
pub const STEP_S: usize = 10;

/// The most entries of [`Traffic::history`]: a quarter of an hour.
pub const STEPS: usize = 90;

/// What `GET /traffic` of a balancer answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// The balancer.
    pub machine: MachineId,
    /// How long it has run, in milliseconds.
    pub uptime_ms: u64,
    /// The generation of the upstream set in use.
    pub generation: u64,
    /// Client connections open now.
    pub connections: u64,
    /// Requests being answered now.
    pub in_flight: u64,
    /// Requests so far, since it started.
    pub requests: u64,
    /// Of those, the ones answered with 5xx or not at all.
    pub failed: u64,
    /// Further tries so far.
    pub retries: u64,
    /// Requests a second.
    pub per_s: f64,
    /// The median of how long requests took, in milliseconds; none if there were none.
    pub p50_ms: Option<f64>,
    /// The 99th percentile.
    pub p99_ms: Option<f64>,
    /// Requests a second, the oldest first.
    pub history: Vec<f64>,
    /// The upstreams, by pool, best rank first; at most [`MOST_UPSTREAMS`].
    pub upstreams: Vec<UpstreamTraffic>,
    /// Upstreams that are not in `upstreams`, because there are too many.
    pub unlisted: u64,
}

/// The most upstreams that are told of one by one.
pub const MOST_UPSTREAMS: usize = 1_000;

/// One upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamTraffic {
    /// Its id.
    pub id: EndpointId,
    /// Its pool.
    pub pool: PoolName,
    /// Where it listens.
    pub address: String,
    /// Its zone: the host it is on.
    pub zone: HostName,
    /// Whether it is used.
    pub state: UpstreamWord,
    /// Why it is in that state, where that is not plain.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How long it has been out of use for what this balancer saw of it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_ms: Option<u64>,
    /// Its share of the load.
    pub weight: u32,
    /// Requests a second.
    pub per_s: f64,
    /// Requests in flight.
    pub in_flight: u32,
    /// Connections to it, the kept ones included.
    pub connections: u32,
    /// Requests so far.
    pub requests: u64,
    /// Failures held against it so far, and answers with 5xx.
    pub errors: u64,
    /// Requests so far that were answered by another upstream after it was asked.
    pub retried: u64,
    /// How often it was taken out of use.
    pub ejections: u64,
    /// The mean time to its answers' heads, in milliseconds; none if there were none.
    pub mean_ms: Option<f64>,
    /// How long ago it was checked last, in milliseconds; none if it never was.
    pub checked_ms: Option<u64>,
    /// Whether that check passed.
    pub check_passed: Option<bool>,
}

/// Whether an upstream is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamWord {
    /// It gets requests.
    Up,
    /// It was out of use, and gets a request to try it.
    Trial,
    /// It gets requests while no other can.
    Backup,
    /// Its manager suspects it: it gets requests while no other can.
    Suspect,
    /// It gets no new requests, and ends what it has.
    Draining,
    /// Somebody took it out of use.
    Maintenance,
    /// It failed, and gets nothing until its check passes.
    Ejected,
}

impl std::fmt::Display for UpstreamWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            UpstreamWord::Up => "up",
            UpstreamWord::Trial => "on trial",
            UpstreamWord::Backup => "backup",
            UpstreamWord::Suspect => "suspect",
            UpstreamWord::Draining => "draining",
            UpstreamWord::Maintenance => "maintenance",
            UpstreamWord::Ejected => "ejected",
        })
    }
}

/// What a manager heard from one balancer: an entry of its `GET /traffic`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BalancerTraffic {
    /// The balancer's host.
    pub host: HostName,
    /// The balancer.
    pub machine: MachineId,
    /// What it does; none where it did not answer.
    pub traffic: Option<Traffic>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
