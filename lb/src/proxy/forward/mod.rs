//! Sends a request to an upstream, and to the next one where that is safe.
//!
//! ```text
//!                       ┌─ all of it is at hand: driven from here ───────────────────────────────┐
//!   request ─▶ route ───┤   tries ─▶ race ─▶ exchange ─▶ (connect │ reuse) ─▶ answer ─▶ respond    │
//!                       │     ▲        ▲ │      │ no connection, broke off                        │
//!                       │     │        │ ├──────┼── watch: distrusted, late, silent: another joins │
//!                       │     │        └────────┘                                                │
//!                       │     │          └──────── lost: may not be repeated, will not be answered │
//!                       │     └── nobody left: hold                                              │
//!                       └─ the rest (large bodies, streams, upgrades): Pingora's own path (`app`) ─┘
//! ```
//!
//! What may not be repeated is sent once and only once, over a connection of its own or one that is as good
//! (`PoolPolicy::reuse_unrepeatable`, [`super::state::kept`]): as long as there is none, another upstream may be tried;
//! afterwards there are the answer, and `lost`.
//!
//! Both ways share `tries` (who is next, and when it is enough), `queue`, `hold` and `lost`.

pub(crate) mod announce;
mod as_sent;
pub(crate) mod connect;
pub(crate) mod dial;
pub(crate) mod exchange;
pub(crate) mod h2c;
pub(crate) mod hold;
pub(crate) mod http1;
pub(crate) mod lost;
pub(crate) mod race;
mod racer;
mod relay;
pub(crate) mod respond;
pub(crate) mod sound;
pub(crate) mod tries;
pub(crate) mod upload;
pub(crate) mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use tokio::time::Instant;
use wire::proxy_config::Protocol;

use self::exchange::{COPIED_BODY, Message};
use self::hold::Held;
use self::race::{Call, Ended};
use self::respond::Ending;
use self::tries::Tries;
use self::upload::Upload;
use super::app::App;
use super::asked::Asked;
use super::client::Client;
use super::downstream::Downstream;
use super::error_page::Refusal;
use super::grpc;
use super::headers;
use super::queue;
use super::route::Route;
use super::state::learned::Cell;

/// The largest request body that is kept to be sent again, as on Pingora's own path.
pub(crate) const KEPT_BODY: u64 = 64 << 10;

/// Says that whoever executes the request twice does no harm (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether the request `asked` may be executed more than once: its method is idempotent (RFC 9110, section 9.2.2), its
/// client gave it a key, or its route says so.
pub(crate) fn is_repeatable(asked: Asked<'_>, route: &Route) -> bool {
    asked.method().is_idempotent() || route.repeatable || asked.field(&IDEMPOTENCY_KEY).is_some()
}

/// The length of the body to keep, where the request can be driven from here: all of it will be at hand, no
/// protocol is switched, and its upstreams speak HTTP/1. A body that says no length is kept if it is at most `most` bytes.
pub(crate) async fn kept_body(
    downstream: &mut Downstream<'_>,
    client: &Client,
    route: &Route,
    length: Option<u64>,
    most: u64,
) -> Option<u64> {
    let empty = downstream.is_body_empty();
    if route.pool.policy.protocol != Protocol::Http1 || downstream.streams() {
        return None;
    }
    match length {
        _ if empty => Some(0),
        Some(length) => (length <= KEPT_BODY).then_some(length),
        None => {
            // Of gRPC the first message may be a question that has to be answered before the second.
            let may_wait = !grpc::is_grpc(downstream.request());
            let length = Box::pin(client.gather(KEPT_BODY.min(most), may_wait)).await?;
            downstream.set_length(length).ok()?;
            Some(length)
        }
    }
}

/// Whether more than an answer is to pass before all of `request` has come: another protocol, or a word to go on.
pub(crate) fn streams(request: &RequestHeader) -> bool {
    is_upgrade(request)
        || request.headers.contains_key(header::EXPECT)
        || request.method == http::Method::CONNECT
}

/// Whether `request` asks for the one switch of protocols we pass on.
pub(crate) fn is_upgrade(request: &RequestHeader) -> bool {
    request
        .headers
        .get(http::header::UPGRADE)
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The body of a request that is driven from here.
pub(crate) enum Body {
    AtHand(Bytes),
    /// It is passed on while it comes.
    Upload(Arc<Upload>),
}

/// Answers a request that is at hand, or whose body is passed on while it comes.
///
/// # Errors
///
/// When its head cannot be forwarded, its body does not come, or the client cannot be written to.
pub(crate) async fn forward(
    downstream: &mut Downstream<'_>,
    client: &Client,
    app: &App,
    tries: &mut Tries,
    body: Body,
    learned: Cell<'_>,
    until: Instant,
) -> Result<()> {
    let App { state, alarms, worker, .. } = app;
    let (body, upload) = match body {
        Body::AtHand(body) => (body, None),
        Body::Upload(upload) => (Bytes::new(), Some(upload)),
    };
    if !body.is_empty() {
        // It took its time to come.
        tries.follow(state);
    }
    let message = message(downstream.asked(), client, tries, body, *worker)?.traced(tries.trace());
    let message = Arc::new(message.uploading(upload));
    let call = Call { state, alarms, message: &message, client, learned, until };
    let mut held_since = None;
    loop {
        if !tries.are_new() {
            tries.follow(state);
        }
        let until = call.until();
        let next = match queue::next(tries, state, until).await {
            Ok(next) => next,
            Err(refusal) if refusal == Refusal::Busy || !tries.is_hopeless() => {
                return refuse(refusal, downstream, client, tries).await;
            }
            // Boxed, as what is refused.
            Err(_) => match Box::pin(hold::hold(state, tries, client, &mut held_since, until)).await {
                Held::Again => continue,
                Held::InVain => {
                    return refuse(Refusal::NoUpstream, downstream, client, tries).await;
                }
                Held::ClientGone => {
                    downstream.close();
                    return Ok(());
                }
            },
        };
        match race::run(&call, downstream, tries, next).await {
            Ended::Answered(answer, in_flight) => {
                match respond::respond(downstream, client, answer, in_flight, tries).await? {
                    Ending::Complete => {}
                    Ending::ClientGone => downstream.close(),
                    Ending::BrokenOff => {
                        downstream.close();
                        client.abort().await;
                    }
                }
                return Ok(());
            }
            Ended::Failed => {}
            Ended::ClientGone => {
                downstream.close();
                return Ok(());
            }
            Ended::NotSent => {
                return Err(Error::explain(ErrorType::ReadError, "a body did not come").into_down());
            }
            Ended::OutOfTime => {
                return refuse(Refusal::TooSlow, downstream, client, tries).await;
            }
            Ended::Lost(refusal) => return refuse(refusal, downstream, client, tries).await,
        }
    }
}

/// Answers in the upstreams' place. Boxed: few requests are refused, and none should carry the space for it.
async fn refuse(
    refusal: Refusal,
    downstream: &mut Downstream<'_>,
    client: &Client,
    tries: &Tries,
) -> Result<()> {
    Box::pin(refusal.answer(downstream, client, tries.route().look())).await
}

/// What upstreams are sent.
fn message(asked: Asked<'_>, client: &Client, tries: &Tries, body: Bytes, worker: usize) -> Result<Message> {
    let (route, origin) = (tries.route(), client.origin());
    let sender = origin.sender();
    if !route.changes_requests()
        && let Some(wire) = as_sent::written(asked, &origin, route.forwarded(), body.len().min(COPIED_BODY))
    {
        return Ok(Message::written(wire, body, asked, sender.address, worker));
    }
    let sent = asked.header();
    let mut request = sent.clone();
    headers::forward_request(&mut request, &origin, route.forwarded())?;
    route.change_request(&mut request, sent, sender)?;
    Message::new(&request, body, sender.address, worker)
}
