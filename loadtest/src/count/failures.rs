//! The requests that failed: the first of them one by one, the others by tenth of a second.

use std::collections::BTreeMap;

use super::{Failed, Failure};

/// So many are kept one by one; each costs 24 bytes.
const MAX_KEPT: usize = 100_000;
/// How wide the stretches are at first in which others are counted, in microseconds.
const FIRST_WIDTH_US: u64 = 100_000;
/// The most counts of them; when there would be more, the stretches become twice as wide.
const MAX_COUNTS: usize = 50_000;

/// The failed requests of a run, in the order in which they failed.
#[derive(Clone, Debug)]
pub struct Failures {
    kept: Vec<Failed>,
    beyond: BTreeMap<(u64, Failure), u64>,
    width_us: u64,
    last_start_us: Option<u64>,
}

impl Default for Failures {
    fn default() -> Self {
        Failures { kept: Vec::new(), beyond: BTreeMap::new(), width_us: FIRST_WIDTH_US, last_start_us: None }
    }
}

impl Failures {
    /// Takes one.
    pub fn record(&mut self, failed: Failed) {
        self.last_start_us = self.last_start_us.max(Some(failed.started_us));
        if self.kept.len() < MAX_KEPT {
            self.kept.push(failed);
            return;
        }
        *self.beyond.entry((failed.started_us / self.width_us, failed.failure)).or_default() += 1;
        while self.beyond.len() > MAX_COUNTS {
            self.width_us *= 2;
            let narrow = std::mem::take(&mut self.beyond);
            for ((stretch, failure), count) in narrow {
                *self.beyond.entry((stretch / 2, failure)).or_default() += count;
            }
        }
    }

    /// Those that are kept one by one.
    pub fn kept(&self) -> &[Failed] {
        &self.kept
    }

    /// When the last one started of all that are known.
    pub fn last_start_us(&self) -> Option<u64> {
        self.last_start_us
    }

    /// How many were under way at `from`, or started until before `to`, by reason. To within a stretch of those that are
    /// not kept.
    pub fn touching(&self, from: u64, to: u64) -> BTreeMap<Failure, u64> {
        let mut by_kind = BTreeMap::new();
        for failed in self.kept_touching(from, to) {
            *by_kind.entry(failed.failure).or_default() += 1;
        }
        for ((stretch, failure), count) in &self.beyond {
            if self.touches(*stretch, from, to) {
                *by_kind.entry(*failure).or_default() += count;
            }
        }
        by_kind
    }

    /// When the first and the last of those started.
    pub fn first_and_last(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        let kept = self.kept_touching(from, to).map(|failed| failed.started_us);
        let beyond = self.beyond.keys().filter(|(stretch, _)| self.touches(*stretch, from, to));
        let starts = kept.chain(beyond.map(|(stretch, _)| (stretch * self.width_us).max(from)));
        starts.fold(None, |found, start| match found {
            None => Some((start, start)),
            Some((first, last)) => Some((start.min(first), start.max(last))),
        })
    }

    fn kept_touching(&self, from: u64, to: u64) -> impl Iterator<Item = &Failed> {
        self.kept.iter().filter(move |failed| {
            failed.started_us < to && (failed.started_us >= from || failed.finished_us > from)
        })
    }

    fn touches(&self, stretch: u64, from: u64, to: u64) -> bool {
        stretch * self.width_us < to && (stretch + 1) * self.width_us > from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_under_way_when_a_fault_came_is_the_faults_too() {
        let mut failures = Failures::default();
        for (started_us, finished_us) in [(10, 20), (30, 60), (40, 50), (70, 80), (90, 95)] {
            failures.record(Failed { started_us, finished_us, failure: Failure::Reset });
        }
        assert_eq!(failures.touching(50, 90), BTreeMap::from([(Failure::Reset, 2)]));
        assert_eq!(failures.first_and_last(50, 90), Some((30, 70)));
    }

    #[test]
    fn many_failures_are_counted_in_bounded_memory() {
        let mut failures = Failures::default();
        let all = MAX_KEPT as u64 + 400_000;
        for number in 0..all {
            let failure = if number % 2 == 0 { Failure::Reset } else { Failure::Timeout };
            failures.record(Failed { started_us: number * 100_000, finished_us: number * 100_000, failure });
        }
        assert_eq!(failures.kept().len(), MAX_KEPT);
        assert!(failures.beyond.len() <= MAX_COUNTS);
        assert_eq!(failures.touching(0, u64::MAX).values().sum::<u64>(), all);
        assert_eq!(failures.last_start_us(), Some((all - 1) * 100_000));
        let exact = failures.touching(1_000_000, 3_000_000);
        assert_eq!(exact, BTreeMap::from([(Failure::Reset, 10), (Failure::Timeout, 10)]));
        assert_eq!(failures.first_and_last(1_050_000, 3_000_000), Some((1_100_000, 2_900_000)));
        assert_eq!(failures.first_and_last(all * 100_000, u64::MAX / 4), None);
    }
}
