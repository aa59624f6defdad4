//! When a request that may not be sent again is given up before its time: its client should learn soon that nobody
//! knows whether it was executed.
//!
//! ```text
//!   its upstream left the set without having drained                         gone, a moment later: it may have
//!                                                                            been about to answer
//!   it is ejected or suspect, and for as long as a first byte may take it
//!     sends nothing to anyone and then does not answer a question either     silent
//!   anything else                                                            waited for, as long as any request
//! ```

use std::convert::Infallible;
use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::super::doubt;
use super::super::error_page::Refusal;
use super::super::health::{self, Failure};
use super::super::metrics::Retry;
use super::super::state::pool::Pool;
use super::super::state::upstream::Upstream;

/// An upstream that a request has waited for for long is asked no less often than this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Who leaves a set need not be dead: people take upstreams out of it too. What it was about to answer is waited for.
const LAST_CHANCE: Duration = Duration::from_millis(250);

/// Why a request that was sent is waited for no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Its upstream is no more.
    Gone,
    /// Its upstream is out of use and says nothing.
    Silent,
}

impl Lost {
    /// What its client is told.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Lost::Gone => Refusal::UpstreamGone,
            Lost::Silent => Refusal::UpstreamSilent,
        }
    }

    /// As what it is counted.
    pub(crate) fn reason(self) -> Retry {
        match self {
            Lost::Gone => Retry::Ejected,
            Lost::Silent => Retry::Silent,
        }
    }
}

/// Resolves when what was sent to `upstream` is lost, where a first byte may take `first_byte`.
pub(crate) async fn lost(pool: &Pool, upstream: &Arc<Upstream>, first_byte: Duration) -> Lost {
    loop {
        health::until(upstream, health::is_distrusted).await;
        let since = Instant::now();
        if timeout(first_byte, health::until(upstream, health::is_gone)).await.is_ok() {
            sleep(LAST_CHANCE).await;
            return Lost::Gone;
        }
        // Ejected for what it answers, or suspected wrongly: it may answer this one yet.
        if health::is_distrusted(upstream) && !doubt::lives(pool, upstream, since).await {
            return if health::is_gone(upstream) { Lost::Gone } else { Lost::Silent };
        }
    }
}

/// Asks `upstream` whether it lives while a request waits there, at first after `first_byte`, then less and less often:
/// where requests share a connection, nothing else may notice for long that it stands still.
async fn keep_asking(pool: &Arc<Pool>, upstream: &Arc<Upstream>, first_byte: Duration) -> Infallible {
    let mut wait = first_byte;
    loop {
        let since = Instant::now();
        sleep(wait).await;
        if doubt::lives(pool, upstream, since).await {
            wait = (2 * wait).min(LONGEST_WAIT);
        } else {
            health::failed(pool, upstream, Failure::Silent);
            wait = first_byte;
        }
    }
}

/// Looks out for a request that Pingora waits with: when it is lost, its connection is cut. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Lookout {
    found: Arc<OnceLock<Lost>>,
    _task: AbortOnDropHandle<()>,
}

impl Lookout {
    /// Begins for the request that goes to `upstream` by the socket `fd`; none if that is cut already.
    pub(crate) fn begin(pool: &Arc<Pool>, upstream: &Arc<Upstream>, fd: RawFd) -> Option<Self> {
        let socket = upstream.sockets.one(fd)?;
        let found = Arc::new(OnceLock::new());
        let (pool, upstream, finding) = (pool.clone(), upstream.clone(), found.clone());
        let task = tokio::spawn(async move {
            // What streams is not timed by route.
            let first_byte = Duration::from_millis(pool.policy.first_byte_cold_ms);
            let shares = pool.policy.protocol.is_http2();
            let why = tokio::select! {
                why = lost(&pool, &upstream, first_byte) => why,
                never = keep_asking(&pool, &upstream, first_byte), if shares => match never {},
            };
            if finding.set(why).is_ok() {
                socket.cut();
            }
        });
        Some(Lookout { found, _task: AbortOnDropHandle::new(task) })
    }

    /// Why the connection was cut, if it was.
    pub(crate) fn found(&self) -> Option<Lost> {
        self.found.get().copied()
    }
}
