//! Who is ejected and who comes back.
//!
//! Failures in a row, or one that leaves no doubt, eject an upstream, and so do checks that fail; while it is out
//! it is checked, soon at first and then ever more slowly, and checks that pass bring it back (`check/schedule`).
//! Slowness is not death: before silence counts as a failure, the upstream is asked whether it lives (`doubt`).
//!
//! ```text
//!   ejected ──wait──▶ check ──passed──▶ readmitted, for a trial first (`state/trial`)
//!      ▲                │
//!      └──wait longer───┘ failed
//!
//!   penalty: eject_min_ms, doubled for each ejection that follows soon on a readmission, at most eject_max_ms
//! ```
//!
//! What a manager says ranks before all that: who is suspect or gone from its set without having drained is
//! *distrusted* like the ejected, so that requests in flight there are sent elsewhere too.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::RngExt;
use wire::proxy_config::PoolPolicy;

use super::forward::connect::ConnectFailure;
use super::lock;
use super::state::pool::Pool;
use super::state::upstream::Upstream;

/// What went wrong with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection.
    Connect(ConnectFailure),
    /// It closed or reset a fresh connection before it answered, or answered no HTTP.
    Broken,
    /// It sent no byte on any connection and does not answer a question.
    Silent,
    /// It answers, but badly (`outlier`).
    Answers,
    /// It failed the request that was to bring it back.
    Trial,
    /// Its checks are not answered.
    Check,
    /// Its checks are answered, but badly.
    CheckAnswer,
}

impl Failure {
    /// Its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Failure::Connect(ConnectFailure::Refused) => "refused",
            Failure::Connect(ConnectFailure::TimedOut) => "connect_timeout",
            Failure::Connect(ConnectFailure::Tls(failure)) => failure.name(),
            Failure::Connect(ConnectFailure::Other) => "connect",
            Failure::Broken => "broken",
            Failure::Silent => "silent",
            Failure::Answers => "answers",
            Failure::Trial => "trial",
            Failure::Check | Failure::CheckAnswer => "check",
        }
    }
}

/// What an upstream has to wait for.
#[derive(Debug, Default)]
pub(crate) struct Penalty {
    /// Ejections in a row.
    strikes: u32,
    readmitted: Option<Instant>,
    ejected: Option<(Instant, Failure)>,
}

/// Notes that an upstream took a connection.
pub(crate) fn connected(upstream: &Upstream) {
    if upstream.health.unreachable.load(Ordering::Relaxed) {
        upstream.health.unreachable.store(false, Ordering::Relaxed);
    }
}

/// Notes that an upstream answered.
pub(crate) fn answered(upstream: &Upstream) {
    if upstream.health.failures.load(Ordering::Relaxed) != 0 {
        upstream.health.failures.store(0, Ordering::Relaxed);
    }
}

/// Whether requests in flight at `upstream` are better sent elsewhere too.
pub(crate) fn is_distrusted(upstream: &Upstream) -> bool {
    upstream.is_ejected() || upstream.health.condemned.load(Ordering::Relaxed)
}

/// Whether `upstream` left its set without having drained: its manager knows that it is dead.
pub(crate) fn is_gone(upstream: &Upstream) -> bool {
    upstream.is_retired() && upstream.health.condemned.load(Ordering::Relaxed)
}

/// Resolves when `holds` for `upstream`, which is [`is_distrusted`] or [`is_gone`].
pub(crate) async fn until(upstream: &Upstream, holds: impl Fn(&Upstream) -> bool) {
    loop {
        let mut told = pin!(upstream.health.distrust.notified());
        // Before we look: from here on no word is missed.
        told.as_mut().enable();
        if holds(upstream) {
            return;
        }
        told.await;
    }
}

/// Notes its manager's word: whether `upstream` is suspect or gone, or fine.
pub(crate) fn told(upstream: &Upstream, is_well: bool) {
    let before = upstream.health.condemned.swap(!is_well, Ordering::Relaxed);
    // Gone is news, also after suspect.
    if !is_well && (!before || upstream.is_retired()) {
        upstream.health.distrust.notify_waiters();
    }
}

/// Holds `failure` against `upstream` and ejects it when it has had enough of them, unless it is the
/// last one of `pool` that can be used.
pub(crate) fn failed(pool: &Pool, upstream: &Arc<Upstream>, failure: Failure) {
    upstream.counters.failures.fetch_add(1, Ordering::Relaxed);
    upstream.health.checks.trouble();
    let weight = match failure {
        Failure::Connect(kind) => {
            upstream.health.unreachable.store(true, Ordering::Relaxed);
            match kind {
                ConnectFailure::Refused => pool.policy.eject_after,
                // The next one will find the same certificate.
                ConnectFailure::Tls(failure) if failure.is_certain() => pool.policy.eject_after,
                ConnectFailure::TimedOut | ConnectFailure::Tls(_) => 1,
                // Our own trouble, such as having no port left, says nothing about the upstream.
                ConnectFailure::Other => 0,
            }
        }
        Failure::Broken | Failure::Answers | Failure::Trial | Failure::Check | Failure::CheckAnswer => 1,
        // Whoever has asked since its last byte is a witness, and so is the question.
        Failure::Silent => upstream.asks().saturating_add(1).clamp(1, pool.policy.eject_after.max(1)),
    };
    let before = upstream.health.failures.fetch_add(weight, Ordering::Relaxed);
    let failures = before.saturating_add(weight);
    if failures >= pool.policy.eject_after && weight > 0 && !pool.is_last_usable(upstream) {
        eject(pool, upstream, failure, failures);
    }
}

/// Takes `upstream` out of use until it is well again.
pub(crate) fn eject(pool: &Pool, upstream: &Arc<Upstream>, failure: Failure, failures: u32) {
    let for_answers = matches!(failure, Failure::Answers | Failure::CheckAnswer);
    let Some(failed_trial) = upstream.take_out(for_answers) else { return };
    if upstream.is_retired() {
        return;
    }
    let penalty = {
        let mut state = lock(&upstream.health.penalty);
        let longest = Duration::from_millis(pool.policy.eject_max_ms);
        let soon = |at: Instant| at.elapsed() < penalty(state.strikes, &pool.policy) * 2;
        let relapse = failed_trial || state.readmitted.is_some_and(soon);
        state.strikes = if relapse { state.strikes.saturating_add(1) } else { 0 };
        upstream.health.relapsed.store(relapse, Ordering::Relaxed);
        state.ejected = Some((Instant::now(), failure));
        penalty(state.strikes, &pool.policy).min(longest)
    };
    upstream.counters.ejections.fetch_add(1, Ordering::Relaxed);
    upstream.forget_connections();
    upstream.health.distrust.notify_waiters();
    tracing::warn!(
        upstream = %upstream.id, pool = %pool.name, address = %upstream.address,
        reason = failure.name(), failures, "ejected"
    );
    // A check asks whether it answers, which it does if its answers were what ejected it: it has to wait.
    let hold = if failure == Failure::Answers { jittered(penalty) } else { Duration::ZERO };
    upstream.health.checks.ejected(hold, penalty);
}

/// Since when `upstream` is ejected, and what for.
pub(crate) fn ejected_since(upstream: &Upstream) -> Option<(Instant, Failure)> {
    let last = lock(&upstream.health.penalty).ejected;
    last.filter(|_| upstream.is_ejected())
}

/// Lets an ejected `upstream` back, for a trial first.
pub(crate) fn readmit(upstream: &Upstream) {
    lock(&upstream.health.penalty).readmitted = Some(Instant::now());
    upstream.let_back();
    tracing::info!(upstream = %upstream.id, address = %upstream.address, "readmitted");
}

fn penalty(strikes: u32, policy: &PoolPolicy) -> Duration {
    let doubled = policy.eject_min_ms.saturating_mul(1u64.checked_shl(strikes).unwrap_or(u64::MAX));
    Duration::from_millis(doubled.min(policy.eject_max_ms))
}

/// Up to half as long again, so that upstreams that were ejected together do not come back together.
fn jittered(penalty: Duration) -> Duration {
    penalty.mul_f64(rand::rng().random_range(1.0..=1.5))
}
