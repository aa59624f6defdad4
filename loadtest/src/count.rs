//! The ledger: what became of every slot, kept small enough to be kept whole.
//!
//! Latency counts from the moment a request was *due*, so that the wait a stalled sender causes is in
//! it (coordinated omission). Outages count between the moments requests really *started*.

pub mod timeline;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::timeline::Timeline;

/// The most slots a run keeps account of; each costs 16 bytes. A longer run is refused at its
/// start; one that faults make longer goes on uncounted and is declared invalid.
pub const MAX_REQUESTS: usize = 20_000_000;

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
    /// The connection was refused.
    Refused,
    /// There was no way to the host.
    Unreachable,
    /// There was no connection within the timeout.
    ConnectTimeout,
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
    /// The answer ended before it was complete.
    ShortBody,
    /// The answer was not HTTP.
    Protocol,
    /// It was never sent: too many were in flight, or this machine could open no more connections.
    NotSent,
}

impl Failure {
    /// All of them.
    pub const ALL: [Failure; 14] = [
        Failure::Refused,
        Failure::Unreachable,
        Failure::ConnectTimeout,
        Failure::Reset,
        Failure::Eof,
        Failure::Timeout,
        Failure::Http4xx,
        Failure::Http502,
        Failure::Http503,
        Failure::Http504,
        Failure::Http5xx,
        Failure::ShortBody,
        Failure::Protocol,
        Failure::NotSent,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Refused => "refused",
            Failure::Unreachable => "unreachable",
            Failure::ConnectTimeout => "connect-timeout",
            Failure::Reset => "reset",
            Failure::Eof => "eof",
            Failure::Timeout => "timeout",
            Failure::Http4xx => "http-4xx",
            Failure::Http502 => "http-502",
            Failure::Http503 => "http-503",
            Failure::Http504 => "http-504",
            Failure::Http5xx => "http-5xx",
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

/// When a request that succeeded was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Success {
    /// When it was sent.
    pub started_us: u64,
    /// When its last byte had come.
    pub arrived_us: u64,
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
    /// The requests that succeeded, in the order in which they finished.
    pub successes: Vec<Success>,
    /// The requests that failed, in the order in which they did.
    pub failures: Vec<Failed>,
    /// Both along the run.
    pub timeline: Timeline,
    /// Slots beyond [`MAX_REQUESTS`], of which nothing is known.
    pub uncounted: u64,
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
            successes: Vec::new(),
            failures: Vec::new(),
            timeline: Timeline::default(),
            uncounted: 0,
        })
    }

    /// Takes one outcome.
    pub fn record(&mut self, outcome: Outcome) {
        if self.successes.len() + self.failures.len() >= MAX_REQUESTS {
            self.uncounted += 1;
            return;
        }
        self.timeline.record(&outcome);
        let Outcome { connection, due_us, started_us, finished_us, result } = outcome;
        let tally = match connection {
            Connection::Fresh => &mut self.fresh,
            Connection::Kept => &mut self.kept,
        };
        match result {
            Ok(()) => {
                tally.succeeded += 1;
                tally.latency.saturating_record(finished_us.saturating_sub(due_us));
                self.successes.push(Success { started_us, arrived_us: finished_us });
            }
            Err(failure) => {
                *tally.failed.entry(failure).or_default() += 1;
                self.failures.push(Failed { started_us, finished_us, failure });
            }
        }
        if result != Err(Failure::NotSent) {
            self.lateness.saturating_record(started_us.saturating_sub(due_us));
        }
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
