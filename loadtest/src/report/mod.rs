//! What a run found, for programs (as JSON) and for people.

pub mod compare;
pub mod distribution;
pub mod environment;
pub mod exporter;
pub mod fault;
pub mod hgrm;
pub mod html;
pub mod json;
pub mod junit;
mod live;
mod made;
pub mod outputs;
pub mod parts;
pub mod progress;
pub mod series;
mod strip;
pub mod text;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wire::HostName;

use self::distribution::Distribution;
use self::environment::Environment;
use self::fault::Fault;
use self::series::Series;
use crate::count::Failure;
use crate::verdict::asked::Asked;
use crate::verdict::budget::Budget;
use crate::verdict::latency::Percentiles;
use crate::verdict::recovery::Recovery;
use crate::verdict::samples::Row;
use crate::verdict::thresholds::Threshold;
use crate::verdict::throughput::Throughput;

pub use self::made::{Facts, MAX_LISTED};
pub use self::parts::{Connections, FailedRequest, Half, Lateness, Quantiles};

/// The report. Times in milliseconds, from the run's start where they are moments.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Which version of this structure it is: [`json::SCHEMA`]. It changes when a field goes or means something
    /// else; fields that come do not change it.
    pub schema: u32,
    /// What was asked for.
    pub url: String,
    /// What makes the cluster's machines, by host; empty where no manager was asked.
    #[schemars(with = "BTreeMap<String, String>")]
    pub drivers: BTreeMap<HostName, String>,
    /// When the run started, in milliseconds of the Unix epoch.
    pub started_unix_ms: u64,
    /// Requests per second.
    pub rate: f64,
    /// How long requests were sent.
    pub duration_ms: f64,
    /// How many requests should have been sent in that time.
    pub intended: u64,
    /// How many were.
    pub sent: u64,
    /// How many were answered in full with 2xx or 3xx.
    pub succeeded: u64,
    /// How many were not, those among them that were never sent.
    pub failed: u64,
    /// The failed ones by reason.
    pub failed_by_kind: BTreeMap<Failure, u64>,
    /// The share of the intended requests that succeeded.
    pub availability_percent: f64,
    /// The longest time between the starts of two successful requests.
    pub longest_outage_ms: f64,
    /// The longest time between the arrivals of two successful answers. Longer than the outage where
    /// requests that started while nothing came were answered in the end.
    pub longest_unanswered_ms: f64,
    /// What the slowest successful request took from its start; none if nothing succeeded. `latency_ms`
    /// counts from when it was due.
    pub slowest_ms: Option<f64>,
    /// From due to answered, of the successful requests.
    pub latency_ms: Quantiles,
    /// How many successful requests took more than 200 ms from due to answered: a person notices.
    pub over_200ms: u64,
    /// From due to sent: how well this program kept its own schedule.
    pub lateness_ms: Lateness,
    /// The two halves of the load.
    pub connections: Connections,
    /// The requests that failed, in the order in which they did; the first [`MAX_LISTED`] of them.
    pub failures: Vec<FailedRequest>,
    /// What was broken.
    pub faults: Vec<Fault>,
    /// Whether the figures mean anything.
    pub valid: bool,
    /// Why not.
    pub invalid_reasons: Vec<String>,
    /// Whether it was ended before its time.
    pub interrupted: bool,
    /// The goal.
    pub min_availability_percent: Option<f64>,
    /// Whether the goal was met and every fault recovered.
    pub met: bool,
    /// Why not.
    pub missed_reasons: Vec<String>,
    /// What it ran on, and how it was called.
    pub environment: Environment,
    /// How the latencies of the successful requests are distributed.
    pub latency_histogram: Distribution,
    /// What became of the requests along the run.
    pub timeline: Series,
    /// What load was asked for.
    pub load: Asked,
    /// More of `latency_ms`.
    pub percentiles_ms: Percentiles,
    /// From sent to answered, of the successful requests: what a program would report that forgets how late they were
    /// sent.
    pub uncorrected_ms: Percentiles,
    /// How much there was of everything.
    pub throughput: Throughput,
    /// Nines and error budget.
    pub budget: Budget,
    /// How long faults took to be over.
    pub recovery: Recovery,
    /// The goals (`--require`).
    pub thresholds: Vec<Threshold>,
    /// All requests that were sent, by target, as JMeter shows them.
    pub samples: Vec<Row>,
}

impl Report {
    /// The exit code that says all this.
    pub fn exit_code(&self) -> u8 {
        match self {
            Report { interrupted: true, .. } => 130,
            Report { valid: false, .. } => 3,
            Report { met: false, .. } => 1,
            _ => 0,
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

#[allow(clippy::cast_precision_loss)]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

fn quantile(histogram: &Histogram<u64>, quantile: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| ms(histogram.value_at_quantile(quantile)))
}
