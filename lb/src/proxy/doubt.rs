//! Whether a silent upstream lives.
//!
//! An upstream that owes an answer for too long and has sent no byte to anyone meanwhile is asked, once for
//! all who wait for it or would have chosen it. Until it answers, others of its rank are chosen first; so a
//! host that vanishes costs new requests little more than [`SHORTEST_DOUBT`], however impatient their clients.
//!
//! ```text
//!   in use ──owes an answer, silent──▶ in doubt ──▶ asked ──any byte──▶ in use
//!                                        ▲            │ none in time
//!                                        │            ▼
//!                                        └── failures, one for each try since its last byte ──▶ ejected
//! ```
//!
//! [`SHORTEST_DOUBT`]: super::state::learned::SHORTEST_DOUBT

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use wire::checks::Check;

use super::check;
use super::health::{self, Failure};
use super::lock;
use super::state::pool::Pool;
use super::state::upstream::Upstream;

/// What is being asked of an upstream.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// The one under way, and its answer; all who ask meanwhile share it.
    present: Option<watch::Receiver<Option<bool>>>,
    /// When the last one that got no answer was put.
    unanswered: Option<Instant>,
}

/// Has an upstream in doubt asked, unless it is being asked already; its silence is then a failure.
pub(crate) fn look_into(pool: &Arc<Pool>, upstream: &Arc<Upstream>) {
    if upstream.is_ejected() || upstream.is_retired() {
        return;
    }
    let mut questions = lock(&upstream.health.questions);
    if questions.under_way().is_some() {
        return;
    }
    let mut answer = questions.put(pool, upstream);
    drop(questions);
    let (pool, upstream) = (pool.clone(), upstream.clone());
    tokio::spawn(async move {
        if answer.wait_for(Option::is_some).await.is_ok_and(|lives| *lives == Some(false)) {
            health::failed(&pool, &upstream, Failure::Silent);
        }
    });
}

/// Whether `upstream` has sent a byte since `since`; where that is in doubt, it is asked.
pub(crate) async fn lives(pool: &Pool, upstream: &Arc<Upstream>, since: Instant) -> bool {
    if upstream.spoke_after(since) {
        return true;
    }
    let mut answer = {
        let mut questions = lock(&upstream.health.questions);
        if questions.unanswered.is_some_and(|put| put > since) {
            return false;
        }
        questions.under_way().unwrap_or_else(|| questions.put(pool, upstream))
    };
    // The sender may go away with its runtime; then nothing was heard.
    let lives = answer.wait_for(Option::is_some).await.is_ok_and(|lives| *lives == Some(true));
    lives || upstream.spoke_after(since)
}

impl Questions {
    fn under_way(&self) -> Option<watch::Receiver<Option<bool>>> {
        self.present.as_ref().filter(|answer| answer.borrow().is_none()).cloned()
    }

    fn put(&mut self, pool: &Pool, upstream: &Arc<Upstream>) -> watch::Receiver<Option<bool>> {
        let (sender, receiver) = watch::channel(None);
        self.present = Some(receiver.clone());
        // Silence that led here is suspicious already: the answer has no longer than a first byte may take.
        let check = pool.policy.check.clone();
        let limit = check.timeout_ms.min(pool.policy.first_byte_min_ms);
        tokio::spawn(ask(upstream.clone(), check, Duration::from_millis(limit), sender));
        receiver
    }
}

async fn ask(upstream: Arc<Upstream>, check: Check, limit: Duration, answer: watch::Sender<Option<bool>>) {
    let put = Instant::now();
    let heard = check::speaks(&upstream, &check, limit).await;
    // If it was us who stood still, the answer may be waiting to be read: that proves nothing.
    let stalled = put.elapsed() > limit * 2;
    if !heard && !stalled {
        lock(&upstream.health.questions).unanswered = Some(put);
    }
    let _ = answer.send(Some(heard || stalled));
}
