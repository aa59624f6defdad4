//! How a client connection ends after its last answer, so that the client has all of it.
//!
//! We say that no more will be sent, and wait: closing with unread bytes would reset the connection and could take
//! the answer with it. On a virtual address that is about to move, the connection counts as long as the client has
//! not confirmed all; what it has not when the address moves will never come, so it is told by a reset.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::client_stream::ClientStream;
use super::hand_over::OnVip;

/// How long a connection that we end may take to be ended by the client too.
const LINGER: Duration = Duration::from_secs(2);

/// How much of what a client still sends meanwhile is read away, in bytes.
const LINGER_BYTES: usize = 4 << 20;

/// How soon it is first looked whether the client has confirmed all, …
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// … and how often when it takes its time.
const SLOW_LOOK: Duration = Duration::from_millis(80);

/// The end of a connection waits for so long for a client that confirms nothing.
const CLIENT_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether what is left of the answer ends with the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// When the address moves without it.
    Cut,
    /// By itself: it is a short one, and resetting could only take it away again.
    Confirmed,
}

/// Ends `client`, whose answer was handed to the kernel or is gathered still.
pub(super) async fn end(client: &ClientStream, on_vip: Option<&OnVip>, worker: usize, when: When) {
    if client.is_aborted() {
        return;
    }
    let Some(on_vip) = on_vip else {
        client.finish().await;
        let _ = timeout(LINGER, client.linger(LINGER_BYTES, || {})).await;
        return;
    };
    let ending = ending(client, on_vip);
    match when {
        When::Confirmed => ending.await,
        When::Cut => tokio::select! {
            biased;
            () = ending => {}
            () = on_vip.cut(worker) => {
                if client.unconfirmed() > 0 {
                    on_vip.count_cut();
                    client.reset();
                }
            }
        },
    }
}

async fn ending(client: &ClientStream, on_vip: &OnVip) {
    let mut lingering = pin!(async {
        client.finish().await;
        timeout(LINGER, client.linger(LINGER_BYTES, || {})).await
    });
    let (mut lingers, mut look) = (true, FIRST_LOOK);
    let (mut before, mut moved) = (u64::MAX, Instant::now());
    loop {
        tokio::select! {
            biased;
            _ = &mut lingering, if lingers => lingers = false,
            () = sleep(look) => look = (2 * look).min(SLOW_LOOK),
        }
        // What is gathered has to go first, or what the kernel has says nothing.
        let left = if client.has_gathered() { u64::MAX } else { client.unconfirmed() };
        if left == 0 {
            break;
        }
        if left == u64::MAX && !lingers {
            return;
        }
        if left < before {
            (before, moved) = (left, Instant::now());
        } else if moved.elapsed() >= CLIENT_WRITE_TIMEOUT {
            return;
        }
    }
    on_vip.leave();
    if lingers {
        let _ = lingering.await;
    }
}

/// Closes a connection without a request. One may come at the same moment, and its client has to send it
/// again (RFC 9112, section 9.5): that is counted.
pub(super) async fn close_idle(client: &ClientStream, on_vip: &OnVip) {
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
