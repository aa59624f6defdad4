//! What is written of one request. The request's account and its attempts share it; when the last of them is
//! done with it, it writes itself.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use http::header;
use pingora_http::RequestHeader;
use serde::Serialize;

use super::super::lock;
use super::AccessLog;

/// The longest text taken over from a request, in bytes.
const MAX_TEXT: usize = 2_048;

/// One request.
#[derive(Debug)]
pub(crate) struct Trace {
    log: Arc<AccessLog>,
    arrived: SystemTime,
    begun: Instant,
    entry: Mutex<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    time: String,
    /// Whose request it is.
    client: IpAddr,
    /// The other end of the connection: the client, or a proxy that was believed when it said so.
    peer: IpAddr,
    method: String,
    host: String,
    target: String,
    route: String,
    pool: String,
    /// None: it was not answered.
    status: Option<u16>,
    duration_us: u64,
    /// Of the answer's body, as the client had it.
    bytes: u64,
    attempts: Vec<Attempt>,
}

/// One attempt at an upstream, as it ended.
#[derive(Debug, Serialize)]
pub(crate) struct Attempt {
    /// The upstream.
    pub(crate) upstream: String,
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

impl Trace {
    /// Begins the line of `request`, which is of the first of `from` and came from the second.
    pub(crate) fn begin(log: Arc<AccessLog>, request: &RequestHeader, from: (IpAddr, IpAddr)) -> Arc<Self> {
        let host = request.headers.get(header::HOST).map(|host| text(host.as_bytes())).unwrap_or_default();
        Self::new(log, from, text(request.method.as_str().as_bytes()), host, text(request.raw_path()))
    }

    fn new(
        log: Arc<AccessLog>,
        (client, peer): (IpAddr, IpAddr),
        method: String,
        host: String,
        target: String,
    ) -> Arc<Self> {
        let entry = Entry {
            time: String::new(),
            client,
            peer,
            method,
            host,
            target,
            route: String::new(),
            pool: String::new(),
            status: None,
            duration_us: 0,
            bytes: 0,
            attempts: Vec::new(),
        };
        Arc::new(Trace { log, arrived: SystemTime::now(), begun: Instant::now(), entry: Mutex::new(entry) })
    }

    /// Begins the line of a request from `peer` that is none, of which `head` is there: what can be made out of it.
    pub(crate) fn begin_faulty(log: Arc<AccessLog>, head: &[u8], peer: IpAddr) -> Arc<Self> {
        let line =
            head.trim_ascii_start().split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let mut words = line.split(|&byte| byte == b' ');
        let mut word = || text(words.next().unwrap_or_default());
        let (method, target) = (word(), word());
        Self::new(log, (peer, peer), method, String::new(), target)
    }

    /// Notes where it goes.
    pub(crate) fn routed(&self, route: &str, pool: &str) {
        let mut entry = lock(&self.entry);
        entry.route = route.to_owned();
        entry.pool = pool.to_owned();
    }

    /// Notes how it was answered.
    pub(crate) fn ended(&self, status: Option<u16>, bytes: u64) {
        let mut entry = lock(&self.entry);
        entry.status = status;
        entry.bytes = bytes;
        entry.duration_us = micros(self.begun.elapsed());
    }

    /// Adds an attempt that began at `begun`.
    pub(crate) fn attempted(&self, begun: Instant, mut attempt: Attempt) {
        attempt.begun_us = micros(begun.saturating_duration_since(self.begun));
        lock(&self.entry).attempts.push(attempt);
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let mut entry = lock(&self.entry);
        entry.time = humantime::format_rfc3339_micros(self.arrived).to_string();
        entry.attempts.sort_by_key(|attempt| attempt.begun_us);
        // Strings and numbers can always be written as JSON.
        if let Ok(mut line) = serde_json::to_vec(&*entry) {
            line.push(b'\n');
            self.log.append(&line);
        }
    }
}

pub(crate) fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT)]).into_owned()
}
