//! What one fault cost, beside what the report always said of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::month_percent;
use super::{degraded_us, ms};
use crate::count::Ledger;
use crate::count::timeline::{Timeline, cell_end_us};

/// With the latencies of so long before a fault those during it are compared, in microseconds.
const BEFORE_US: u64 = 5_000_000;

/// What a fault cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Impact {
    /// When the first request was sent that failed, from the run's start.
    pub first_failed_ms: Option<f64>,
    /// When the last one was.
    pub last_failed_ms: Option<f64>,
    /// How long too few succeeded (`--success-threshold`), to within a bucket of the time line.
    pub degraded_ms: f64,
    /// The median latency of the five seconds before, to within 19 %.
    pub p50_before_ms: Option<f64>,
    /// The median around the fault.
    pub p50_ms: Option<f64>,
    /// What 99 in 100 took at most in the five seconds before.
    pub p99_before_ms: Option<f64>,
    /// What 99 in 100 took at most around the fault.
    pub p99_ms: Option<f64>,
    /// How much longer that was.
    pub p99_added_ms: Option<f64>,
    /// The outage as a share of a month's budget of the promised availability (`--slo`), in percent.
    pub month_percent: Option<f64>,
}

/// What is judged of a fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Promise {
    /// The availability that was promised.
    pub slo_percent: Option<f64>,
    /// Below which share of successes time is degraded.
    pub success_threshold: f64,
}

impl Impact {
    /// The cost of a fault whose time is from `from` to `to`, with this outage.
    pub fn of(ledger: &Ledger, from: u64, to: u64, outage_ms: f64, promise: Promise) -> Self {
        let failed = ledger.failures.first_and_last(from, to);
        let quantile = |from, to, share| quantile_us(&ledger.timeline, from, to, share).map(ms_of);
        let before = from.saturating_sub(BEFORE_US);
        let (p99_before_ms, p99_ms) = (quantile(before, from, 0.99), quantile(from, to, 0.99));
        Impact {
            first_failed_ms: failed.map(|(first, _)| ms(first)),
            last_failed_ms: failed.map(|(_, last)| ms(last)),
            degraded_ms: ms(degraded_us(&ledger.timeline, from, to, promise.success_threshold)),
            p50_before_ms: quantile(before, from, 0.5),
            p50_ms: quantile(from, to, 0.5),
            p99_before_ms,
            p99_ms,
            p99_added_ms: p99_before_ms.zip(p99_ms).map(|(before, during)| (during - before).max(0.0)),
            month_percent: promise.slo_percent.and_then(|slo| month_percent(outage_ms, slo)),
        }
    }
}

/// What so many of the requests took at most that were due in the buckets from `from` until before `to` and succeeded.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn quantile_us(timeline: &Timeline, from: u64, to: u64, share: f64) -> Option<f64> {
    let width = timeline.width_us();
    let mut cells: Vec<u64> = Vec::new();
    let mut max_us = 0;
    for (bucket, index) in timeline.buckets().iter().zip(0_u64..) {
        // The bucket that a fault comes in is the fault's.
        if index * width + width <= from || (index + 1) * width > to.saturating_add(width - 1) {
            continue;
        }
        if cells.len() < bucket.cells.len() {
            cells.resize(bucket.cells.len(), 0);
        }
        for (sum, count) in cells.iter_mut().zip(&bucket.cells) {
            *sum += u64::from(*count);
        }
        max_us = max_us.max(bucket.max_us);
    }
    let all: u64 = cells.iter().sum();
    let wanted = ((all as f64 * share).ceil() as u64).max(1);
    let mut seen = 0;
    let cell = cells.iter().position(|count| {
        seen += count;
        seen >= wanted
    })?;
    Some(cell_end_us(cell).min(max_us as f64))
}

fn ms_of(us: f64) -> f64 {
    us.round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::{Connection, Failure, Outcome};

    #[test]
    fn a_fault_is_charged_with_what_it_added() {
        let mut ledger = Ledger::new().unwrap();
        for number in 0..1000_u64 {
            let due_us = number * 10_000;
            let during = (6_000_000..7_000_000).contains(&due_us);
            let result = if during && number % 4 == 0 { Err(Failure::Eof) } else { Ok(()) };
            let took = if during { 50_000 } else { 1000 };
            let connection = Connection::Kept;
            ledger.record(Outcome {
                connection,
                due_us,
                started_us: due_us,
                finished_us: due_us + took,
                result,
            });
        }
        let promise = Promise { slo_percent: Some(99.99), success_threshold: 95.0 };
        let impact = Impact::of(&ledger, 6_000_000, 8_000_000, 259.2, promise);
        assert_eq!((impact.first_failed_ms, impact.last_failed_ms), (Some(6000.0), Some(6960.0)));
        assert_eq!(impact.degraded_ms, 1000.0);
        assert_eq!(impact.p99_before_ms, Some(1.0));
        assert_eq!(impact.p99_ms, Some(50.0));
        assert_eq!(impact.p99_added_ms, Some(49.0));
        assert!((impact.month_percent.unwrap() - 0.1).abs() < 1e-6);
        let calm = Impact::of(&ledger, 8_500_000, 9_000_000, 10.0, promise);
        assert_eq!((calm.first_failed_ms, calm.degraded_ms, calm.p99_added_ms), (None, 0.0, Some(0.0)));
    }
}
