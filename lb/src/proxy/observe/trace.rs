//! What is known of one request. The request's account and its attempts share it; when the last of them is done with it,
//! it is told: as a line of the access log, and as spans.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Version, header};
use pingora_http::RequestHeader;
use tokio::time::Instant;

use super::super::access_log::{About, AccessLog, Ended, Entry};
use super::super::asked;
use super::super::one_thread::OneThread;
use super::super::state::upstream::Upstream;
use super::context::{Context, SpanId};
use super::otlp::{Asked, Finished};
use super::{Observers, mark};

/// One request.
#[derive(Debug)]
pub(crate) struct Trace {
    observers: Arc<Observers>,
    begun: std::time::Instant,
    context: Option<Context>,
    known: OneThread<Known>,
}

#[derive(Debug, Default)]
struct Known {
    entry: Option<Entry>,
    /// Where its spans are to be sent.
    asked: Option<Box<Asked>>,
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
    /// What it was told to be in the request's trace, where that is recorded.
    pub(crate) span: Option<SpanId>,
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
    /// Begins that of `request`, which is of the first of `from` and came from the second, over TLS or not.
    pub(super) fn begin(
        (observers, arrived): (Arc<Observers>, Instant),
        request: asked::Asked<'_>,
        from: (IpAddr, IpAddr),
        is_secure: bool,
        (id, context): (Option<&HeaderValue>, Option<Context>),
    ) -> Arc<Self> {
        // To look a field up costs more than to write it, and few formats have a place for these.
        let is_told = observers.exports() || observers.log().is_some_and(AccessLog::tells_agents);
        let field = |name| if is_told { request.field(name).unwrap_or_default() } else { Default::default() };
        let about = About {
            time: SystemTime::now(),
            client: from.0,
            peer: from.1,
            method: request.method().as_str().as_bytes(),
            host: request.authority().unwrap_or_default(),
            target: request.target(),
            version: match request.version() {
                Version::HTTP_10 => b"HTTP/1.0",
                Version::HTTP_2 => b"HTTP/2.0",
                _ => b"HTTP/1.1",
            },
            referer: field(&header::REFERER),
            agent: field(&header::USER_AGENT),
            id,
            context: context.as_ref(),
        };
        let is_exported = observers.exports() && context.is_some_and(|context| context.is_recorded);
        let asked = is_exported.then(|| Box::new(Asked::new(&about, request.path(), is_secure)));
        Self::of((observers, arrived), &about, asked, context)
    }

    fn of(
        (observers, begun): (Arc<Observers>, Instant),
        about: &About<'_>,
        asked: Option<Box<Asked>>,
        context: Option<Context>,
    ) -> Arc<Self> {
        let entry = observers.log().map(|log| Entry::begin(log, about));
        let known = OneThread::new(Known { entry, asked, ..Known::default() });
        Arc::new(Trace { observers, begun: begun.into_std(), context, known })
    }

    /// Begins that of a request from `peer` that is none, of which `head` is there: what can be made out of it.
    pub(super) fn begin_faulty(begun: (Arc<Observers>, Instant), head: &[u8], peer: IpAddr) -> Arc<Self> {
        let line =
            head.trim_ascii_start().split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let mut words = line.split(|&byte| byte == b' ');
        let mut word = || words.next().unwrap_or_default();
        let about = About {
            time: SystemTime::now(),
            client: peer,
            peer,
            method: word(),
            host: b"",
            target: word(),
            version: b"",
            referer: b"",
            agent: b"",
            id: None,
            context: None,
        };
        Self::of(begun, &about, None, None)
    }

    /// The trace it is part of, where there is one.
    pub(crate) fn context(&self) -> Option<&Context> {
        self.context.as_ref()
    }

    /// Has `request`, which is about to be sent, come from the attempt `span`.
    pub(crate) fn mark_try(&self, request: &mut RequestHeader, span: Option<SpanId>) {
        if let (Some(context), Some(span)) = (&self.context, span) {
            mark::retry(request, context, span);
        }
    }

    /// What a new attempt is told to be, where the trace is recorded.
    pub(crate) fn child(&self) -> Option<SpanId> {
        self.context.filter(|context| context.is_recorded).map(|_| SpanId::random())
    }

    /// Notes where it goes.
    pub(crate) fn routed(&self, route: &str, pool: &str) {
        self.known.look().goes(route, pool);
    }

    /// Notes how it was answered, and that it ended at `now`.
    pub(crate) fn ended(&self, status: Option<u16>, bytes: u64, now: Instant) {
        let mut known = self.known.look();
        known.status = status;
        known.bytes = bytes;
        known.duration_us = micros(now.into_std().saturating_duration_since(self.begun));
    }

    /// Adds an attempt that began at `begun`.
    pub(crate) fn attempted(&self, begun: std::time::Instant, mut attempt: Attempt) {
        attempt.begun_us = micros(begun.saturating_duration_since(self.begun));
        self.known.look().attempts.push(attempt);
    }
}

impl Known {
    fn goes(&mut self, route: &str, pool: &str) {
        if std::mem::replace(&mut self.is_routed, true) {
            return;
        }
        if let Some(entry) = &mut self.entry {
            entry.goes(route, pool);
        }
        if let Some(asked) = &mut self.asked {
            asked.goes(route, pool);
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let mut known = std::mem::take(self.known.get_mut());
        known.goes("", "");
        if known.attempts.len() > 1 {
            known.attempts.sort_by_key(|attempt| attempt.begun_us);
        }
        let Known { entry, asked, status, duration_us, bytes, attempts, .. } = known;
        if let (Some(entry), Some(log)) = (entry, self.observers.log()) {
            entry.end(log, &Ended { status, duration_us, bytes, attempts: &attempts });
        }
        if let (Some(asked), Some(context)) = (asked, self.context) {
            self.observers.export(Finished { context, asked, status, duration_us, bytes, attempts });
        }
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
