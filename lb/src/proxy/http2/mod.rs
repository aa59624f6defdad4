//! HTTP/2 from clients (RFC 9113): with prior knowledge over plain connections, and over whatever a caller has
//! negotiated it for.
//!
//! ```text
//!   connection (frames watched, h2) ──stream──▶ head ──▶ session, Pingora's or not ──▶ the way of any request
//!        │ each in a task of its own, at most STREAMS at a time                    │
//!        │                                                                         ▼
//!        │ no request for idle_timeout_ms · the balancer stops · its address       the answer, or a reset
//!        │ moves: GOAWAY; what came before it is answered
//!        ▼
//!      ended: by the client, when all is answered, or GOODBYE after the last answer
//! ```
//!
//! A stream that is not processed is refused (REFUSED_STREAM) or lies behind the last one that GOAWAY names, so that
//! its client may send it again whatever its method.

mod as_came;
mod frames;
mod head;
mod limits;
mod session;
mod stream;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use pingora_core::apps::HttpServerApp as _;
use pingora_core::protocols::http::ServerSession;
use pingora_http::RequestHeader;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) use self::frames::PREFACE;
use self::frames::{Alarm, Watched};
use self::head::Unusable;
pub(crate) use self::session::Session;
pub(crate) use self::stream::Stream;
use super::client::{Client, Likeness};
use super::connection::{REFUSE, Server, cut, overdue, to_end};
use super::downstream::Downstream;
use super::entrance::{Next, enter};
use super::error_page::Refusal;
use super::forward::streams;
use super::grpc;
use super::hand_over::OnVip;
use super::headers::Origin;
use super::route::sender::Sender;
use super::state::connections::Open;

/// What is known of a connection whoever speaks on it.
pub(crate) struct Facts {
    /// Whose requests come over it.
    pub(crate) origin: Origin,
    /// The virtual address it came to, if it is one.
    pub(crate) on_vip: Option<Arc<OnVip>>,
    /// It counts as open.
    pub(crate) open: Open,
    /// Whose connection it is.
    pub(crate) server: Arc<Server>,
}

/// Serves `io`, on which the client speaks HTTP/2 from the first byte, until there is nothing more to serve. Ending
/// the connection is the caller's.
pub(crate) async fn serve<T>(io: T, facts: &Arc<Facts>)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let settings = &facts.server.limits;
    let limit = Duration::from_millis(settings.header_timeout_ms);
    let watched = Watched::new(io, limit);
    let alarm = watched.alarm();
    let handshake = limits::builder(settings).handshake(watched);
    if let Ok(Ok(connection)) = timeout(limit, handshake).await {
        Serving::new(connection, facts.clone(), alarm).run().await;
    }
}

/// A connection that is served.
struct Serving<T> {
    connection: Connection<Watched<T>, Bytes>,
    facts: Arc<Facts>,
    alarm: Arc<Alarm>,
    /// It was raised and heard.
    alarmed: bool,
    streams: JoinSet<()>,
    /// Since when there is no request.
    idle_since: Instant,
    /// The client was told that the connection ends.
    ending: bool,
    malformed: u32,
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Serving<T> {
    fn new(connection: Connection<Watched<T>, Bytes>, facts: Arc<Facts>, alarm: Arc<Alarm>) -> Self {
        Serving {
            connection,
            facts,
            alarm,
            alarmed: false,
            streams: JoinSet::new(),
            idle_since: Instant::now(),
            ending: false,
            malformed: 0,
        }
    }

    async fn run(mut self) {
        let facts = self.facts.clone();
        let (on_vip, worker) = (facts.on_vip.as_deref(), facts.server.worker);
        let mut stop = facts.server.stop.clone();
        // Not anew for each request.
        let mut stopping = pin!(stop.wait_for(|stop| *stop));
        let idle = Duration::from_millis(facts.server.limits.idle_timeout_ms);
        loop {
            let is_idle = self.streams.is_empty();
            let until = self.idle_since + if self.ending { limits::GOODBYE } else { idle };
            tokio::select! {
                biased;
                reason = self.alarm.raised(), if !self.alarmed => {
                    self.alarmed = true;
                    self.connection.abrupt_shutdown(reason);
                    self.streams.abort_all();
                    self.begin_ending();
                }
                accepted = self.connection.accept() => match accepted {
                    Some(Ok((request, respond))) => self.begin(request, respond),
                    Some(Err(_)) | None => return,
                },
                _ = self.streams.join_next(), if !is_idle => self.idle_since = Instant::now(),
                _ = &mut stopping, if !self.ending => self.say_goodbye(),
                on_vip = to_end(on_vip, worker), if !self.ending => {
                    if is_idle {
                        on_vip.count_idle_closed();
                    }
                    self.say_goodbye();
                }
                () = sleep_until(until), if is_idle => {
                    if self.ending {
                        return;
                    }
                    self.say_goodbye();
                }
            }
        }
    }

    /// Tells the client that the connection ends; what it has asked until it hears of it is answered.
    fn say_goodbye(&mut self) {
        self.connection.graceful_shutdown();
        self.begin_ending();
    }

    fn begin_ending(&mut self) {
        self.ending = true;
        self.idle_since = Instant::now();
    }

    /// Takes a request.
    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        if let Some(on_vip) = &self.facts.on_vip {
            if on_vip.is_cut() {
                on_vip.count_cut();
                return respond.send_reset(Reason::REFUSED_STREAM);
            }
            if on_vip.is_closing() && !self.ending {
                self.say_goodbye();
            }
        }
        let (parts, body) = request.into_parts();
        match head::head(parts) {
            Ok(head) => {
                let stream = Stream::new(self.facts.clone(), body, respond);
                // Boxed: the runtime moves a task about before it is begun, and what is left of it at its end.
                self.streams.spawn(Box::pin(answer(head, stream, self.facts.clone())));
            }
            Err(unusable) => {
                match unusable {
                    Unusable::Malformed => respond.send_reset(Reason::PROTOCOL_ERROR),
                    Unusable::Status(status) => {
                        let mut response = Response::new(());
                        *response.status_mut() = status;
                        let _ = respond.send_response(response, true);
                    }
                }
                self.malformed += 1;
                if self.malformed >= limits::MALFORMED && !self.ending {
                    self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    self.begin_ending();
                }
            }
        }
    }
}

/// Has one request answered.
async fn answer(head: RequestHeader, stream: Stream, facts: Arc<Facts>) {
    let _busy = facts.open.begin_request();
    let server = &facts.server;
    let moving = if head.method.is_idempotent() { Refusal::Moving } else { Refusal::MovingMidway };
    let is_grpc = grpc::is_grpc(&head);
    let session = Session::new(head, stream.clone());
    let client = Client::Http2(stream.clone());
    let refusal = tokio::select! {
        biased;
        () = pass(session, &stream, &client, server) => None,
        // Whatever is under way for it ends with this.
        () = stream.gone() => None,
        () = overdue(|| client.deadline()) => Some(Refusal::TooSlow),
        on_vip = cut(facts.on_vip.as_deref(), server.worker) => {
            on_vip.count_cut();
            Some(moving)
        }
    };
    if let Some(refusal) = refusal
        && !stream.has_answered()
    {
        let _ = timeout(REFUSE, Box::pin(refuse(&stream, refusal, is_grpc, server))).await;
    }
    // What has not ended by now never will, and must not look as if it had.
    stream.abort();
}

/// Has a request passed on: by itself where all of it is there, else by Pingora.
async fn pass(mut session: Session, stream: &Stream, client: &Client, server: &Server) {
    if session.has_no_body() && !streams(session.head()) {
        session.allow(Duration::from_millis(server.limits.send_timeout_ms));
        let mut account = None;
        let mut downstream = Downstream::Http2(&mut session);
        let entered = enter(&server.app, &mut downstream, client, Some(0), &mut account).await;
        let is_answered = match entered {
            Ok(Next::Answered) => true,
            Ok(Next::Elsewhere | Next::Streams(..)) => false,
            Err(_) => {
                if session.answered().0.is_none() {
                    let Likeness { look, .. } = server.look(None);
                    let mut downstream = Downstream::Http2(&mut session);
                    let _ = Box::pin(Refusal::BadGateway.answer(&mut downstream, client, &look)).await;
                }
                true
            }
        };
        if let Some(account) = &mut account {
            (account.answered, account.bytes) = session.answered();
        }
        if is_answered {
            return;
        }
    }
    // Where `client_of` takes it from.
    session.head_mut().extensions_mut().insert(stream.clone());
    let session = ServerSession::new_custom(Box::new(session));
    // Boxed: few requests need as much.
    let _ = Box::pin(server.proxy.process_new_http(session, &server.stop)).await;
}

async fn refuse(stream: &Stream, refusal: Refusal, is_grpc: bool, server: &Server) -> Result<(), h2::Error> {
    let Likeness { look, json, shown } = server.look(stream.look());
    let answer = if is_grpc {
        grpc::refusal(refusal).map(|head| (head, Bytes::new()))
    } else {
        refusal.answer_to(None, Sender::of(&Client::Http2(stream.clone())), &look, json)
    };
    let Ok((mut head, body)) = answer else { return Ok(()) };
    if let Some(shown) = shown {
        shown.put(&mut head);
    }
    let head = Response::from_parts(head.as_owned_parts(), ());
    stream.write_head(head, body.is_empty())?;
    if body.is_empty() { Ok(()) } else { stream.write_data(body, true).await }
}
