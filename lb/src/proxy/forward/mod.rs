//! Sends a request to an upstream, and to the next one where that is safe.
//!
//! ```text
//!                       ┌─ may be repeated: driven from here ──────────────────────────────┐
//!   request ─▶ route ───┤   tries ─▶ attempt ─▶ (connect │ reuse) ─▶ head ─▶ respond        │
//!                       │     ▲         │ no connection, broke off, silent, too slow        │
//!                       │     └─────────┘ not a byte has reached the client yet             │
//!                       └─ anything else (bodies, upgrades): Pingora's own path (`app`) ┘
//! ```
//!
//! Both ways share `tries`: who is next, and when it is enough.

pub(crate) mod attempt;
pub(crate) mod connect;
pub(crate) mod respond;
pub(crate) mod tries;

use std::net::IpAddr;

use pingora_error::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use tokio::time::Instant;

use self::attempt::{Attempt, Call};
use self::respond::Ending;
use self::tries::Tries;
use super::client_stream::ClientStream;
use super::error_page::Refusal;
use super::headers;
use super::queue;
use super::state::learned::Cell;

/// Whether `request` may be sent more than once: its method is idempotent (RFC 9110, section 9.2.2), and
/// with no body and no switch of protocols all of it is at hand.
pub(crate) fn may_be_repeated(session: &mut Session) -> bool {
    session.req_header().method.is_idempotent()
        && session.is_body_empty()
        && !is_upgrade(session.req_header())
}

/// Whether `request` asks for the one switch of protocols we pass on.
pub(crate) fn is_upgrade(request: &RequestHeader) -> bool {
    request
        .headers
        .get(http::header::UPGRADE)
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Answers a request that may be repeated.
///
/// # Errors
///
/// When its head cannot be forwarded or the client cannot be written to.
pub(crate) async fn forward(
    session: &mut Session,
    client: &ClientStream,
    tries: &mut Tries,
    learned: Cell<'_>,
    worker: usize,
    until: Instant,
) -> Result<()> {
    let request = request_for_upstream(session, client.peer())?;
    let call = Call { request: &request, client, learned, worker, until };
    loop {
        let (choice, in_flight) = match queue::next(tries, until).await {
            Ok(next) => next,
            Err(refusal) => return refusal.answer(session).await,
        };
        match attempt::attempt(&call, session, tries, &choice, in_flight).await {
            Attempt::Answered(answer) => {
                match respond::respond(session, client, *answer, tries, worker).await? {
                    Ending::Complete => {}
                    Ending::ClientGone => session.set_keepalive(None),
                    Ending::BrokenOff => {
                        session.set_keepalive(None);
                        client.abort().await;
                    }
                }
                return Ok(());
            }
            Attempt::Failed(reason) => tries.failed(choice, reason),
            Attempt::ClientGone => {
                session.set_keepalive(None);
                return Ok(());
            }
            Attempt::OutOfTime => return Refusal::TooSlow.answer(session).await,
        }
    }
}

fn request_for_upstream(session: &Session, client: IpAddr) -> Result<RequestHeader> {
    let mut request = session.req_header().clone();
    headers::forward_request(&mut request, client)?;
    Ok(request)
}
