//! What the checks of one upstream came to, and what the rest of the balancer tells them. A part of the upstream's
//! record: whoever comes anew, at the same address or not, begins with an empty one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::super::lock;
use super::{Fault, Outcome};

/// The names of all results in metrics and `/status`.
pub(crate) const RESULTS: [&str; 10] =
    ["passed", "refused", "timeout", "broken", "status", "body", "grpc_status", "not_serving", "void", "tls"];

/// The place of the good one among them.
pub(crate) const PASSED: usize = 0;

/// The place of `outcome` in [`RESULTS`].
pub(crate) fn index(outcome: Outcome) -> usize {
    match outcome {
        Ok(()) => PASSED,
        Err(Fault::Refused) => 1,
        Err(Fault::Timeout) => 2,
        Err(Fault::Broken) => 3,
        Err(Fault::Status(_)) => 4,
        Err(Fault::Body) => 5,
        Err(Fault::GrpcStatus(_)) => 6,
        Err(Fault::NotServing(_)) => 7,
        Err(Fault::Void) => 8,
        Err(Fault::Tls(_)) => 9,
    }
}

/// The checks of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Record {
    last: Mutex<Option<Last>>,
    counts: [AtomicU64; RESULTS.len()],
    /// Somebody looks after it.
    is_watched: AtomicBool,
    /// Wakes who does: any of the below, another policy, or the end.
    pub(super) news: Notify,
    trouble: AtomicBool,
    wanted: AtomicBool,
    ejection: Mutex<Option<Ejection>>,
}

/// The last check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    pub(crate) outcome: Outcome,
    /// When it ended.
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    /// So many in a row passed, or did not.
    pub(crate) in_a_row: u32,
}

/// An upstream is out of use from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ejection {
    /// It is not asked before this is over.
    pub(super) hold: Duration,
    /// What the wait from one check to the next grows to, unless the policy says.
    pub(super) penalty: Duration,
}

impl Record {
    /// Takes in that the upstream was ejected: it is asked again until it may come back, but not before `hold` is
    /// over, and no more seldom than every `penalty`, unless the policy says.
    pub(crate) fn ejected(&self, hold: Duration, penalty: Duration) {
        *lock(&self.ejection) = Some(Ejection { hold, penalty });
        self.news.notify_one();
    }

    /// Takes in that a request failed on its way to or from the upstream: if that is checked, it is at once.
    pub(crate) fn trouble(&self) {
        if !self.trouble.swap(true, Ordering::Relaxed) {
            self.news.notify_one();
        }
    }

    /// Has it asked at once, whatever it has to wait for: nobody is left. One that was the last in use was not
    /// ejected when it went.
    pub(crate) fn want(&self) {
        if !self.wanted.swap(true, Ordering::Relaxed) {
            self.news.notify_one();
        }
    }

    /// Takes in that there is another policy, or that the upstream is not in the set any more.
    pub(crate) fn changed(&self) {
        self.news.notify_one();
    }

    /// The last check, if there was any.
    pub(crate) fn last(&self) -> Option<Last> {
        *lock(&self.last)
    }

    /// Checks so far that had this result of [`RESULTS`].
    pub(crate) fn count(&self, result: usize) -> u64 {
        self.counts.get(result).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Notes a check that began at `begun`. Returns the one before.
    pub(super) fn note(&self, outcome: Outcome, begun: Instant, now: Instant) -> Option<Last> {
        self.counts[index(outcome)].fetch_add(1, Ordering::Relaxed);
        let mut last = lock(&self.last);
        let before = *last;
        let row = before.filter(|before| before.outcome.is_ok() == outcome.is_ok());
        let in_a_row = row.map_or(0, |before| before.in_a_row).saturating_add(1);
        *last = Some(Last { outcome, at: now, took: now.saturating_duration_since(begun), in_a_row });
        before
    }

    /// Forgets the last check: it was another question.
    pub(super) fn forget(&self) {
        *lock(&self.last) = None;
    }

    pub(super) fn take_trouble(&self) -> bool {
        self.trouble.swap(false, Ordering::Relaxed)
    }

    pub(super) fn take_want(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

    pub(super) fn take_ejection(&self) -> Option<Ejection> {
        lock(&self.ejection).take()
    }

    pub(super) fn is_ejection_new(&self) -> bool {
        lock(&self.ejection).is_some()
    }

    /// Makes the caller the one who looks after it, until the guard is dropped; none if somebody does.
    pub(super) fn begin_watch(&self) -> bool {
        !self.is_watched.swap(true, Ordering::Relaxed)
    }

    pub(super) fn end_watch(&self) {
        self.is_watched.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::upstream_tls::failure::TlsFailure;
    use super::*;

    #[test]
    fn results_have_a_place_each_and_rows_are_counted() {
        let faults = [
            Fault::Refused,
            Fault::Timeout,
            Fault::Broken,
            Fault::Status(500),
            Fault::Body,
            Fault::GrpcStatus(12),
            Fault::NotServing(2),
            Fault::Void,
            Fault::Tls(TlsFailure::Expired),
        ];
        let places: Vec<_> = [Ok(())].into_iter().chain(faults.map(Err)).map(index).collect();
        assert_eq!(places, (0..RESULTS.len()).collect::<Vec<_>>());
        let (record, now) = (Record::default(), Instant::now());
        for (outcome, row) in
            [(Ok(()), 1), (Ok(()), 2), (Err(Fault::Timeout), 1), (Err(Fault::Body), 2), (Ok(()), 1)]
        {
            record.note(outcome, now, now);
            assert_eq!(record.last().map(|last| last.in_a_row), Some(row), "{outcome:?}");
        }
        assert_eq!((record.count(0), record.count(2), record.count(1)), (3, 1, 0));
    }
}
