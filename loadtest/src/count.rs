//! The ledger: what became of every slot, in memory that does not grow with the run.
//!
//! Latency counts from the moment a request was *due*, so that the wait a stalled sender causes is in
//! it (coordinated omission). Outages count between the moments requests really *started*.

pub mod failures;
pub mod peaks;
pub mod samples;
pub mod timeline;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::failures::Failures;
use self::peaks::Peaks;
use self::samples::Samples;
use self::timeline::Timeline;
use crate::outage::Moments;

/// Latencies above an hour count as an hour.
const MAX_LATENCY_US: u64 = 3_600_000_000;
/// Two latencies that differ by less than a thousandth count as equal.
const LATENCY_DIGITS: u8 = 3;

/// On which kind of connection a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// One that was opened for it.
    Fresh,
    /// One that had answered before, where there was one.
    Kept,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The host's name could not be looked up.
    Dns,
    /// The connection was refused.
    Refused,
    /// There was no way to the host.
    Unreachable,
    /// There was no connection within the timeout.
    ConnectTimeout,
    /// There was no agreement on TLS, or the certificate is not believed.
    Tls,
    /// The connection was reset.
    Reset,
    /// The connection was closed before an answer came.
    Eof,
    /// There was a connection, but no whole answer within the timeout.
    Timeout,
    /// The answer was a 4xx.
    Http4xx,
    /// The answer was 502.
    Http502,
    /// The answer was 503.
    Http503,
    /// The answer was 504.
    Http504,
    /// The answer was another 5xx.
    Http5xx,
    /// The answer had another status than the target's check wants.
    WrongStatus,
    /// The answer was not what the target's check wants.
    WrongBody,
    /// The answer ended before it was complete.
    ShortBody,
    /// The answer was not HTTP.
    Protocol,
    /// It was never sent: too many were in flight, or this machine could open no more connections.
    NotSent,
}

impl Failure {
    /// All of them.
    pub const ALL: [Failure; 18] = [
        Failure::Dns,
        Failure::Refused,
        Failure::Unreachable,
        Failure::ConnectTimeout,
        Failure::Tls,
        Failure::Reset,
        Failure::Eof,
        Failure::Timeout,
        Failure::Http4xx,
        Failure::Http502,
        Failure::Http503,
        Failure::Http504,
        Failure::Http5xx,
        Failure::WrongStatus,
        Failure::WrongBody,
        Failure::ShortBody,
        Failure::Protocol,
        Failure::NotSent,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Dns => "dns",
            Failure::Refused => "refused",
            Failure::Unreachable => "unreachable",
            Failure::ConnectTimeout => "connect-timeout",
            Failure::Tls => "tls",
            Failure::Reset => "reset",
            Failure::Eof => "eof",
            Failure::Timeout => "timeout",
            Failure::Http4xx => "http-4xx",
            Failure::Http502 => "http-502",
            Failure::Http503 => "http-503",
            Failure::Http504 => "http-504",
            Failure::Http5xx => "http-5xx",
            Failure::WrongStatus => "wrong-status",
            Failure::WrongBody => "wrong-body",
            Failure::ShortBody => "short-body",
            Failure::Protocol => "protocol",
            Failure::NotSent => "not-sent",
        }
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Failure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = Failure::ALL.into_iter().find(|failure| failure.name() == name);
        found.ok_or_else(|| {
            D::Error::custom(format!("`{name}` is no kind of failure that this program knows"))
        })
    }
}

/// What became of one slot. Times in microseconds since the run's start.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// On which kind of connection.
    pub connection: Connection,
    /// When it should have been sent.
    pub due_us: u64,
    /// When it was.
    pub started_us: u64,
    /// When its last byte had come, or it had failed.
    pub finished_us: u64,
    /// Whether it succeeded.
    pub result: Result<(), Failure>,
}

/// A request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// When it was sent, or should have been.
    pub started_us: u64,
    /// When it had failed.
    pub finished_us: u64,
    /// Why.
    pub failure: Failure,
}

/// The sums for one kind of connection.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Slots that succeeded.
    pub succeeded: u64,
    /// Slots that failed, by reason.
    pub failed: BTreeMap<Failure, u64>,
    /// The latency of those that succeeded, in microseconds.
    pub latency: Histogram<u64>,
}

impl Tally {
    fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Tally { succeeded: 0, failed: BTreeMap::new(), latency: histogram()? })
    }

    /// Slots that failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Requests that were really sent.
    pub fn sent(&self) -> u64 {
        self.succeeded + self.failures() - self.failed.get(&Failure::NotSent).copied().unwrap_or(0)
    }
}

/// What became of every slot so far.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// On fresh connections.
    pub fresh: Tally,
    /// On kept connections.
    pub kept: Tally,
    /// How much later than due requests were sent, in microseconds.
    pub lateness: Histogram<u64>,
    /// What successful requests took from their start, in microseconds: what a program would report that forgets
    /// how late they were sent.
    pub service: Histogram<u64>,
    /// When the requests started that succeeded.
    pub starts: Moments,
    /// When their answers were complete.
    pub arrivals: Moments,
    /// What the slowest of them took from its start, by when it did.
    pub slowest: Peaks,
    /// The requests that failed.
    pub failures: Failures,
    /// Both along the run.
    pub timeline: Timeline,
    /// What all that were sent took, by target.
    pub samples: Vec<Samples>,
}

impl Ledger {
    /// An empty ledger.
    ///
    /// # Errors
    ///
    /// Never with the bounds above.
    pub fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Ledger {
            fresh: Tally::new()?,
            kept: Tally::new()?,
            lateness: histogram()?,
            service: histogram()?,
            starts: Moments::default(),
            arrivals: Moments::default(),
            slowest: Peaks::default(),
            failures: Failures::default(),
            timeline: Timeline::default(),
            samples: Vec::new(),
        })
    }

    /// Takes one outcome of the target with this index.
    pub fn record_of(&mut self, target: usize, outcome: Outcome) {
        if outcome.result != Err(Failure::NotSent) {
            if self.samples.len() <= target {
                self.samples.resize_with(target + 1, Samples::default);
            }
            let elapsed_us = outcome.finished_us.saturating_sub(outcome.started_us);
            self.samples[target].record(elapsed_us, outcome.result.is_err());
        }
        self.record(outcome);
    }

    /// Takes one outcome.
    pub fn record(&mut self, outcome: Outcome) {
        self.timeline.record(&outcome);
        let Outcome { connection, due_us, started_us, finished_us, result } = outcome;
        let tally = match connection {
            Connection::Fresh => &mut self.fresh,
            Connection::Kept => &mut self.kept,
        };
        match result {
            Ok(()) => {
                let took_us = finished_us.saturating_sub(started_us);
                tally.succeeded += 1;
                tally.latency.saturating_record(finished_us.saturating_sub(due_us));
                self.service.saturating_record(took_us);
                self.starts.add(started_us);
                self.arrivals.add(finished_us);
                self.slowest.record(started_us, took_us);
            }
            Err(failure) => {
                *tally.failed.entry(failure).or_default() += 1;
                self.failures.record(Failed { started_us, finished_us, failure });
            }
        }
        if result != Err(Failure::NotSent) {
            self.lateness.saturating_record(started_us.saturating_sub(due_us));
        }
    }

    /// The first success after the last failure since `since`, if there is one: from there on the service was
    /// well, as far as is known.
    pub fn well_since(&self, since: u64) -> Option<u64> {
        let last_failure = self.failures.last_start_us().filter(|start| *start >= since).unwrap_or(since);
        self.starts.first_after(last_failure)
    }

    /// Slots whose end is known, succeeded and failed.
    pub fn totals(&self) -> (u64, u64) {
        (self.fresh.succeeded + self.kept.succeeded, self.fresh.failures() + self.kept.failures())
    }
}

/// An empty histogram of times in microseconds.
///
/// # Errors
///
/// Never with the bounds above.
pub fn histogram() -> Result<Histogram<u64>, hdrhistogram::CreationError> {
    Histogram::new_with_bounds(1, MAX_LATENCY_US, LATENCY_DIGITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(started_us: u64, took_us: u64, result: Result<(), Failure>) -> Outcome {
        let finished_us = started_us + took_us;
        Outcome { connection: Connection::Kept, due_us: started_us, started_us, finished_us, result }
    }

    #[test]
    fn it_is_well_after_the_last_failure() {
        let mut ledger = Ledger::new().unwrap();
        [10, 20, 30, 40].into_iter().for_each(|start| ledger.record(outcome(start, 1, Ok(()))));
        assert_eq!(ledger.well_since(5), Some(10));
        [12, 25, 3].into_iter().for_each(|start| ledger.record(outcome(start, 1, Err(Failure::Eof))));
        assert_eq!(ledger.well_since(5), Some(30));
        assert_eq!(ledger.well_since(35), Some(40));
        ledger.record(outcome(40, 9, Err(Failure::Eof)));
        assert_eq!(ledger.well_since(5), None);
    }

    #[test]
    fn a_blackout_that_clients_sat_out_is_unanswered_time_and_no_outage() {
        // One request every 10 ms; those started from 100 ms on are answered only at 400 ms, all at once.
        let mut ledger = Ledger::new().unwrap();
        for start in (0..50).rev().map(|n| n * 10_000) {
            let took = if (100_000..400_000).contains(&start) { 400_000 - start } else { 1000 };
            ledger.record(outcome(start, took, Ok(())));
        }
        let end = 500_000;
        assert_eq!(ledger.starts.longest_gap_touching(100_000, 450_000, end), 10_000);
        assert_eq!(ledger.arrivals.longest_gap_touching(100_000, 450_000, end), 309_000, "from 91 to 400 ms");
        assert_eq!(ledger.arrivals.longest_gap_touching(420_000, 450_000, end), 10_000);
        assert_eq!(ledger.slowest.highest_in(100_000, 450_000), Some(300_000));
        assert_eq!(ledger.slowest.highest_in(400_000, 450_000), Some(1000));
        assert_eq!(ledger.slowest.highest_in(500_000, 600_000), None);
    }
}
