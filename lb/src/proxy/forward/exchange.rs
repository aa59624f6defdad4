//! One try of a request: from the connection to an answer that can be passed on.
//!
//! ```text
//!   kept connection ────────────▶ ask ──▶ head ──▶ small body: all of it ──▶ answered
//!         none ──▶ connect ───────┘ │       │             │ broke off, nothing has reached the client
//!                     │ no          │ no    └─ interim ─▶ the same again
//!                     ▼             ▼                     ▼
//!                   failed: connect · stale (a kept connection) · broken
//! ```
//!
//! A try owns all it needs, so that it can go on when its request has been answered by another: what it
//! brings is then thrown away, but its upstream is not taken for one that has nothing to do.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Method;
use pingora_core::protocols::http::v1::client::http_req_header_to_wire;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use smallvec::SmallVec;
use tokio::time::{timeout, timeout_at};

use super::super::asked::Asked;
use super::super::downstream::request::fields;
use super::super::health::{self, Failure};
use super::super::metrics::Retry;
use super::super::observe::mark::AsksAs;
use super::super::observe::{SpanId, Trace};
use super::super::route::without_port;
use super::super::state::pool::Pool;
use super::super::state::upstream::{Reuse, Upstream};
use super::super::upstream_tls;
use super::super::upstream_tls::failure::TlsFailure;
use super::announce;
use super::connect::{ConnectFailure, Connection, Purpose};
use super::http1::answer::{Head, Kind};
use super::http1::{ReadError, Session};
use super::sound::MAX_INTERIM;
use super::upload::Upload;

/// On a connection that takes no more, what is to be read has come, or is about to.
const REASON_WAIT: Duration = Duration::from_millis(100);

/// An answer's body up to so many bytes is complete before the client gets the first of them …
pub(crate) const HELD_BODY: usize = 256 << 10;

/// … unless it takes longer than this, …
const HELD_FOR: Duration = Duration::from_secs(1);

/// … or this where its length is not known: it may be a stream, whose parts are waited for.
const HELD_FOR_UNKNOWN: Duration = Duration::from_millis(50);

/// A body of so many bytes is put behind its head; a longer one stays where it is.
pub(crate) const COPIED_BODY: usize = 2 << 10;

/// What is sent: the same in each try.
#[derive(Debug)]
pub(crate) struct Message {
    /// The head, and a body that is short, as they are written.
    wire: Vec<u8>,
    /// Any other body that is at hand.
    body: Bytes,
    /// One that is not.
    pub(super) upload: Option<Arc<Upload>>,
    /// It asks for the head of an answer alone.
    asks_for_head: bool,
    /// Who sent it.
    client: IpAddr,
    worker: usize,
    /// Where its head says who asks, in a trace that is recorded.
    asks_as: Option<AsksAs>,
}

impl Message {
    /// A request of `client` with this head and all of its body, forwarded by `worker`.
    ///
    /// # Errors
    ///
    /// When the head cannot be written, which that of a parsed request always can.
    pub(crate) fn new(head: &RequestHeader, body: Bytes, client: IpAddr, worker: usize) -> Result<Self> {
        let wire =
            http_req_header_to_wire(head).ok_or_else(|| Error::new_in(ErrorType::InvalidHTTPHeader))?;
        Ok(Self::written(wire.into(), body, head.into(), client, worker))
    }

    /// The same, of a request whose head is written already.
    pub(crate) fn written(
        mut wire: Vec<u8>,
        mut body: Bytes,
        asked: Asked<'_>,
        client: IpAddr,
        worker: usize,
    ) -> Self {
        if body.len() <= COPIED_BODY {
            wire.extend_from_slice(&body);
            body = Bytes::new();
        }
        let asks_for_head = asked.method() == Method::HEAD;
        Message { wire, body, upload: None, asks_for_head, client, worker, asks_as: None }
    }

    /// Has it end with a body that is passed on while it comes.
    pub(crate) fn uploading(self, upload: Option<Arc<Upload>>) -> Self {
        Message { upload, ..self }
    }

    /// Has each try say which one it is, where the request is part of a trace that is recorded.
    pub(crate) fn traced(mut self, trace: Option<&Trace>) -> Self {
        self.asks_as = trace.and_then(|trace| AsksAs::find(&self.wire, trace));
        self
    }

    /// What the try `span` sends.
    pub(crate) fn of_try(self: &Arc<Self>, span: Option<SpanId>) -> Arc<Self> {
        let (Some(asks_as), Some(span)) = (self.asks_as, span) else { return self.clone() };
        let (mut wire, body) = (self.wire.clone(), self.body.clone());
        asks_as.say(&mut wire, span);
        let Message { asks_for_head, client, worker, .. } = **self;
        let upload = self.upload.clone();
        Arc::new(Message { wire, body, upload, asks_for_head, client, worker, asks_as: None })
    }

    /// The host that it asks for, without port; empty where it names none. Looked for when somebody wants to know.
    fn host(&self) -> &str {
        let lines = self.wire.splitn(2, |&byte| byte == b'\n').nth(1).unwrap_or_default();
        let named = fields(lines).find(|(name, _)| name.eq_ignore_ascii_case(b"host"));
        let host = named.and_then(|(_, value)| std::str::from_utf8(value).ok());
        without_port(host.filter(|host| host.is_ascii()).unwrap_or_default())
    }
}

/// An answer of which nothing has been passed on.
pub(crate) struct Answer {
    pub(crate) upstream: Session,
    pub(crate) status: u16,
    /// When its head came.
    pub(crate) head_at: Instant,
    /// What has been read of its body.
    pub(crate) held: SmallVec<[Bytes; 1]>,
    /// How long the first byte took once the request was sent.
    pub(crate) first_byte: Duration,
}

/// What came of a try.
pub(crate) enum Outcome {
    Answered(Box<Answer>),
    /// An interim answer; what follows comes of [`Exchange::go_on`].
    Interim(Box<Exchange>, Box<ResponseHeader>),
    /// Nothing; another upstream may be tried.
    Failed(Retry),
    /// Nothing, as the client has not sent what it announced.
    NotSent,
}

/// Whether any of the request can have reached the upstream; none: it goes over a kept connection.
#[derive(Clone, Debug)]
pub(crate) struct Sent(Option<Arc<AtomicBool>>);

impl Sent {
    pub(crate) fn is(&self) -> bool {
        self.0.as_ref().is_none_or(|sent| sent.load(Ordering::Relaxed))
    }

    /// Whether it goes over a kept connection.
    pub(crate) fn reuses(&self) -> bool {
        self.0.is_none()
    }
}

/// A request that was sent and not answered yet.
pub(crate) struct Exchange {
    pool: Arc<Pool>,
    upstream: Arc<Upstream>,
    session: Session,
    reused: bool,
    sent_at: Option<Instant>,
    /// Interim answers so far.
    interim: u32,
}

/// Begins a try at `upstream` at `now`, on a kept connection where there is one that `reuse` allows.
pub(crate) fn begin(
    pool: Arc<Pool>,
    upstream: Arc<Upstream>,
    message: Arc<Message>,
    reuse: Reuse,
    now: Instant,
) -> (Sent, BoxFuture<'static, Outcome>) {
    let name = if pool.policy.tls.is_some() { upstream.name_for(message.host()) } else { None };
    let version = pool.policy.proxy_protocol;
    let ahead = version.map(|version| announce::header(version, Some(message.client), upstream.address));
    let reuse = if ahead.is_some() { Reuse::None } else { reuse };
    let kept = upstream.take_idle(message.worker, name.as_deref(), reuse, now);
    let sent = Sent(kept.is_none().then(Arc::default));
    let begun = sent.0.clone();
    // Boxed here: to hand it on first would copy it.
    let exchange = Box::pin(async move {
        let reused = kept.is_some();
        let connection = match kept {
            Some(connection) => connection,
            None => {
                let limit = Duration::from_millis(pool.policy.connect_timeout_ms);
                let purpose = Purpose { name, ahead };
                // Boxed: few requests open a connection, and none should carry the space for it.
                match Box::pin(Connection::open(&upstream, limit, message.worker, purpose)).await {
                    Ok(connection) => {
                        health::connected(&upstream);
                        connection
                    }
                    Err(failure) => {
                        health::failed(&pool, &upstream, Failure::Connect(failure));
                        return Outcome::Failed(Retry::Connect);
                    }
                }
            }
        };
        if let Some(begun) = begun {
            begun.store(true, Ordering::Relaxed);
        }
        let session = Session::new(connection, message.asks_for_head);
        let exchange = Exchange { pool, upstream, session, reused, sent_at: None, interim: 0 };
        exchange.send(&message).await
    });
    (sent, exchange)
}

impl Exchange {
    async fn send(mut self, message: &Message) -> Outcome {
        if let Some(upload) = &message.upload {
            self.session.begin_to_send(&message.wire, upload.clone());
            return self.go_on().await;
        }
        if self.session.send(&message.wire, &message.body).await.is_err() {
            return Box::pin(self.refused_or_broken()).await;
        }
        self.sent_at = Some(Instant::now());
        self.go_on().await
    }

    /// What it means that the request could not be written. A server that refuses the handshake of TLS 1.3 does so after we
    /// think that it is done, and may have closed the connection before all was written: its reason is there to be read.
    async fn refused_or_broken(mut self) -> Outcome {
        if !self.reused
            && let Ok(Err(error)) = timeout(REASON_WAIT, self.session.read_head()).await
            && let Some(failure) = unread_by(&error, &self.upstream)
        {
            health::failed(&self.pool, &self.upstream, Failure::Connect(failure));
            return Outcome::Failed(Retry::Connect);
        }
        self.broken()
    }

    /// Reads the next answer.
    pub(crate) async fn go_on(mut self) -> Outcome {
        let head = match self.session.read_head().await {
            Ok(head) => head,
            Err(ReadError::NotSent) => return Outcome::NotSent,
            Err(error) => {
                return match unread_by(&error, &self.upstream) {
                    Some(failure) if !self.reused && self.interim == 0 => {
                        health::failed(&self.pool, &self.upstream, Failure::Connect(failure));
                        Outcome::Failed(Retry::Connect)
                    }
                    _ => {
                        // Whoever answers, if wrongly, had not closed the connection before.
                        self.reused &= !matches!(error, ReadError::Unsound(_));
                        self.broken()
                    }
                };
            }
        };
        let status = head.status;
        // We sent no `Upgrade`, so there is nothing to switch to.
        if status == http::StatusCode::SWITCHING_PROTOCOLS {
            return self.broken();
        }
        if status.is_informational() {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                self.reused = false;
                return self.broken();
            }
            let head = self.session.take_head().and_then(|head| head.to_header(true).ok());
            let Some(head) = head else { return self.broken() };
            return Outcome::Interim(Box::new(self), head);
        }
        let head_at = self.session.heard();
        let first_byte = self.sent_at.map_or(Duration::ZERO, |at| head_at.saturating_duration_since(at));
        let mut held = SmallVec::new();
        if !self.session.is_body_done() {
            match self.hold(&mut held).await {
                Ok(()) => {}
                Err(ReadError::NotSent) => return Outcome::NotSent,
                Err(_) => {
                    self.reused = false;
                    return self.broken();
                }
            }
        }
        health::answered(&self.upstream);
        let answer = Answer { upstream: self.session, status: status.as_u16(), head_at, held, first_byte };
        Outcome::Answered(Box::new(answer))
    }

    /// Reads a small body to its end, and of others what is there.
    async fn hold(&mut self, held: &mut SmallVec<[Bytes; 1]>) -> Result<(), ReadError> {
        let Some(limit) = self.session.head().and_then(held_for) else { return Ok(()) };
        let mut size = 0;
        // Most often all of it came with the head, and nothing has to be timed.
        while let Some(chunk) = self.session.body_at_hand()? {
            size += chunk.len();
            held.push(chunk);
        }
        if self.session.is_body_done() {
            return Ok(());
        }
        let end = tokio::time::Instant::now() + limit;
        while !self.session.is_body_done() && size < HELD_BODY {
            // Boxed, as it is not often waited for.
            let Ok(chunk) = Box::pin(timeout_at(end, self.session.read_body())).await else { return Ok(()) };
            let Some(chunk) = chunk? else { return Ok(()) };
            size += chunk.len();
            held.push(chunk);
        }
        Ok(())
    }

    fn broken(self) -> Outcome {
        if self.reused {
            self.upstream.ended_soon();
            return Outcome::Failed(Retry::Stale);
        }
        health::failed(&self.pool, &self.upstream, Failure::Broken);
        Outcome::Failed(Retry::Broken)
    }
}

/// Why `upstream` has not read what it was sent, if `error`, which came in place of an answer, tells so.
pub(crate) fn unread(error: &Error, upstream: &Upstream) -> Option<ConnectFailure> {
    refused(error.root_cause().downcast_ref::<io::Error>()?, upstream)
}

fn unread_by(error: &ReadError, upstream: &Upstream) -> Option<ConnectFailure> {
    match error {
        ReadError::Io(error) => refused(error, upstream),
        ReadError::Closed | ReadError::Unsound(_) | ReadError::NotSent => None,
    }
}

fn refused(error: &io::Error, upstream: &Upstream) -> Option<ConnectFailure> {
    let failure = TlsFailure::after_the_handshake(error)?;
    Some(ConnectFailure::Tls(upstream_tls::stats::failed(failure, upstream.address, Some(error))))
}

/// How long the body after `head` may be waited for; none if it is large or is to be passed on as it comes.
fn held_for(head: &Head) -> Option<Duration> {
    if let Some(length) = head.length {
        return (length <= HELD_BODY as u64).then_some(HELD_FOR);
    }
    let is_stream = head.values(Kind::Type).any(|kind| {
        let kind = kind.trim_ascii_start();
        let begins =
            |with: &str| kind.get(..with.len()).is_some_and(|is| is.eq_ignore_ascii_case(with.as_bytes()));
        begins("text/event-stream") || begins("application/grpc")
    });
    (!is_stream).then_some(HELD_FOR_UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::super::http1;
    use super::*;

    #[test]
    fn the_host_that_is_asked_for_is_found_where_somebody_wants_to_know() {
        for (fields, expected) in [
            (&[("Accept", "host: no"), ("Host", "a.example:81")][..], "a.example"),
            (&[("HOST", "[2001:db8::7]")], "[2001:db8::7]"),
            (&[("Accept", "*/*")], ""),
        ] {
            let mut head = RequestHeader::build("POST", b"/", None).expect("a request");
            for (name, value) in fields {
                head.append_header(*name, *value).expect("a field");
            }
            let message = Message::new(&head, "host: no\r\n".into(), [192, 0, 2, 7].into(), 0);
            assert_eq!(message.expect("written").host(), expected);
        }
    }

    #[test]
    fn small_bodies_are_held_and_streams_are_not() {
        for (name, value, expected) in [
            ("content-length", "262144", Some(HELD_FOR)),
            ("content-length", "262145", None),
            ("content-length", "262145, 262145", None),
            ("content-type", "text/html", Some(HELD_FOR_UNKNOWN)),
            ("content-type", "Text/Event-Stream; charset=utf-8", None),
            ("content-type", "application/grpc+proto", None),
        ] {
            let head = http1::head_of(&format!("HTTP/1.1 200 OK\r\n{name}: {value}\r\n\r\n"));
            let head = head.expect("a head");
            assert_eq!(held_for(&head), expected, "{name}: {value}");
        }
    }
}
