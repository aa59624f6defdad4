//! What happened to one upstream, in numbers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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
}

impl Counters {
    /// Counts an answer.
    pub(crate) fn count_answer(&self, status: u16) {
        let class = usize::from(status / 100).min(CLASSES.len() - 1);
        self.answers[class].fetch_add(1, Ordering::Relaxed);
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
