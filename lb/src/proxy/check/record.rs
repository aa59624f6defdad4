//! What the checks of one upstream came to, and what the rest of the balancer tells them. A part of the upstream's
//! record: whoever comes anew, at the same address or not, begins with an empty one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use wire::upstream_tls::UpstreamTls as Described;

use super::super::lock;
use super::super::upstream_tls::{PoolTls, UpstreamTls};
use super::{Fault, Outcome, Role};

/// The names of all results in metrics and `/status`.
pub(crate) const RESULTS: [&str; 13] = [
    "passed",
    "refused",
    "timeout",
    "broken",
    "status",
    "body",
    "grpc_status",
    "not_serving",
    "void",
    "tls",
    "login",
    "complaint",
    "galera",
];

/// The place of the good one among them.
pub(crate) const PASSED: usize = 0;

/// The place of `outcome` in [`RESULTS`].
pub(crate) fn index(outcome: Outcome) -> usize {
    match outcome {
        Ok(_) => PASSED,
        Err(Fault::Refused) => 1,
        Err(Fault::Timeout) => 2,
        Err(Fault::Broken) => 3,
        Err(Fault::Status(_)) => 4,
        Err(Fault::Body) => 5,
        Err(Fault::GrpcStatus(_)) => 6,
        Err(Fault::NotServing(_)) => 7,
        Err(Fault::Void) => 8,
        Err(Fault::Tls(_)) => 9,
        Err(Fault::Login | Fault::LoginMethod) => 10,
        Err(Fault::Complaint(_)) => 11,
        Err(Fault::Galera { .. }) => 12,
    }
}

/// The checks of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Record {
    last: Mutex<Option<Last>>,
    /// What the last check that passed found it to be for.
    role: Mutex<Option<Role>>,
    counts: [AtomicU64; RESULTS.len()],
    /// Somebody looks after it.
    is_watched: AtomicBool,
    /// Wakes who does: any of the below, another policy, others who check it, or the end.
    pub(super) news: Notify,
    trouble: AtomicBool,
    wanted: AtomicBool,
    /// Other balancers do so.
    is_elsewhere: AtomicBool,
    ejection: Mutex<Option<Ejection>>,
    /// The TLS of checks that have one of their own, as it was described.
    tls: Mutex<Option<(Described, Arc<UpstreamTls>)>>,
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

    /// Takes in whether other balancers check it on behalf of all.
    pub(crate) fn leave_to_others(&self, is_elsewhere: bool) {
        if self.is_elsewhere.swap(is_elsewhere, Ordering::Relaxed) != is_elsewhere {
            self.news.notify_one();
        }
    }

    /// Whether other balancers check it on behalf of all.
    pub(crate) fn is_left_to_others(&self) -> bool {
        self.is_elsewhere.load(Ordering::Relaxed)
    }

    /// The last check, if there was any.
    pub(crate) fn last(&self) -> Option<Last> {
        *lock(&self.last)
    }

    /// The TLS that is `described`, for checks: made once, and with its sessions from one check to the next. None where it
    /// cannot be used, which was found when it came.
    pub(super) fn tls(&self, described: &Described) -> Option<Arc<UpstreamTls>> {
        let mut known = lock(&self.tls);
        if let Some((_, tls)) = known.as_ref().filter(|(known, _)| known == described) {
            return Some(tls.clone());
        }
        let pool = PoolTls::new(described, b"http/1.1").ok()?;
        let tls = Arc::new(UpstreamTls::new(&Arc::new(pool)));
        *known = Some((described.clone(), tls.clone()));
        Some(tls)
    }

    /// Whether the upstream is well and what it is then for, where so many as `fall` failed checks in a row are one that
    /// is not; none while nobody knows.
    pub(crate) fn standing(&self, fall: u32) -> Option<Outcome> {
        let last = self.last()?;
        match last.outcome {
            // It has not been found to be ill yet.
            Err(fault) if last.in_a_row < fall || fault == Fault::Void => lock(&self.role).map(Ok),
            outcome => Some(outcome),
        }
    }

    /// Checks so far that had this result of [`RESULTS`].
    pub(crate) fn count(&self, result: usize) -> u64 {
        self.counts.get(result).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Notes a check that began at `begun`. Returns the one before.
    pub(crate) fn note(&self, outcome: Outcome, begun: Instant, now: Instant) -> Option<Last> {
        self.counts[index(outcome)].fetch_add(1, Ordering::Relaxed);
        if let Ok(role) = outcome {
            *lock(&self.role) = Some(role);
        }
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
        *lock(&self.role) = None;
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
    use super::super::Complaint;
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
            Fault::Login,
            Fault::Complaint(Complaint::Mysql(1040)),
            Fault::Galera { state: Some(2), ready: true },
        ];
        let places: Vec<_> = [Ok(Role::Any)].into_iter().chain(faults.map(Err)).map(index).collect();
        assert_eq!(places, (0..RESULTS.len()).collect::<Vec<_>>());
        let (record, now, well) = (Record::default(), Instant::now(), Ok(Role::Any));
        for (outcome, row) in
            [(well, 1), (well, 2), (Err(Fault::Timeout), 1), (Err(Fault::Body), 2), (well, 1)]
        {
            record.note(outcome, now, now);
            assert_eq!(record.last().map(|last| last.in_a_row), Some(row), "{outcome:?}");
        }
        assert_eq!((record.count(0), record.count(2), record.count(1)), (3, 1, 0));
    }
}
