//! Whether the goals were met.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::Report;
use crate::require::{Measured, Requirement};

/// One goal and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Threshold {
    /// The goal as it was written.
    pub goal: String,
    /// The figure, in the goal's unit: milliseconds, percent, or a number. None where there was nothing to measure.
    pub figure: Option<f64>,
    /// Whether it was met; none where the run is invalid, of which nothing can be said.
    pub met: Option<bool>,
}

impl Threshold {
    /// The figure as people write it.
    pub fn found(&self) -> String {
        match (self.figure, self.goal.parse::<Requirement>()) {
            (Some(figure), Ok(goal)) => goal.written(figure),
            // What a file says need not be a goal.
            (Some(figure), Err(_)) => figure.to_string(),
            (None, _) if self.met == Some(true) => "without end: nothing failed".to_owned(),
            (None, _) => "nothing to measure".to_owned(),
        }
    }

    /// What is said of a run that missed it.
    pub fn missed(&self) -> Option<String> {
        (self.met == Some(false)).then(|| format!("{}: it was {}", self.goal, self.found()))
    }
}

/// Judges a report whose figures are all in place: its thresholds, and what they say of the run.
pub fn judge(report: &mut Report, requirements: &[Requirement]) {
    for requirement in requirements {
        let figure = figure(report, requirement.measured);
        // Where nothing failed there are more nines than anybody can ask for.
        let endless = requirement.measured == Measured::Nines && report.intended > 0 && report.failed == 0;
        let compared = figure.or(endless.then_some(f64::INFINITY));
        let met = compared.is_some_and(|figure| requirement.is_met(figure));
        let threshold = Threshold { goal: requirement.to_string(), figure, met: report.valid.then_some(met) };
        report.missed_reasons.extend(threshold.missed());
        report.thresholds.push(threshold);
    }
    report.met = report.missed_reasons.is_empty();
}

#[allow(clippy::cast_precision_loss)]
fn figure(report: &Report, measured: Measured) -> Option<f64> {
    let latency = &report.percentiles_ms;
    match measured {
        Measured::Availability => Some(report.availability_percent),
        Measured::Nines => report.budget.nines,
        Measured::Budget => report.budget.used_percent,
        Measured::Failed => Some(report.failed as f64),
        Measured::Errors => Some(100.0 - report.availability_percent),
        Measured::Throughput => Some(report.throughput.succeeded_per_s),
        Measured::P50 => latency.p50,
        Measured::P90 => latency.p90,
        Measured::P95 => latency.p95,
        Measured::P99 => latency.p99,
        Measured::P999 => latency.p999,
        Measured::P9999 => latency.p9999,
        Measured::Mean => latency.mean,
        Measured::Max => latency.max,
        Measured::RawP99 => report.uncorrected_ms.p99,
        Measured::Outage => Some(report.longest_outage_ms),
        Measured::Unanswered => Some(report.longest_unanswered_ms),
        Measured::Degraded => Some(report.throughput.degraded_ms),
        Measured::Mttr => report.recovery.mttr_ms,
        Measured::Recovery => report.recovery.longest_ms,
        Measured::LateP99 => report.lateness_ms.p99,
    }
}
