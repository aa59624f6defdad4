//! One client connection, from its first request to its end.
//!
//! ```text
//!        ┌──────────────────────────────────────────────┐
//!        ▼                                              │ answered, and both sides keep the connection
//!     parked ──bytes──▶ head arriving ──complete──▶ request (past Pingora, or with it)
//!        │ idle too long      │ too slow: 408           │ no answer in time: 504
//!        │ or closed, or its  │ too large: 431, …: 4xx  │ or the connection is not kept
//!        │ address moves      │ its address moves: 503  │ its address moves: 503, or a reset in midst
//!        ▼                    ▼                         ▼
//!      closed             lingering: the answer may still be on its way ──▶ closed
//! ```

use std::future::Future as _;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt as _;
use pingora_core::apps::HttpServerApp as _;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use super::app::App;
use super::arrival::NO_TLS_HERE;
use super::client::{Client, Likeness};
use super::client_stream::{ClientStream, HeadRead};
use super::context::Account;
use super::downstream::Downstream;
use super::downstream::direct::Direct;
use super::ending::{When, close_idle, end};
use super::entrance::{Next, enter};
use super::error_page::Refusal;
use super::hand_over::{OnVip, Vips};
use super::http2;
use super::patience::Patience;
use super::state::State;
use super::state::connections::Open;
use super::strict::{Fault, HeadLimits};
use super::tls::failure::Failure;
use crate::settings::Limits;

/// How long a client may take to take a short answer of ours.
pub(super) const REFUSE: Duration = Duration::from_secs(2);

/// A client of HTTP/2 whose requests are cut has so long to take what it is told; its address moves soon after.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// After a handshake, the first request may take so long to come before the connection counts as one without.
const FIRST_REQUEST: Duration = Duration::from_millis(100);

/// What all connections of a worker share.
pub(crate) struct Server {
    pub(crate) proxy: Arc<HttpProxy<App>>,
    /// What it is made of, for requests that are answered past Pingora.
    pub(crate) app: App,
    pub(crate) state: Arc<State>,
    pub(crate) limits: Limits,
    /// What the limits say of how slow clients may be.
    pub(crate) patience: Arc<Patience>,
    pub(crate) stop: ShutdownWatch,
    pub(crate) vips: Arc<Vips>,
    pub(crate) worker: usize,
}

impl Server {
    /// Whether no more requests are to be taken than those that have come. As long as nobody has said anything, that is known
    /// without a lock.
    fn is_stopping(&self) -> bool {
        self.stop.has_changed().unwrap_or(true) && *self.stop.borrow()
    }

    /// What a refusal is like: as the request's `own` route says it, or as any other.
    pub(super) fn look(&self, own: Option<Likeness>) -> Likeness {
        own.unwrap_or_else(|| Likeness { look: self.state.snapshot().look.clone(), json: false, shown: None })
    }
}

/// Serves `client` until one side ends the connection.
pub(crate) async fn serve(client: ClientStream, open: Open, server: Arc<Server>) {
    let idle = Duration::from_millis(server.limits.idle_timeout_ms);
    let on_vip = client.on_vip();
    let young = Instant::now() + if client.is_secure() { FIRST_REQUEST } else { Duration::ZERO };
    let to_end = async || {
        let on_vip = to_end(on_vip.as_deref(), server.worker).await;
        // Boxed, like all below that few connections come to: a parked one has no space for it.
        Box::pin(sleep_until(young)).await;
        on_vip
    };
    client.allow(&server.patience);
    let mut is_first = true;
    let (mut timer, mut whom) = (pin!(sleep_until(Instant::now() + idle)), None);
    loop {
        let by = Instant::now() + idle;
        let begins = tokio::select! {
            biased;
            begins = client.next_begins() => begins,
            () = until(timer.as_mut(), &mut whom, by) => false,
            on_vip = to_end() => {
                if !client.has_sent() {
                    return Box::pin(close_idle(&client, on_vip)).await;
                }
                client.next_begins().await
            }
        };
        if !begins {
            client.part();
            return;
        }
        if client.begins_with_tls() {
            server.state.tls.stats.failed(Failure::TlsOnPlainPort, client.peer(), None);
            let _ = Box::pin(timeout(REFUSE, client.send(&NO_TLS_HERE))).await;
            return Box::pin(end(&client, on_vip.as_deref(), server.worker, When::Confirmed)).await;
        }
        if std::mem::take(&mut is_first) {
            let limit = Duration::from_millis(server.limits.header_timeout_ms);
            if timeout(limit, client.speaks_http2()).await == Ok(true) {
                // Boxed, as a request is.
                return Box::pin(serve_http2(client, open, server)).await;
            }
        }
        let busy = open.begin_request();
        // Boxed: what a request needs must not count for idle connections.
        let after = Box::pin(request(&client, on_vip.as_deref(), &server)).await;
        drop(busy);
        match after {
            After::Keep => client.settle(),
            After::Linger(when) => {
                return Box::pin(end(&client, on_vip.as_deref(), server.worker, when)).await;
            }
            After::Close => return,
        }
    }
}

/// Resolves at `by`. `timer` ends no later, and is set anew only when it has: most often a request comes before, and to set a
/// timer for each would cost more than to look once in a while. So does to tell it again `whom` it is to wake, who is the
/// same from request to request.
async fn until(mut timer: Pin<&mut Sleep>, whom: &mut Option<Waker>, by: Instant) {
    poll_fn(|context| {
        let knows_whom = whom.as_ref().is_some_and(|whom| whom.will_wake(context.waker()));
        if knows_whom && !timer.is_elapsed() {
            return Poll::Pending;
        }
        loop {
            // Without budget a timer is not asked, and is told nothing.
            let is_told = has_budget_remaining();
            if timer.as_mut().poll(context).is_pending() {
                *whom = is_told.then(|| context.waker().clone());
                return Poll::Pending;
            }
            if Instant::now() >= by {
                return Poll::Ready(());
            }
            timer.as_mut().reset(by);
        }
    })
    .await;
}

/// Serves a client that speaks HTTP/2.
async fn serve_http2(client: ClientStream, open: Open, server: Arc<Server>) {
    client.expect_stream();
    let (on_vip, worker) = (client.on_vip(), server.worker);
    let facts = Arc::new(http2::Facts { origin: client.origin(), on_vip: on_vip.clone(), open, server });
    http2::serve(client.clone(), &facts).await;
    if !on_vip.as_ref().is_some_and(|on_vip| on_vip.is_cut()) {
        return end(&client, on_vip.as_deref(), worker, When::Cut).await;
    }
    // What was cut was told so stream by stream, and the client had better hear it; but not when it takes nothing.
    let told = timeout(LAST_WORDS, end(&client, on_vip.as_deref(), worker, When::Confirmed)).await;
    if told.is_err() && client.unconfirmed() > 0 {
        client.reset();
    }
}

/// Resolves when the connection is to be closed because its address moves.
pub(super) async fn to_end(on_vip: Option<&OnVip>, worker: usize) -> &OnVip {
    let Some(on_vip) = on_vip else { return std::future::pending().await };
    on_vip.end(worker).await;
    on_vip
}

/// Resolves when the request is to be ended because its address moves without it.
pub(super) async fn cut(on_vip: Option<&OnVip>, worker: usize) -> &OnVip {
    let Some(on_vip) = on_vip else { return std::future::pending().await };
    on_vip.cut(worker).await;
    on_vip
}

/// What follows a request.
enum After {
    /// The next request.
    Keep,
    /// The end, once the client has the answer.
    Linger(When),
    /// The end.
    Close,
}

/// Reads one request and has it answered.
async fn request(client: &ClientStream, on_vip: Option<&OnVip>, server: &Server) -> After {
    let Limits { header_timeout_ms, header_bytes, target_bytes, field_bytes, header_fields, .. } =
        server.limits;
    let limit = Duration::from_millis(header_timeout_ms);
    let limits = HeadLimits { target: target_bytes, field: field_bytes, fields: header_fields };
    let mut reading = pin!(client.read_head(header_bytes, &limits));
    let (head, begun) = match reading.as_mut().now_or_never() {
        Some(head) => (Ok(head), None),
        // Boxed: most heads come in one piece.
        None => {
            let begun = Instant::now();
            let head = Box::pin(async {
                tokio::select! {
                    biased;
                    head = timeout_at(begun + limit, reading) => head.map_err(|_elapsed| Refusal::HeadTooSlow),
                    on_vip = cut(on_vip, server.worker) => {
                        on_vip.count_cut();
                        Err(Refusal::Moving)
                    }
                }
            })
            .await;
            (head, Some(begun))
        }
    };
    let refusal = match head {
        Ok(HeadRead::Complete) => None,
        Ok(HeadRead::Closed) => return After::Close,
        Ok(HeadRead::TooLarge) => Some(Refusal::HeadTooLarge),
        Ok(HeadRead::Faulty(fault)) => Some(Refusal::Faulty(fault)),
        Err(refusal) => Some(refusal),
    };
    if let Some(refusal) = refusal {
        let begun = begun.unwrap_or_else(Instant::now);
        return Box::pin(refuse_head(client, server, begun, refusal)).await;
    }
    let moving = |is_idempotent| if is_idempotent { Refusal::Moving } else { Refusal::MovingMidway };
    if let Some(direct) = Direct::of(client) {
        let moving = moving(direct.asks_idempotently());
        let after = tokio::select! {
            biased;
            after = answer(client, server, direct) => after,
            on_vip = cut(on_vip, server.worker) => {
                return Box::pin(tell_cut(client, on_vip, server, moving)).await;
            }
        };
        if let Some(after) = after {
            return after;
        }
    }
    let moving = moving(client.asks_idempotently());
    // Boxed: what Pingora needs must not be carried along by what is answered past it.
    Box::pin(through_pingora(client, on_vip, server, moving)).await
}

/// Has a request whose head was read answered by Pingora.
async fn through_pingora(
    client: &ClientStream,
    on_vip: Option<&OnVip>,
    server: &Server,
    moving: Refusal,
) -> After {
    let begun = Instant::now();
    let mut session = ServerSession::new_http1(Box::new(client.clone()));
    session.set_keepalive(Some(0));
    let answered = tokio::select! {
        biased;
        kept = server.proxy.process_new_http(session, &server.stop) => Some(kept.is_some()),
        () = overdue(|| client.deadline()) => None,
        on_vip = cut(on_vip, server.worker) => return tell_cut(client, on_vip, server, moving).await,
    };
    if !client.is_taken() && client.has_answered() {
        // Pingora has found something that we have not.
        count(client, server, begun, Refusal::Faulty(Fault::bad("it cannot be parsed")), 0);
    }
    match answered {
        Some(true) => After::Keep,
        Some(false) => After::Linger(When::Cut),
        None => refuse(client, server, Refusal::TooSlow).await,
    }
}

/// Answers a request past Pingora; none: its upstreams speak something else, and it goes Pingora's way.
async fn answer(client: &ClientStream, server: &Server, mut direct: Direct) -> Option<After> {
    let mut account = None;
    let asker = Client::Http1(client.clone());
    let length = Some(direct.length());
    if server.is_stopping() {
        // Its next request is for whoever comes after us.
        direct.close();
    }
    let mut downstream = Downstream::Direct(&mut direct);
    let mut entered = enter(&server.app, &mut downstream, &asker, length, &mut account).await;
    if entered.is_err()
        && !client.has_answered()
        && let Some(fault) = client.fault()
    {
        // Its body did not come as it said.
        let Likeness { look, .. } = server.look(client.look());
        let refusal = Refusal::Faulty(fault);
        let refused = Box::pin(refusal.answer(&mut downstream, &asker, &look)).await;
        entered = refused.map(|()| Next::Answered);
    }
    let after = match entered {
        Ok(Next::Elsewhere | Next::Streams(..)) => return None,
        Ok(Next::Answered) if direct.keeps() => After::Keep,
        Ok(Next::Answered) => After::Linger(When::Cut),
        Err(_) if client.has_answered() => After::Linger(When::Cut),
        Err(_) => After::Close,
    };
    if let Some(account) = &mut account {
        (account.answered, account.bytes) = direct.answered();
    }
    Some(after)
}

/// Counts a request that came no further than to its head, and writes it down; its answer's body has so many bytes.
fn count(client: &ClientStream, server: &Server, begun: Instant, refusal: Refusal, bytes: u64) {
    let observers = server.state.observers.as_ref();
    let trace =
        observers.map(|observers| observers.begin_faulty(begun, &client.head_so_far(), client.peer()));
    let mut account =
        Account::open(server.state.unrouted.clone(), begun, Client::Http1(client.clone())).traced(trace);
    account.answered = Some(refusal.status());
    account.bytes = bytes;
}

/// Refuses a request whose head is not complete or not right.
async fn refuse_head(client: &ClientStream, server: &Server, begun: Instant, refusal: Refusal) -> After {
    let (answer, bytes) = answer_of(refusal, client, server);
    count(client, server, begun, refusal, bytes);
    say(client, &answer).await
}

async fn refuse(client: &ClientStream, server: &Server, refusal: Refusal) -> After {
    say(client, &answer_of(refusal, client, server).0).await
}

/// What `refusal` looks like to this client, and how much of it is the body.
fn answer_of(refusal: Refusal, client: &ClientStream, server: &Server) -> (Vec<u8>, u64) {
    refusal.raw(client.sender(), &server.look(client.look()))
}

async fn say(client: &ClientStream, answer: &[u8]) -> After {
    let _ = timeout(REFUSE, client.send(answer)).await;
    After::Linger(When::Confirmed)
}

/// Tells a client, while the address is still here, that its request is cut: in words where nothing of an answer was
/// sent. Else the client must not take what it has for the whole.
async fn tell_cut(client: &ClientStream, on_vip: &OnVip, server: &Server, refusal: Refusal) -> After {
    on_vip.count_cut();
    if client.has_answered() {
        client.reset();
        return After::Close;
    }
    refuse(client, server, refusal).await
}

/// Resolves when the answer should have begun and has not. Pingora's own path has no such deadline
/// apart from that of each read; the request sets this one and clears it from the task that waits here.
pub(super) async fn overdue(deadline: impl Fn() -> Option<Instant>) {
    let mut timer = None;
    poll_fn(|context| {
        let Some(deadline) = deadline() else { return Poll::Pending };
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context)
    })
    .await;
}
