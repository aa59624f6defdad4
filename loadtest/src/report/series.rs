//! The time line: what became of the requests, bucket by bucket along the run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ms;
use crate::count::Failure;
use crate::count::timeline::{Bucket as Counted, Timeline, cell_end_us};

/// What became of the requests along the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// How long each bucket is: 100 ms, or more where the run is longer than ten minutes.
    pub bucket_ms: f64,
    /// The buckets, from the run's start to its end.
    pub buckets: Vec<Bucket>,
}

/// The requests that were due in one stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bucket {
    /// When it begins.
    pub at_ms: f64,
    /// How many of them succeeded.
    pub succeeded: u64,
    /// How many failed, by reason.
    pub failed: BTreeMap<Failure, u64>,
    /// Half of those that succeeded took at most this, from due to answered; to within 19 %.
    pub p50_ms: Option<f64>,
    /// The same of 99 in 100.
    pub p99_ms: Option<f64>,
    /// The longest that one of them took.
    pub max_ms: Option<f64>,
    /// `[latency in milliseconds, count]`: how many took up to this and more than the pair before says. Each
    /// latency is 19 % more than the one before, where that had any.
    pub latency: Vec<(f64, u64)>,
}

impl Series {
    /// What was counted in a run that sent until `end_us`.
    pub fn of(timeline: &Timeline, end_us: u64) -> Self {
        let width_us = timeline.width_us();
        let empty = Counted::default();
        let due = usize::try_from(end_us.div_ceil(width_us)).unwrap_or(0);
        let counted = timeline.buckets();
        // At its end a run may have had nothing due for a while.
        let buckets = (0..due.max(counted.len()))
            .map(|index| Bucket::of(counted.get(index).unwrap_or(&empty), index as u64 * width_us))
            .collect();
        Series { bucket_ms: ms(width_us), buckets }
    }

    /// The same with so many buckets made one each, for drawing.
    #[allow(clippy::cast_precision_loss)]
    pub fn merged(&self, size: usize) -> Self {
        let size = size.max(1);
        let buckets = self.buckets.chunks(size).map(Bucket::sum).collect();
        Series { bucket_ms: self.bucket_ms * size as f64, buckets }
    }

    /// The same with at most so many buckets.
    pub fn at_most(&self, buckets: usize) -> Self {
        self.merged(self.buckets.len().div_ceil(buckets.max(1)))
    }
}

impl Bucket {
    fn of(counted: &Counted, at_us: u64) -> Self {
        let Counted { succeeded, failed, max_us, cells } = counted;
        let latency: Vec<_> = cells
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(cell, count)| (rounded(cell_end_us(cell)), u64::from(*count)))
            .collect();
        let max_ms = (*succeeded > 0).then(|| ms(*max_us));
        Bucket {
            at_ms: ms(at_us),
            succeeded: *succeeded,
            failed: failed.clone(),
            max_ms,
            ..Default::default()
        }
        .with(latency)
    }

    fn with(mut self, latency: Vec<(f64, u64)>) -> Self {
        self.latency = latency;
        self.p50_ms = self.quantile(0.5);
        self.p99_ms = self.quantile(0.99);
        self
    }

    fn sum(parts: &[Bucket]) -> Bucket {
        let at_ms = parts.first().map_or(0.0, |first| first.at_ms);
        let mut sum = Bucket { at_ms, ..Default::default() };
        let mut cells: Vec<(f64, u64)> = Vec::new();
        for part in parts {
            sum.succeeded += part.succeeded;
            for (failure, count) in &part.failed {
                *sum.failed.entry(*failure).or_default() += count;
            }
            sum.max_ms = sum.max_ms.into_iter().chain(part.max_ms).reduce(f64::max);
            cells.extend(&part.latency);
        }
        cells.sort_by(|one, other| one.0.total_cmp(&other.0));
        cells.dedup_by(|next, kept| {
            let same = next.0.total_cmp(&kept.0).is_eq();
            if same {
                kept.1 += next.1;
            }
            same
        });
        sum.with(cells)
    }

    /// How many failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// What so many of those that succeeded took at most, to within a cell.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn quantile(&self, quantile: f64) -> Option<f64> {
        let all: u64 = self.latency.iter().map(|(_, count)| count).sum();
        let wanted = ((all as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        let cell = self.latency.iter().find(|(_, count)| {
            seen += count;
            seen >= wanted
        })?;
        Some(self.max_ms.map_or(cell.0, |max| cell.0.min(max)))
    }
}

/// Microseconds as milliseconds, to the microsecond.
fn rounded(us: f64) -> f64 {
    us.round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::{Connection, Outcome};

    fn series() -> Series {
        let mut timeline = Timeline::default();
        for slot in 0..1000_u64 {
            let due_us = slot * 2000;
            let result = if slot % 50 == 7 { Err(Failure::Reset) } else { Ok(()) };
            let finished_us = due_us + slot * 10;
            timeline.record(&Outcome {
                connection: Connection::Kept,
                due_us,
                started_us: due_us,
                finished_us,
                result,
            });
        }
        Series::of(&timeline, 2_150_000)
    }

    #[test]
    fn buckets_reach_to_the_end_and_are_the_requests() {
        let series = series();
        assert_eq!((series.bucket_ms, series.buckets.len()), (100.0, 22));
        assert_eq!((series.buckets[19].at_ms, series.buckets[19].succeeded), (1900.0, 49));
        assert_eq!(series.buckets[19].failed, BTreeMap::from([(Failure::Reset, 1)]));
        assert_eq!(series.buckets[19].max_ms, Some(9.99));
        let p50 = series.buckets[19].p50_ms.unwrap();
        assert!((9.7..9.75 * 1.19).contains(&p50), "{p50}");
        assert_eq!((series.buckets[21].succeeded, series.buckets[21].p50_ms), (0, None));
    }

    #[test]
    fn merging_keeps_every_request() {
        let series = series();
        for size in [1, 3, 22, 100] {
            let merged = series.merged(size);
            assert_eq!(merged.buckets.len(), 22_usize.div_ceil(size));
            assert_eq!(merged.buckets.iter().map(|bucket| bucket.succeeded).sum::<u64>(), 980);
            assert_eq!(merged.buckets.iter().map(Bucket::failures).sum::<u64>(), 20);
            let cells: u64 =
                merged.buckets.iter().flat_map(|bucket| &bucket.latency).map(|cell| cell.1).sum();
            assert_eq!(cells, 980);
        }
        assert_eq!(series.merged(1), series);
        assert_eq!(series.at_most(7).buckets.len(), 6);
        assert_eq!(series.merged(22).buckets[0].max_ms, Some(9.99));
    }
}
