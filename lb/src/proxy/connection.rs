//! One client connection, from its first request to its end.
//!
//! ```text
//!        ┌──────────────────────────────────────────────┐
//!        ▼                                              │ answered, and both sides keep the connection
//!     parked ──bytes──▶ head arriving ──complete──▶ request (Pingora)
//!        │ idle too long      │ too slow: 408           │ no answer in time: 504
//!        │ or closed, or its  │ too large: 431          │ or the connection is not kept
//!        │ address moves      │                         │
//!        ▼                    ▼                         ▼
//!      closed             lingering: the answer may still be on its way ──▶ closed
//! ```

use std::future::Future as _;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::HttpServerApp as _;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::time::timeout;

use super::app::App;
use super::client_stream::{ClientStream, HeadRead};
use super::error_page::Refusal;
use super::hand_over::{OnVip, Vips};
use super::state::connections::Open;
use crate::settings::Limits;

/// How long a connection that we end may take to be ended by the client too.
const LINGER: Duration = Duration::from_secs(2);

/// How much of what a client still sends meanwhile is read away, in bytes.
const LINGER_BYTES: usize = 4 << 20;

/// What all connections of a worker share.
pub(crate) struct Server {
    pub(crate) proxy: Arc<HttpProxy<App>>,
    pub(crate) limits: Limits,
    pub(crate) stop: ShutdownWatch,
    pub(crate) vips: Arc<Vips>,
    pub(crate) worker: usize,
}

/// Serves `client` until one side ends the connection.
pub(crate) async fn serve(client: ClientStream, open: Open, server: Arc<Server>) {
    let idle = Duration::from_millis(server.limits.idle_timeout_ms);
    let on_vip = client.on_vip();
    loop {
        let begins = tokio::select! {
            biased;
            begins = timeout(idle, client.next_begins()) => begins == Ok(true),
            on_vip = end(on_vip.as_deref(), server.worker) => {
                if !client.has_sent() {
                    return close_idle(&client, on_vip).await;
                }
                client.next_begins().await
            }
        };
        if !begins {
            return;
        }
        let busy = open.begin_request();
        // Boxed: what a request needs must not count for idle connections.
        let after = Box::pin(request(&client, on_vip.as_deref(), &server)).await;
        drop(busy);
        match after {
            After::Keep => client.settle(),
            After::Linger => {
                if let Some(on_vip) = &on_vip {
                    on_vip.leave();
                }
                let _ = timeout(LINGER, client.linger(LINGER_BYTES, || {})).await;
                return;
            }
            After::Close => return,
        }
    }
}

/// Resolves when the connection is to be closed because its address moves.
async fn end(on_vip: Option<&OnVip>, worker: usize) -> &OnVip {
    let Some(on_vip) = on_vip else { return std::future::pending().await };
    on_vip.end(worker).await;
    on_vip
}

/// Resolves when the connection is to be reset because its address moves without it.
async fn cut(on_vip: Option<&OnVip>, worker: usize) {
    match on_vip {
        Some(on_vip) => on_vip.cut(worker).await,
        None => std::future::pending().await,
    }
}

/// Closes a connection without a request. One may come at the same moment, and its client has to send it
/// again (RFC 9112, section 9.5): that is counted.
async fn close_idle(client: &ClientStream, on_vip: &OnVip) {
    on_vip.count_idle_closed();
    on_vip.leave();
    let mut cut = false;
    let received = || {
        if !std::mem::replace(&mut cut, true) {
            on_vip.count_cut();
        }
    };
    let _ = timeout(LINGER, client.linger(LINGER_BYTES, received)).await;
}

/// What follows a request.
enum After {
    /// The next request.
    Keep,
    /// The end, once the client has the answer.
    Linger,
    /// The end.
    Close,
}

/// Reads one request and has it answered.
async fn request(client: &ClientStream, on_vip: Option<&OnVip>, server: &Server) -> After {
    let limit = Duration::from_millis(server.limits.header_timeout_ms);
    match timeout(limit, client.read_head(server.limits.header_bytes)).await {
        Ok(HeadRead::Complete) => {}
        Ok(HeadRead::Closed) => return After::Close,
        Ok(HeadRead::TooLarge) => return refuse(client, Refusal::HeadTooLarge).await,
        Err(_elapsed) => return refuse(client, Refusal::HeadTooSlow).await,
    }
    let mut session = ServerSession::new_http1(Box::new(client.clone()));
    session.set_keepalive(Some(0));
    let answered = tokio::select! {
        biased;
        kept = server.proxy.process_new_http(session, &server.stop) => Some(kept.is_some()),
        () = overdue(client) => None,
        () = cut(on_vip, server.worker) => {
            client.reset();
            return After::Close;
        }
    };
    match answered {
        Some(true) => After::Keep,
        Some(false) => After::Linger,
        None => refuse(client, Refusal::TooSlow).await,
    }
}

async fn refuse(client: &ClientStream, refusal: Refusal) -> After {
    let _ = timeout(LINGER, client.send(&refusal.raw())).await;
    After::Linger
}

/// Resolves when the answer should have begun and has not. Pingora's own path has no such deadline
/// apart from that of each read; the request sets this one and clears it from the task that waits here.
async fn overdue(client: &ClientStream) {
    let mut timer = None;
    poll_fn(|context| {
        let Some(deadline) = client.deadline() else { return std::task::Poll::Pending };
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context)
    })
    .await;
}
