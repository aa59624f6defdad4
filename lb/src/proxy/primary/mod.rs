//! The one upstream of a `primary_only` pool that is given connections: the *primary*.
//!
//! ```text
//!                   chosen                         another one is to be it
//!   nobody ───────────────────────▶ term of n1 ─────────────────────────────▶ ending: every connection is told
//!     ▲                                                                          │  to close, no new one comes
//!     └────────────────────────── the last connection is closed ────────────────┘
//! ```
//!
//! A *term* is the time of one primary. Who forwards a connection *stays* in the term it began in, and closes both ends when
//! that is over. The next term begins when nobody stays any more: there is no moment at which this balancer has
//! connections to two upstreams of the pool. Who the next one is, `choose` says; `keeper` has it done.

pub(crate) mod choose;
pub(crate) mod keeper;
pub(crate) mod metrics;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::lock;
use super::state::upstream::Upstream;

/// Wakes who looks after primaries.
static NEWS: Notify = Notify::const_new();

/// Notes that something may have changed in who can be a primary.
pub(crate) fn news() {
    NEWS.notify_waiters();
}

/// Resolves at the next [`news`].
pub(crate) fn news_comes() -> Notified<'static> {
    NEWS.notified()
}

/// The primary of one pool.
#[derive(Debug, Default)]
pub(crate) struct Primary {
    held: Mutex<Held>,
    /// Wakes who waits for a primary.
    begun: Notify,
    /// Terms so far.
    terms: AtomicU64,
    /// Connections that wait for one.
    waiting: AtomicU32,
}

/// A connection that waits for a primary, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Waits<'a>(&'a Primary);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Held {
    present: Option<Arc<Term>>,
    /// The one before, while anybody stays in it.
    ending: Option<Arc<Term>>,
    /// Since when the one that others name is not well, as we see it.
    named_ill_since: Option<Instant>,
    /// Why there is nobody, or why it is the one there is.
    reason: String,
}

/// The time of one primary.
#[derive(Debug)]
struct Term {
    upstream: Arc<Upstream>,
    began: Instant,
    over: CancellationToken,
    stays: TaskTracker,
}

/// Counts who forwards a connection to a primary. Dropped after both ends of that are closed.
#[derive(Debug)]
pub(crate) struct Stay {
    term: Arc<Term>,
    _counted: TaskTrackerToken,
}

/// What a primary is like.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// Who it is, and since when.
    pub(crate) present: Option<(Arc<Upstream>, Instant)>,
    /// Why.
    pub(crate) reason: String,
    /// Terms so far.
    pub(crate) terms: u64,
}

impl Primary {
    /// The primary, for one more connection; none while there is nobody.
    pub(crate) fn enter(&self) -> Option<Stay> {
        // Counted under the lock: a term that is taken from here has no more of them.
        let held = lock(&self.held);
        let term = held.present.clone()?;
        Some(Stay { _counted: term.stays.token(), term })
    }

    /// The same, as soon as there is one.
    pub(crate) async fn entered(&self) -> Stay {
        loop {
            let mut begun = std::pin::pin!(self.begun.notified());
            begun.as_mut().enable();
            if let Some(stay) = self.enter() {
                return stay;
            }
            begun.await;
        }
    }

    /// Counts one more connection that waits, unless as many as `most` do.
    pub(crate) fn waits(&self, most: u32) -> Option<Waits<'_>> {
        let taken = |count: u32| (count < most).then_some(count + 1);
        let before = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        before.ok().map(|_| Waits(self))
    }

    /// How it is now.
    pub(crate) fn look(&self) -> Look {
        let held = lock(&self.held);
        Look {
            present: held.present.as_ref().map(|term| (term.upstream.clone(), term.began)),
            reason: held.reason.clone(),
            terms: self.terms.load(Ordering::Relaxed),
        }
    }
}

impl Held {
    /// Ends the present term, if there is one. Returns whose it was.
    fn end(&mut self) -> Option<Arc<Upstream>> {
        let term = self.present.take()?;
        term.stays.close();
        term.over.cancel();
        let upstream = term.upstream.clone();
        self.ending = Some(term);
        Some(upstream)
    }

    /// Whether a term is ending in which somebody still stays.
    fn is_occupied(&mut self) -> bool {
        if self.ending.as_ref().is_some_and(|term| term.stays.is_empty()) {
            self.ending = None;
        }
        self.ending.is_some()
    }
}

impl Term {
    fn new(upstream: Arc<Upstream>, now: Instant) -> Self {
        Term { upstream, began: now, over: CancellationToken::new(), stays: TaskTracker::new() }
    }
}

impl Stay {
    /// The primary.
    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        &self.term.upstream
    }

    /// Resolves when another one is to be it: the connection has to be closed at once.
    pub(crate) fn over(&self) -> WaitForCancellationFuture<'_> {
        self.term.over.cancelled()
    }

    /// Whether another one is to be it.
    pub(crate) fn is_over(&self) -> bool {
        self.term.over.is_cancelled()
    }
}
