//! What is written of one request. The request's account and its attempts share it; when the last of them is
//! done with it, it writes itself.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::time::Instant;

use super::super::asked::Asked;
use super::super::lock;
use super::super::state::upstream::Upstream;
use super::AccessLog;
use super::line::{Line, name};

/// The longest text taken over from a request, in bytes.
const MAX_TEXT: usize = 2_048;

/// One request.
#[derive(Debug)]
pub(crate) struct Trace {
    log: Arc<AccessLog>,
    begun: std::time::Instant,
    entry: Mutex<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// What was known from the beginning: `time`, `client` (whose request it is), `peer` (the other end of the connection: the
    /// client, or a proxy that was believed when it said so), `method`, `host`, `target`; and where it went.
    line: Line,
    is_routed: bool,
    /// None: it was not answered.
    status: Option<u16>,
    duration_us: u64,
    /// Of the answer's body, as the client had it.
    bytes: u64,
    attempts: Vec<Attempt>,
}

/// One attempt at an upstream, as it ended.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The upstream.
    pub(crate) upstream: Arc<Upstream>,
    /// When it began, in microseconds after the request.
    pub(crate) begun_us: u64,
    /// How long it took, in microseconds.
    pub(crate) took_us: u64,
    /// How far it came.
    pub(crate) phase: &'static str,
    /// What became of it: why it was left, where it was.
    pub(crate) outcome: &'static str,
    /// The status of its answer.
    pub(crate) status: Option<u16>,
    /// Until the head of the answer, in microseconds.
    pub(crate) head_us: Option<u64>,
    /// On a connection that was kept from before.
    pub(crate) reused: bool,
    /// The same request had been sent to another upstream before.
    pub(crate) replayed: bool,
    /// It was the upstream's trial after an ejection.
    pub(crate) trial: bool,
}

impl Attempt {
    fn write(&self, line: &mut Line) {
        line.text(name!("upstream"), self.upstream.id.as_str());
        line.number(name!("begun_us"), Some(self.begun_us));
        line.number(name!("took_us"), Some(self.took_us));
        line.text(name!("phase"), self.phase);
        line.text(name!("outcome"), self.outcome);
        line.number(name!("status"), self.status.map(u64::from));
        line.number(name!("head_us"), self.head_us);
        line.flag(name!("reused"), self.reused);
        line.flag(name!("replayed"), self.replayed);
        line.flag(name!("trial"), self.trial);
    }
}

impl Trace {
    /// Begins the line of the request `asked`, which has `arrived`, is of the first of `from` and came from the second.
    pub(crate) fn begin(
        log: Arc<AccessLog>,
        arrived: Instant,
        asked: Asked<'_>,
        from: (IpAddr, IpAddr),
    ) -> Arc<Self> {
        let method = asked.method().as_str().as_bytes();
        Self::new((log, arrived), from, method, asked.authority().unwrap_or_default(), asked.target())
    }

    fn new(
        (log, arrived): (Arc<AccessLog>, Instant),
        (client, peer): (IpAddr, IpAddr),
        method: &[u8],
        host: &[u8],
        target: &[u8],
    ) -> Arc<Self> {
        let mut line = Line::new();
        line.time(name!("time"), SystemTime::now());
        line.address(name!("client"), client);
        line.address(name!("peer"), peer);
        for (name, value) in [(name!("method"), method), (name!("host"), host), (name!("target"), target)] {
            line.bytes(name, &value[..value.len().min(MAX_TEXT)]);
        }
        let attempts = Vec::new();
        let entry = Entry { line, is_routed: false, status: None, duration_us: 0, bytes: 0, attempts };
        Arc::new(Trace { log, begun: arrived.into_std(), entry: Mutex::new(entry) })
    }

    /// Begins the line of a request from `peer` that is none, of which `head` is there: what can be made out of it.
    pub(crate) fn begin_faulty(log: Arc<AccessLog>, begun: Instant, head: &[u8], peer: IpAddr) -> Arc<Self> {
        let line =
            head.trim_ascii_start().split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let mut words = line.split(|&byte| byte == b' ');
        let mut word = || words.next().unwrap_or_default();
        let (method, target) = (word(), word());
        Self::new((log, begun), (peer, peer), method, b"", target)
    }

    /// Notes where it goes.
    pub(crate) fn routed(&self, route: &str, pool: &str) {
        lock(&self.entry).goes(route, pool);
    }

    /// Notes how it was answered, and that it ended at `now`.
    pub(crate) fn ended(&self, status: Option<u16>, bytes: u64, now: Instant) {
        let mut entry = lock(&self.entry);
        entry.status = status;
        entry.bytes = bytes;
        entry.duration_us = micros(now.into_std().saturating_duration_since(self.begun));
    }

    /// Adds an attempt that began at `begun`.
    pub(crate) fn attempted(&self, begun: std::time::Instant, mut attempt: Attempt) {
        attempt.begun_us = micros(begun.saturating_duration_since(self.begun));
        lock(&self.entry).attempts.push(attempt);
    }
}

impl Entry {
    fn goes(&mut self, route: &str, pool: &str) {
        if !std::mem::replace(&mut self.is_routed, true) {
            self.line.text(name!("route"), route);
            self.line.text(name!("pool"), pool);
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let mut entry = lock(&self.entry);
        entry.goes("", "");
        if entry.attempts.len() > 1 {
            entry.attempts.sort_by_key(|attempt| attempt.begun_us);
        }
        let Entry { line, status, duration_us, bytes, attempts, .. } = &mut *entry;
        line.number(name!("status"), status.map(u64::from));
        line.number(name!("duration_us"), Some(*duration_us));
        line.number(name!("bytes"), Some(*bytes));
        line.list(name!("attempts"), attempts, |line, attempt| attempt.write(line));
        self.log.append(line.end());
    }
}

pub(crate) fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
