//! What happened to one upstream, in numbers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::super::metrics::CLASSES;
use super::in_flight::Outcome;

/// Totals since the record began.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Requests sent to it.
    pub(crate) requests: AtomicU64,
    /// Failures held against it.
    pub(crate) failures: AtomicU64,
    /// Times it was ejected.
    pub(crate) ejections: AtomicU64,
    /// Connections opened to it for requests.
    pub(crate) connects: AtomicU64,
    /// The most requests it had in flight.
    pub(crate) most_in_flight: AtomicU32,
    /// Requests whose end has come, by outcome.
    outcomes: [AtomicU64; Outcome::COUNT],
    /// Its answers by class.
    answers: [AtomicU64; CLASSES.len()],
    /// How long their heads took, together, in microseconds.
    heads_us: AtomicU64,
}

impl Counters {
    /// Counts an answer, whose head came after `took`.
    pub(crate) fn count_answer(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).min(CLASSES.len() - 1);
        self.answers[class].fetch_add(1, Ordering::Relaxed);
        self.heads_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// All its answers, and how long their heads took together, in microseconds.
    pub(crate) fn heads(&self) -> (u64, u64) {
        let answers = self.answers.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        (answers, self.heads_us.load(Ordering::Relaxed))
    }

    /// Counts the end of a request.
    pub(crate) fn count_outcome(&self, outcome: Outcome) {
        self.outcomes[outcome.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Answers of a class of [`CLASSES`].
    pub(crate) fn answers(&self, class: usize) -> u64 {
        self.answers.get(class).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Requests that ended so.
    pub(crate) fn outcomes(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome.index()].load(Ordering::Relaxed)
    }
}
