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
pub mod outputs;
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
use crate::count::{Failed, Failure, Ledger, Tally};
use crate::faults::FaultLog;
use crate::verdict::asked::Asked;
use crate::verdict::budget::Budget;
use crate::verdict::latency::Percentiles;
use crate::verdict::recovery::Recovery;
use crate::verdict::samples::{self, Row};
use crate::verdict::thresholds::{self, Threshold};
use crate::verdict::throughput::Throughput;
use crate::verdict::{Judged, degraded_us};

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

/// Latencies in milliseconds; none if nothing succeeded.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Quantiles {
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    pub max: Option<f64>,
    pub mean: Option<f64>,
}

/// How late requests were sent, in milliseconds; none if nothing was sent.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Lateness {
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

/// Requests on fresh and on kept connections, apart.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Connections {
    /// Those that opened a connection.
    pub fresh: Half,
    /// Those that used one that was open, where there was one.
    pub kept: Half,
}

/// One half of the load.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Half {
    /// As in [`Report`].
    pub sent: u64,
    /// As in [`Report`].
    pub succeeded: u64,
    /// As in [`Report`].
    pub failed: u64,
    /// As in [`Report`].
    pub failed_by_kind: BTreeMap<Failure, u64>,
    /// As in [`Report`].
    pub latency_ms: Quantiles,
}

/// One request that failed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FailedRequest {
    /// When it was sent, from the start of the run; when it should have been, if it never was.
    pub started_ms: f64,
    /// How long it took to fail.
    pub took_ms: f64,
    /// Why it failed.
    pub kind: Failure,
}

/// What the report is made of, besides what was counted.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What was asked for.
    pub url: String,
    /// What makes the cluster's machines, by host.
    pub drivers: BTreeMap<HostName, String>,
    /// When the run started, in milliseconds of the Unix epoch.
    pub started_unix_ms: u64,
    /// Requests per second.
    pub rate: f64,
    /// How long requests were sent, in microseconds.
    pub duration_us: u64,
    /// Whether the run was ended before its time.
    pub interrupted: bool,
    /// The goal.
    pub min_availability_percent: Option<f64>,
    /// What it ran on, and how it was called.
    pub environment: Environment,
    /// What it is judged by.
    pub judged: Judged,
}

/// A run in which one request in a hundred was sent later than this says nothing about the service, unless another
/// limit was given.
const MAX_LATENESS_MS: f64 = 100.0;
/// So many failed requests are listed one by one; all are counted.
pub const MAX_LISTED: usize = 10_000;
/// A wait of so many microseconds is one that a person notices.
const NOTICED_US: u64 = 200_000;

impl Report {
    /// Draws the sums.
    pub fn new(facts: Facts, ledger: Ledger, log: FaultLog) -> Self {
        let Facts {
            url,
            drivers,
            started_unix_ms,
            rate,
            duration_us,
            interrupted,
            min_availability_percent,
            environment,
            judged,
        } = facts;
        let Judged { load, promise, lateness_max, requirements, targets, traffic } = judged;
        let lateness_max_ms = lateness_max.map_or(MAX_LATENESS_MS, |max| max.as_secs_f64() * 1000.0);
        let FaultLog { records, invalid: mut invalid_reasons, missed: mut missed_reasons } = log;
        let faults = fault::faults(&records, &ledger, duration_us, promise);
        let degraded_ms = ms(degraded_us(&ledger.timeline, 0, duration_us, promise.success_threshold));
        let Ledger { fresh, kept, lateness, service, starts, arrivals, slowest, failures, samples, timeline } =
            ledger;
        let mut latency = fresh.latency.clone();
        // Both were made with the same bounds.
        let _ = latency.add(&kept.latency);
        let mut failed_by_kind = fresh.failed.clone();
        for (failure, count) in &kept.failed {
            *failed_by_kind.entry(*failure).or_default() += count;
        }
        let succeeded = fresh.succeeded + kept.succeeded;
        let failed = fresh.failures() + kept.failures();
        let intended = succeeded + failed;
        let availability_percent = percent(succeeded, intended);
        let lateness_ms = Lateness { p99: quantile(&lateness, 0.99), max: quantile(&lateness, 1.0) };

        let sent = fresh.sent() + kept.sent();
        if sent == 0 {
            invalid_reasons.push("no request was sent".to_owned());
        }
        if let Some(late) = lateness_ms.p99.filter(|late| *late > lateness_max_ms) {
            invalid_reasons.push(format!(
                "one request in a hundred was sent {late} ms late or more (limit {lateness_max_ms} ms): this machine is too busy to measure"
            ));
        }
        if let Some(goal) = min_availability_percent.filter(|goal| availability_percent < *goal) {
            missed_reasons.push(format!("availability is below {goal} %"));
        }
        let longest_outage_ms = ms(starts.longest_gap(duration_us));
        let mut report = Report {
            schema: json::SCHEMA,
            url,
            drivers,
            started_unix_ms,
            rate,
            duration_ms: ms(duration_us),
            intended,
            sent,
            succeeded,
            failed,
            failed_by_kind,
            availability_percent,
            longest_outage_ms,
            longest_unanswered_ms: ms(arrivals.longest_gap(duration_us)),
            slowest_ms: slowest.highest_in(0, u64::MAX).map(ms),
            latency_ms: Quantiles::of(&latency),
            over_200ms: latency.len() - latency.count_between(0, NOTICED_US),
            lateness_ms,
            connections: Connections { fresh: Half::of(fresh), kept: Half::of(kept) },
            failures: failures.kept().iter().take(MAX_LISTED).map(FailedRequest::of).collect(),
            faults,
            valid: invalid_reasons.is_empty(),
            invalid_reasons,
            interrupted,
            min_availability_percent,
            met: missed_reasons.is_empty(),
            missed_reasons,
            environment,
            latency_histogram: Distribution::of(&latency),
            timeline: Series::of(&timeline, duration_us),
            load,
            percentiles_ms: Percentiles::of(&latency),
            uncorrected_ms: Percentiles::of(&service),
            throughput: Throughput {
                degraded_ms,
                success_threshold_percent: promise.success_threshold,
                ..Throughput::of(sent, succeeded, traffic, duration_us)
            },
            budget: Budget::of(promise.slo_percent, intended, failed, longest_outage_ms),
            recovery: Recovery::of(&records),
            thresholds: Vec::new(),
            samples: samples::rows(&targets, &samples, traffic, duration_us),
        };
        thresholds::judge(&mut report, &requirements);
        report
    }

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

impl Half {
    fn of(tally: Tally) -> Self {
        Half {
            sent: tally.sent(),
            succeeded: tally.succeeded,
            failed: tally.failures(),
            latency_ms: Quantiles::of(&tally.latency),
            failed_by_kind: tally.failed,
        }
    }
}

impl FailedRequest {
    fn of(failed: &Failed) -> Self {
        let Failed { started_us, finished_us, failure } = *failed;
        let took_ms = ms(finished_us.saturating_sub(started_us));
        FailedRequest { started_ms: ms(started_us), took_ms, kind: failure }
    }
}

impl Quantiles {
    fn of(latency: &Histogram<u64>) -> Self {
        Quantiles {
            p50: quantile(latency, 0.5),
            p90: quantile(latency, 0.9),
            p99: quantile(latency, 0.99),
            p999: quantile(latency, 0.999),
            max: quantile(latency, 1.0),
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            mean: (!latency.is_empty()).then(|| ms(latency.mean() as u64)),
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
