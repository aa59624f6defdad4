//! Upstreams that answer, but badly.
//!
//! A run of answers of 5xx, or a share of failures that its peers do not have, ejects an upstream like a
//! broken connection does (Envoy's outlier detection: 5 in a row; its success rate needs five hosts and more
//! to be of use, so here an upstream is compared with the rest of its pool directly). When all of them fail,
//! the cause is elsewhere, and taking upstreams away would only add to it.
//!
//! Such an ejection lasts its whole penalty: its check, which asks for something else, would be answered well
//! at once. It leaves `panic_below` of the pool in use, and ends early when less of it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::clock;
use super::health::{self, Failure};
use super::state::pool::Pool;
use super::state::upstream::Upstream;
use super::state::window::Seen;

/// Peers of which so many requests fail are in the same trouble.
const COMMON_TROUBLE: f64 = 0.5;

/// Whether an answer with `status` is the upstream's failure. 501 and 505 are about what was asked.
pub(crate) fn is_failure(status: u16) -> bool {
    status >= 500 && !matches!(status, 501 | 505)
}

/// Takes in that `upstream` answered; `is_trial`: the request was its trial.
pub(crate) fn answered(
    pool: &Arc<Pool>,
    upstream: &Arc<Upstream>,
    failed: bool,
    is_trial: bool,
    now: Instant,
) {
    let policy = &pool.policy.outlier;
    let millis = clock::micros(now) / 1_000;
    upstream.health.window.count(millis, policy.window_ms, failed);
    if !failed {
        if upstream.health.failed_answers.load(Ordering::Relaxed) != 0 {
            upstream.health.failed_answers.store(0, Ordering::Relaxed);
        }
        if is_trial {
            passed(upstream);
        }
        return;
    }
    let run = upstream.health.failed_answers.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    let is_run = policy.consecutive_5xx > 0 && run >= policy.consecutive_5xx;
    let seen = upstream.health.window.seen(millis, policy.window_ms);
    let is_share = policy.failure_ratio > 0.0
        && seen.requests >= u64::from(policy.failure_min_requests)
        && seen.ratio() >= policy.failure_ratio;
    if !(is_run || is_share || is_trial) {
        return;
    }
    let peers = peers(pool, upstream, millis).ratio();
    let is_alone = if is_run || is_trial { peers < COMMON_TROUBLE } else { peers * 2.0 <= seen.ratio() };
    if is_alone && pool.can_spare(upstream) {
        health::eject(pool, upstream, Failure::Answers, run);
    } else if is_trial {
        passed(upstream);
    }
}

/// Takes in that a request to `upstream` came to nothing; whether the connection says so much that it is
/// ejected, `health` decides.
pub(crate) fn failed(pool: &Arc<Pool>, upstream: &Arc<Upstream>, is_trial: bool) {
    let millis = clock::micros(Instant::now()) / 1_000;
    upstream.health.window.count(millis, pool.policy.outlier.window_ms, true);
    // `health` may have ejected it for the same failure already.
    if is_trial && !upstream.is_ejected() {
        if pool.is_last_usable(upstream) {
            passed(upstream);
        } else {
            health::eject(pool, upstream, Failure::Trial, 1);
        }
    }
}

/// The upstream passed its trial: it comes back to its full share bit by bit.
fn passed(upstream: &Arc<Upstream>) {
    upstream.health.trial.end();
    upstream.health.failed_answers.store(0, Ordering::Relaxed);
    upstream.health.window.forget();
    upstream.latency.forget();
    upstream.begin_ramp(Instant::now());
    tracing::info!(upstream = %upstream.id, address = %upstream.address, "trial passed");
}

/// What the others of the pool that are in use saw.
fn peers(pool: &Pool, upstream: &Upstream, millis: u64) -> Seen {
    let others = pool
        .eligible()
        .iter()
        .map(|member| &*member.upstream)
        .filter(|other| !std::ptr::eq(*other, upstream));
    others.filter(|other| !other.is_ejected()).fold(Seen::default(), |sum, other| {
        sum + other.health.window.seen(millis, pool.policy.outlier.window_ms)
    })
}
