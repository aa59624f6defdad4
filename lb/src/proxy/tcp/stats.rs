//! What happened on a service, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts};

use super::super::forward::connect::ConnectFailure;
use super::ended::Ended;

/// Upper bounds of the histogram of durations, in seconds: from a question and its answer to a day of a pool's
/// connections.
const BUCKETS: [f64; 14] =
    [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

/// Why there was no connection to an upstream, as metrics have it.
pub(crate) const FAILURES: [&str; 3] = ["refused", "timeout", "other"];

/// Totals since the service was there first.
#[derive(Debug)]
pub(crate) struct Stats {
    open: AtomicU64,
    most: AtomicU64,
    accepted: AtomicU64,
    ended: [AtomicU64; Ended::ALL.len()],
    /// From clients, and to them, in bytes.
    received: AtomicU64,
    sent: AtomicU64,
    failures: [AtomicU64; FAILURES.len()],
    /// How long connections were open.
    pub(crate) duration: Histogram,
}

impl Default for Stats {
    fn default() -> Self {
        let options = HistogramOpts::new(
            "lb_tcp_connection_duration_seconds",
            "From the acceptance of a connection of a TCP service to its end.",
        )
        .buckets(BUCKETS.to_vec());
        Stats {
            open: AtomicU64::default(),
            most: AtomicU64::default(),
            accepted: AtomicU64::default(),
            ended: Default::default(),
            received: AtomicU64::default(),
            sent: AtomicU64::default(),
            failures: Default::default(),
            // Name and buckets are constants that are valid together.
            #[allow(clippy::expect_used)]
            duration: Histogram::with_opts(options).expect("valid histogram"),
        }
    }
}

impl Stats {
    /// Counts a connection that is for the service; whether it may stay, as there are no more than `most`. If it may,
    /// [`Self::end`] follows.
    pub(crate) fn begin(&self, most: Option<u32>) -> bool {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        if most.is_some_and(|most| open > u64::from(most)) {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        if open > self.most.load(Ordering::Relaxed) {
            self.most.fetch_max(open, Ordering::Relaxed);
        }
        true
    }

    /// Counts connections that the kernel forwarded.
    pub(crate) fn forwarded(&self, connections: u64) {
        self.accepted.fetch_add(connections, Ordering::Relaxed);
    }

    /// It counts no more.
    pub(crate) fn end(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts how a connection ended, and after how long.
    pub(crate) fn count(&self, ended: Ended, took: Duration) {
        self.ended[ended as usize].fetch_add(1, Ordering::Relaxed);
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts bytes that went each way.
    pub(crate) fn moved(&self, received: u64, sent: u64) {
        for (total, count) in [(&self.received, received), (&self.sent, sent)] {
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Counts a connection to an upstream that was not to be had.
    pub(crate) fn failed(&self, failure: ConnectFailure) {
        let index = match failure {
            ConnectFailure::Refused => 0,
            ConnectFailure::TimedOut => 1,
            ConnectFailure::Tls(_) | ConnectFailure::Other => 2,
        };
        self.failures[index].fetch_add(1, Ordering::Relaxed);
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// The most that ever were.
    pub(crate) fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// Connections so far, those that were closed at once included.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections that ended so.
    pub(crate) fn ended(&self, ended: Ended) -> u64 {
        self.ended[ended as usize].load(Ordering::Relaxed)
    }

    /// Bytes from clients, and to them.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }

    /// Connections to upstreams that were not to be had, as [`FAILURES`] has them.
    pub(crate) fn failures(&self) -> [u64; FAILURES.len()] {
        self.failures.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_no_more_than_its_fill() {
        let stats = Stats::default();
        assert!(stats.begin(Some(2)) && stats.begin(Some(2)));
        assert!(!stats.begin(Some(2)));
        stats.end();
        assert!(stats.begin(Some(2)));
        assert_eq!((stats.open(), stats.most(), stats.accepted()), (2, 2, 4));
    }
}
