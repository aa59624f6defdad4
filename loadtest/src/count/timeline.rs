//! What became of the slots, bucket by bucket along the run: the stuff that time lines are drawn of.
//!
//! A slot belongs to the bucket in which it was due. Buckets are a tenth of a second wide. When a run has
//! more of them than [`MAX_BUCKETS`], neighbours are added up and all are wider from then on, so that the memory
//! of a run is bounded however long it is:
//!
//! ```text
//!  up to       10 min   20 min   100 min   200 min   16 h …
//!  a bucket    100 ms   200 ms   1 s       2 s       10 s …
//! ```

use std::collections::BTreeMap;

use super::{Failure, Outcome};

/// How wide a bucket is at first, in microseconds.
pub const FIRST_WIDTH_US: u64 = 100_000;
/// The most buckets that are kept.
pub const MAX_BUCKETS: usize = 6000;
/// What the width is multiplied with in turn, so that it is always 1, 2 or 10, 20, … tenths of a second.
const FACTORS: [u8; 2] = [2, 5];

/// Latencies up to this, in microseconds, are in the first cell.
const FIRST_CELL_US: f64 = 100.0;
/// So many cells double the latency: each is 19 % wide.
const CELLS_PER_DOUBLING: f64 = 4.0;
/// The last cell reaches beyond an hour, which is what longer latencies count as.
const CELLS: usize = 102;

/// What became of the slots of one stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Slots that succeeded.
    pub succeeded: u64,
    /// Slots that failed, by reason.
    pub failed: BTreeMap<Failure, u64>,
    /// The longest latency of those that succeeded, in microseconds.
    pub max_us: u64,
    /// How many of those that succeeded are in each cell of latency; cells after the last used one are
    /// left out. [`cell_end_us`] says how far one reaches.
    pub cells: Vec<u32>,
}

impl Bucket {
    fn record(&mut self, outcome: &Outcome) {
        match outcome.result {
            Ok(()) => {
                self.succeeded += 1;
                let latency_us = outcome.finished_us.saturating_sub(outcome.due_us);
                self.max_us = self.max_us.max(latency_us);
                let cell = cell_of(latency_us);
                if self.cells.len() <= cell {
                    self.cells.resize(cell + 1, 0);
                }
                self.cells[cell] = self.cells[cell].saturating_add(1);
            }
            Err(failure) => *self.failed.entry(failure).or_default() += 1,
        }
    }

    fn add(&mut self, other: &Bucket) {
        self.succeeded += other.succeeded;
        for (failure, count) in &other.failed {
            *self.failed.entry(*failure).or_default() += count;
        }
        self.max_us = self.max_us.max(other.max_us);
        if self.cells.len() < other.cells.len() {
            self.cells.resize(other.cells.len(), 0);
        }
        for (mine, theirs) in self.cells.iter_mut().zip(&other.cells) {
            *mine = mine.saturating_add(*theirs);
        }
    }
}

/// All buckets of a run, from its start on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    width_us: u64,
    widened: usize,
    buckets: Vec<Bucket>,
}

impl Default for Timeline {
    fn default() -> Self {
        Timeline { width_us: FIRST_WIDTH_US, widened: 0, buckets: Vec::new() }
    }
}

impl Timeline {
    /// Takes one outcome.
    pub fn record(&mut self, outcome: &Outcome) {
        while outcome.due_us / self.width_us >= MAX_BUCKETS as u64 {
            self.widen();
        }
        // Below MAX_BUCKETS, so it fits.
        let index = usize::try_from(outcome.due_us / self.width_us).unwrap_or(MAX_BUCKETS - 1);
        if self.buckets.len() <= index {
            self.buckets.resize_with(index + 1, Bucket::default);
        }
        self.buckets[index].record(outcome);
    }

    /// Adds what another counted of the same run.
    pub fn merge(&mut self, mut other: Timeline) {
        while self.width_us < other.width_us {
            self.widen();
        }
        while other.width_us < self.width_us {
            other.widen();
        }
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize_with(other.buckets.len(), Bucket::default);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            mine.add(theirs);
        }
    }

    /// How wide each bucket is, in microseconds.
    pub fn width_us(&self) -> u64 {
        self.width_us
    }

    /// The buckets; the first begins at the run's start, the last is the last in which a slot was due.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    fn widen(&mut self) {
        let factor = FACTORS[self.widened % FACTORS.len()];
        self.widened += 1;
        self.width_us *= u64::from(factor);
        self.buckets = self
            .buckets
            .chunks(usize::from(factor))
            .map(|chunk| {
                chunk.iter().fold(Bucket::default(), |mut sum, bucket| {
                    sum.add(bucket);
                    sum
                })
            })
            .collect();
    }
}

/// The cell that a latency in microseconds is in.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn cell_of(latency_us: u64) -> usize {
    let doublings = (latency_us as f64 / FIRST_CELL_US).max(1.0).log2();
    ((doublings * CELLS_PER_DOUBLING).ceil() as usize).min(CELLS - 1)
}

/// The longest latency that is in a cell, in microseconds.
#[allow(clippy::cast_precision_loss)]
pub fn cell_end_us(cell: usize) -> f64 {
    FIRST_CELL_US * (cell as f64 / CELLS_PER_DOUBLING).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::Connection;

    fn outcome(due_us: u64, result: Result<u64, Failure>) -> Outcome {
        let finished_us = due_us + result.unwrap_or(0);
        let result = result.map(|_| ());
        Outcome { connection: Connection::Kept, due_us, started_us: due_us, finished_us, result }
    }

    #[test]
    fn a_slot_is_in_the_bucket_and_the_cell_that_it_belongs_to() {
        let mut timeline = Timeline::default();
        timeline.record(&outcome(99_999, Ok(100)));
        timeline.record(&outcome(100_000, Ok(101)));
        timeline.record(&outcome(350_000, Err(Failure::Reset)));
        let [first, second, third, fourth] = timeline.buckets() else { panic!("{timeline:?}") };
        assert_eq!((first.succeeded, &first.cells[..], first.max_us), (1, &[1][..], 100));
        assert_eq!((second.succeeded, &second.cells[..]), (1, &[0, 1][..]));
        assert_eq!(*third, Bucket::default());
        assert_eq!(fourth.failed, BTreeMap::from([(Failure::Reset, 1)]));
        for latency_us in [0, 1, 100, 101, 119, 500, 12_345, 999_999, 3_600_000_000] {
            let cell = cell_of(latency_us);
            assert!(latency_us as f64 <= cell_end_us(cell) + 1e-6, "{latency_us}");
            assert!(cell == 0 || latency_us as f64 > cell_end_us(cell - 1) - 1e-6, "{latency_us}");
        }
        assert_eq!(cell_of(u64::MAX), CELLS - 1);
    }

    #[test]
    fn a_long_run_has_wider_buckets_and_loses_nothing() {
        let mut timeline = Timeline::default();
        let mut widths = Vec::new();
        // Two days, a slot every 7 seconds, every tenth of them in vain.
        let slots = 2 * 86_400 / 7;
        for slot in 0..slots {
            let result = if slot % 10 == 0 { Err(Failure::Timeout) } else { Ok(slot) };
            timeline.record(&outcome(slot * 7_000_000, result));
            assert!(timeline.buckets().len() <= MAX_BUCKETS);
            if widths.last() != Some(&timeline.width_us()) {
                widths.push(timeline.width_us());
            }
        }
        assert_eq!(widths, [100_000, 200_000, 1_000_000, 2_000_000, 10_000_000, 20_000_000, 100_000_000]);
        let succeeded: u64 = timeline.buckets().iter().map(|bucket| bucket.succeeded).sum();
        let failed: u64 = timeline.buckets().iter().flat_map(|bucket| bucket.failed.values()).sum();
        assert_eq!((succeeded + failed, failed), (slots, slots.div_ceil(10)));
        let last = (slots - 1) * 7_000_000 / timeline.width_us();
        assert_eq!(timeline.buckets().len() as u64, last + 1);
    }

    #[test]
    fn what_two_counted_apart_is_what_one_would_have_counted() {
        let outcomes: Vec<_> = (0..2000)
            .map(|slot| {
                outcome(slot * 400_000, if slot % 3 == 0 { Err(Failure::Eof) } else { Ok(slot * slot) })
            })
            .collect();
        let [mut all, mut even, mut odd] = [const { None::<Timeline> }; 3].map(Option::unwrap_or_default);
        for (number, outcome) in outcomes.iter().enumerate() {
            all.record(outcome);
            // One of the two ends early, and its buckets are still narrow.
            if number % 2 == 0 || number > 1000 { even.record(outcome) } else { odd.record(outcome) }
        }
        assert!(odd.width_us() < even.width_us());
        let mut other_way = odd.clone();
        other_way.merge(even.clone());
        even.merge(odd);
        assert_eq!(even, all);
        assert_eq!(other_way, all);
    }
}
