//! How a report is made of what was counted.

use std::collections::BTreeMap;

use wire::HostName;

use super::distribution::Distribution;
use super::environment::Environment;
use super::series::Series;
use super::{
    Connections, FailedRequest, Half, Lateness, Percentiles, Quantiles, Report, fault, json, ms, percent,
    quantile,
};
use crate::count::Ledger;
use crate::faults::FaultLog;
use crate::verdict::budget::Budget;
use crate::verdict::recovery::Recovery;
use crate::verdict::throughput::Throughput;
use crate::verdict::{Judged, degraded_us, samples, thresholds};

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
}
