//! What is made of the counts: each figure in a small structure of its own, which the report has as one field.
//!
//! Times are in milliseconds, shares in percent, as everywhere in the report.

pub mod asked;
pub mod budget;
pub mod impact;
pub mod latency;
pub mod recovery;
pub mod samples;
pub mod text;
pub mod thresholds;
pub mod throughput;

use std::time::Duration;

use self::asked::Asked;
use self::impact::Promise;
use crate::count::timeline::Timeline;
use crate::require::Requirement;

/// What a run is judged by, besides what was counted.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// What load was asked for.
    pub load: Asked,
    /// What was promised.
    pub promise: Promise,
    /// How late one request in a hundred may be sent at most, where that was said.
    pub lateness_max: Option<Duration>,
    /// The goals.
    pub requirements: Vec<Requirement>,
    /// The names of the targets.
    pub targets: Vec<String>,
    /// Bytes sent and received.
    pub traffic: (u64, u64),
}

/// For how many microseconds from `from` until before `to` a smaller share of the requests that were due succeeded
/// than `threshold`, in percent: to within a bucket of the time line.
#[allow(clippy::cast_precision_loss)]
pub fn degraded_us(timeline: &Timeline, from: u64, to: u64, threshold: f64) -> u64 {
    let width = timeline.width_us();
    let degraded = timeline.buckets().iter().zip(0_u64..).filter(|(bucket, index)| {
        let failed: u64 = bucket.failed.values().sum();
        let all = bucket.succeeded + failed;
        let share = bucket.succeeded as f64 * 100.0 / all.max(1) as f64;
        all > 0 && share < threshold && (index + 1) * width > from && index * width < to
    });
    degraded.map(|(_, index)| ((index + 1) * width).min(to) - (index * width).max(from)).sum()
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::{Connection, Failure, Outcome};

    #[test]
    fn time_is_degraded_where_too_few_succeed() {
        let mut timeline = Timeline::default();
        for number in 0..1000_u64 {
            // 100 a second; every other one fails from 2 s to 4 s, one in twenty afterwards.
            let due_us = number * 10_000;
            let fails =
                if (200..400).contains(&number) { number % 2 == 0 } else { number > 400 && number % 20 == 0 };
            let result = if fails { Err(Failure::Reset) } else { Ok(()) };
            let connection = Connection::Kept;
            timeline.record(&Outcome { connection, due_us, started_us: due_us, finished_us: due_us, result });
        }
        assert_eq!(degraded_us(&timeline, 0, 10_000_000, 85.0), 2_000_000);
        assert_eq!(degraded_us(&timeline, 3_950_000, 10_000_000, 85.0), 50_000, "only what is asked for");
        assert_eq!(degraded_us(&timeline, 0, 10_000_000, 50.0), 0);
        assert_eq!(
            degraded_us(&timeline, 0, 10_000_000, 95.0),
            4_900_000,
            "some tenths have one failure of ten"
        );
    }
}
