//! Requests that wait because every upstream has its fill.
//!
//! ```text
//!   next ──an upstream has room──────────────────────────────▶ tried there
//!     │ none has                                        ▲
//!     ▼                                                 │ a request ended somewhere: the first in line
//!   in line, at most max_pending for each upstream ─────┘
//!     │ the line is full, or pending_timeout_ms is over
//!     ▼
//!   503
//! ```

use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::error_page::Refusal;
use super::forward::tries::{Choice, Tries};
use super::state::in_flight::InFlight;

/// The line of one pool.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: AtomicU32,
    room: Notify,
    /// The longest it ever was.
    longest: AtomicU32,
    /// Requests that were refused because of it.
    refused: AtomicU64,
}

impl Queue {
    /// Notes that an upstream may have room again.
    pub(crate) fn room(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.room.notify_one();
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn longest(&self) -> u32 {
        self.longest.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn enter(&self, limit: u64) -> Option<Waiting<'_>> {
        let enters = |waiting: u32| (u64::from(waiting) < limit).then_some(waiting + 1);
        let before = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enters).ok()?;
        self.longest.fetch_max(before + 1, Ordering::Relaxed);
        Some(Waiting(self))
    }
}

struct Waiting<'a>(&'a Queue);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        // The word that there is room may have come to one who has left since: the next one looks.
        self.0.room();
    }
}

/// Whom to try now; waits for room where all have their fill, at the latest until `until`.
///
/// # Errors
///
/// What to answer when there is nobody, or it is enough.
pub(crate) async fn next(tries: &mut Tries, until: Instant) -> Result<(Choice, InFlight), Refusal> {
    match tries.next() {
        Err(Refusal::Busy) => {}
        decided => return decided,
    }
    // Boxed: few requests wait, and none should carry the space for it.
    Box::pin(wait(tries, until)).await
}

async fn wait(tries: &mut Tries, until: Instant) -> Result<(Choice, InFlight), Refusal> {
    let pool = tries.pool().clone();
    let limits = &pool.policy.upstream_limits;
    let until = until.min(Instant::now() + Duration::from_millis(limits.pending_timeout_ms));
    let queue = &pool.lasting.queue;
    let limit = u64::from(limits.max_pending) * pool.eligible().len() as u64;
    let entered = queue.enter(limit);
    let decided = loop {
        if entered.is_none() {
            break Err(Refusal::Busy);
        }
        let mut room = pin!(queue.room.notified());
        // Before we look: from here on no word of room is missed.
        room.as_mut().enable();
        match tries.next() {
            Err(Refusal::Busy) => {}
            decided => break decided,
        }
        if timeout_at(until, room).await.is_err() {
            break Err(Refusal::Busy);
        }
    };
    if decided.as_ref().is_err_and(|refusal| *refusal == Refusal::Busy) {
        queue.refused.fetch_add(1, Ordering::Relaxed);
    }
    decided
}
