//! A client that has ended its side of the connection: it may wait for its answer, or be gone (RFC 9112, section 9.6).
//!
//! Only what it is sent tells: one that is gone answers with a reset. Nothing wakes us then, as the end of input was
//! reported before, so it is looked now and then.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// How often it is looked whether it is still there.
const LOOK: Duration = Duration::from_secs(1);

/// One such client.
#[derive(Debug)]
pub(super) struct HalfClosed {
    /// All that was written when it was looked last.
    written: u64,
    /// When some was, or when it ended its side.
    since: Instant,
    look: Pin<Box<Sleep>>,
}

impl HalfClosed {
    pub(super) fn begin(written: u64) -> Self {
        HalfClosed { written, since: Instant::now(), look: Box::pin(sleep(Duration::ZERO)) }
    }

    /// Resolves when it is gone, or was sent nothing for `patience`; `written` is all that was written.
    pub(super) fn poll_gone(
        &mut self,
        context: &mut Context<'_>,
        tcp: &TcpStream,
        written: u64,
        patience: Duration,
    ) -> Poll<()> {
        loop {
            if self.written != written {
                (self.written, self.since) = (written, Instant::now());
            }
            let left = patience.saturating_sub(self.since.elapsed());
            if left.is_zero() || tcp.peer_addr().is_err() {
                return Poll::Ready(());
            }
            ready!(self.look.as_mut().poll(context));
            self.look.as_mut().reset(Instant::now() + left.min(LOOK));
        }
    }
}
