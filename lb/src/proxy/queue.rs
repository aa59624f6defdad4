//! Requests that wait because every upstream has its fill.
//!
//! ```text
//!   next ──an upstream has room──────────────────────────────▶ tried there
//!     │ none has                                        ▲
//!     ▼                                                 │ a request ended somewhere: the first in line
//!     │                                                 │ a new set: all who wait
//!   in line, at most max_pending for each upstream ─────┘
//!     │ the line is full, or pending_timeout_ms is over
//!     ▼
//!   503
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::error_page::Refusal;
use super::forward::tries::{Choice, Tries};
use super::state::State;
use super::state::in_flight::InFlight;
use super::state::pool::Pool;

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

    /// Notes that there are other upstreams now.
    pub(crate) fn changed(&self) {
        self.room.notify_waiters();
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

    /// Waits in line, if no more than `limit` do, until `next` says something, at the latest until `until`; none: it was
    /// in vain, and is counted as refused.
    pub(crate) async fn in_line<T>(
        &self,
        limit: u64,
        until: Instant,
        mut next: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let entered = self.enter(limit);
        let waiting = async {
            loop {
                let mut room = pin!(self.room.notified());
                // Before we look: from here on no word of room is missed.
                room.as_mut().enable();
                if let Some(next) = next() {
                    return next;
                }
                room.await;
            }
        };
        let found = match entered {
            Some(_entered) => timeout_at(until, waiting).await.ok(),
            None => None,
        };
        if found.is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        found
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
pub(crate) async fn next(
    tries: &mut Tries,
    state: &State,
    until: Instant,
) -> Result<(Choice, InFlight), Refusal> {
    match tries.next() {
        Err(Refusal::Busy) => {}
        decided => return decided,
    }
    // Boxed: few requests wait, and none should carry the space for it.
    Box::pin(wait(tries, state, until)).await
}

async fn wait(tries: &mut Tries, state: &State, until: Instant) -> Result<(Choice, InFlight), Refusal> {
    let timeout = Duration::from_millis(tries.pool().policy.upstream_limits.pending_timeout_ms);
    let until = until.min(Instant::now() + timeout);
    loop {
        let pool = tries.pool().clone();
        if let Some(decided) = wait_in_line(tries, state, &pool, until).await {
            if decided.as_ref().is_err_and(|refusal| *refusal == Refusal::Busy) {
                pool.lasting.queue.refused.fetch_add(1, Ordering::Relaxed);
            }
            return decided;
        }
    }
}

/// As [`wait`], in the line of `pool`; none when the request goes to another pool now.
async fn wait_in_line(
    tries: &mut Tries,
    state: &State,
    pool: &Pool,
    until: Instant,
) -> Option<Result<(Choice, InFlight), Refusal>> {
    let queue = &pool.lasting.queue;
    let limit = u64::from(pool.policy.upstream_limits.max_pending) * pool.eligible().len() as u64;
    let entered = queue.enter(limit);
    loop {
        if entered.is_none() {
            return Some(Err(Refusal::Busy));
        }
        let mut room = pin!(queue.room.notified());
        // Before we look: from here on no word of room is missed.
        room.as_mut().enable();
        tries.follow(state);
        if !Arc::ptr_eq(&tries.pool().lasting, &pool.lasting) {
            return None;
        }
        match tries.next() {
            Err(Refusal::Busy) => {}
            decided => return Some(decided),
        }
        if timeout_at(until, room).await.is_err() {
            return Some(Err(Refusal::Busy));
        }
    }
}
