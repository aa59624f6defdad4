//! Who is ejected and who comes back.
//!
//! Failures in a row, or one that leaves no doubt, eject an upstream; while it is out it is probed, soon
//! at first and then ever more slowly, and the first probe that is answered well brings it back. Slowness
//! is not death: before silence counts as a failure, the upstream is asked whether it lives (`doubt`).
//!
//! ```text
//!   ejected ──wait──▶ probe ──well──▶ readmitted, for a trial first (`state/trial`)
//!      ▲                │
//!      └──wait longer───┘ not well
//!
//!   wait: 250 ms, then half as long again each time, at most the penalty; after bad answers the penalty;
//!   penalty: eject_min_ms, doubled for each ejection that follows soon on a readmission, at most eject_max_ms
//! ```
//!
//! What a manager says ranks before all that: who is suspect or gone from its set without having drained is
//! *distrusted* like the ejected, so that requests in flight there are sent elsewhere too.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::RngExt;
use wire::proxy_config::PoolPolicy;

use super::forward::connect::ConnectFailure;
use super::lock;
use super::probe::probe;
use super::state::pool::Pool;
use super::state::upstream::Upstream;

/// The first probe of an ejected upstream comes after so long.
const FIRST_PROBE: Duration = Duration::from_millis(250);

/// What went wrong with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection.
    Connect(ConnectFailure),
    /// It closed or reset a fresh connection before it answered, or answered no HTTP.
    Broken,
    /// It sent no byte on any connection and does not answer a probe.
    Silent,
    /// It answers, but badly (`outlier`).
    Answers,
    /// It failed the request that was to bring it back.
    Trial,
}

impl Failure {
    /// Its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Failure::Connect(ConnectFailure::Refused) => "refused",
            Failure::Connect(ConnectFailure::TimedOut) => "connect_timeout",
            Failure::Connect(ConnectFailure::Other) => "connect",
            Failure::Broken => "broken",
            Failure::Silent => "silent",
            Failure::Answers => "answers",
            Failure::Trial => "trial",
        }
    }
}

/// What an upstream has to wait for.
#[derive(Debug, Default)]
pub(crate) struct Penalty {
    /// Ejections in a row.
    strikes: u32,
    readmitted: Option<Instant>,
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

/// Notes its manager's word: whether `upstream` is suspect or gone, or fine.
pub(crate) fn told(upstream: &Upstream, is_well: bool) {
    let before = upstream.health.condemned.swap(!is_well, Ordering::Relaxed);
    if !is_well && !before {
        upstream.health.distrust.notify_waiters();
    }
}

/// Holds `failure` against `upstream` and ejects it when it has had enough of them, unless it is the
/// last one of `pool` that can be used.
pub(crate) fn failed(pool: &Pool, upstream: &Arc<Upstream>, failure: Failure) {
    upstream.counters.failures.fetch_add(1, Ordering::Relaxed);
    let weight = match failure {
        Failure::Connect(kind) => {
            upstream.health.unreachable.store(true, Ordering::Relaxed);
            match kind {
                ConnectFailure::Refused => pool.policy.eject_after,
                ConnectFailure::TimedOut => 1,
                // Our own trouble, such as having no port left, says nothing about the upstream.
                ConnectFailure::Other => 0,
            }
        }
        Failure::Broken | Failure::Answers | Failure::Trial => 1,
        // Whoever has asked since its last byte is a witness, and so is the probe.
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
    let Some(failed_trial) = upstream.take_out(failure == Failure::Answers) else { return };
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
        penalty(state.strikes, &pool.policy).min(longest)
    };
    let ejection = upstream.counters.ejections.fetch_add(1, Ordering::Relaxed) + 1;
    upstream.forget_connections();
    upstream.health.distrust.notify_waiters();
    tracing::warn!(
        upstream = %upstream.id, pool = %pool.name, address = %upstream.address,
        reason = failure.name(), failures, "ejected"
    );
    tokio::spawn(probe_until_well(upstream.clone(), ejection, penalty));
}

fn penalty(strikes: u32, policy: &PoolPolicy) -> Duration {
    let doubled = policy.eject_min_ms.saturating_mul(1u64.checked_shl(strikes).unwrap_or(u64::MAX));
    Duration::from_millis(doubled.min(policy.eject_max_ms))
}

/// Up to half as long again, so that upstreams that were ejected together do not come back together.
fn jittered(penalty: Duration) -> Duration {
    penalty.mul_f64(rand::rng().random_range(1.0..=1.5))
}

/// Probes `upstream` until it is well, or its `ejection` is over for another reason.
async fn probe_until_well(upstream: Arc<Upstream>, ejection: u64, penalty: Duration) {
    let started = Instant::now();
    let is_over = || {
        let another = upstream.counters.ejections.load(Ordering::Relaxed) != ejection;
        another || upstream.is_retired() || !upstream.is_ejected()
    };
    // A probe asks whether it answers, which it does if its answers were what ejected it: it has to wait.
    let mut wait =
        if upstream.is_ejected_for_answers() { jittered(penalty) } else { FIRST_PROBE.min(penalty) };
    loop {
        tokio::time::sleep(wait).await;
        if is_over() {
            return;
        }
        if is_well(&upstream).await && !is_over() {
            return readmit(&upstream, started.elapsed());
        }
        wait = (wait + wait / 2).min(penalty);
    }
}

/// Whether a probe is answered well.
async fn is_well(upstream: &Upstream) -> bool {
    // As it is now: a wrong path may have been what ejected it.
    let policy = upstream.policy();
    let limit = Duration::from_millis(policy.probe_timeout_ms);
    probe(upstream, &policy.probe_path, limit).await.is_some_and(|status| status.is_success())
}

/// Asks an upstream that is down out of turn, because nobody else is left.
pub(crate) async fn ask_again(upstream: Arc<Upstream>) {
    let asked = Instant::now();
    if is_well(&upstream).await {
        readmit(&upstream, asked.elapsed());
    }
}

fn readmit(upstream: &Upstream, after: Duration) {
    if !upstream.is_ejected() {
        return;
    }
    lock(&upstream.health.penalty).readmitted = Some(Instant::now());
    upstream.let_back();
    tracing::info!(
        upstream = %upstream.id, address = %upstream.address, after_ms = after.as_millis(), "readmitted"
    );
}
