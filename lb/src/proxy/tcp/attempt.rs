//! One connection at one upstream, from the choice to its end: the same records as a request's (`state/in_flight`), so
//! that balancing, ejection and figures know no difference. Open connections are what requests in flight are.
//!
//! ```text
//!   begun ──▶ connected ──▶ over                outcome: answered
//!     │           └──────▶ broke off                     truncated
//!     ├─ failed                                          connect
//!     └─ dropped before any of these                     abandoned
//! ```
//!
//! It keeps nothing of a snapshot: connections live for days, and sets come every second.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::balance::ask::Ask;
use super::super::forward::connect::ConnectFailure;
use super::super::health::{self, Failure};
use super::super::metrics::Retry;
use super::super::outlier;
use super::super::state::in_flight::Outcome;
use super::super::state::pool::{Lasting, Pool};
use super::super::state::upstream::Upstream;

/// One connection at an upstream.
#[derive(Debug)]
pub(crate) struct Attempt {
    upstream: Arc<Upstream>,
    lasting: Arc<Lasting>,
    begun: Instant,
    /// It is the upstream's trial, which is not decided yet.
    is_trial: bool,
    outcome: Outcome,
}

impl Attempt {
    /// Counts a connection at `upstream` of `pool` from `now` on, unless that has its fill. `is_trial`: it was claimed as
    /// the upstream's trial.
    pub(crate) fn begin(
        pool: &Pool,
        upstream: &Arc<Upstream>,
        is_trial: bool,
        now: Instant,
    ) -> Option<Attempt> {
        if !upstream.take_room() {
            if is_trial {
                upstream.health.trial.give_back();
            }
            return None;
        }
        upstream.counters.requests.fetch_add(1, Ordering::Relaxed);
        let (upstream, lasting) = (upstream.clone(), pool.lasting.clone());
        Some(Attempt { upstream, lasting, begun: now, is_trial, outcome: Outcome::Abandoned })
    }

    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Notes that there is a connection at `now`.
    pub(crate) fn connected(&mut self, pool: &Arc<Pool>, ask: &Ask, now: Instant) {
        self.outcome = Outcome::Answered;
        health::connected(&self.upstream);
        health::answered(&self.upstream);
        self.observe(pool, ask, false, now);
        let is_trial = std::mem::take(&mut self.is_trial);
        outlier::answered(pool, &self.upstream, false, is_trial, now);
    }

    /// Notes that there is none, which is held against the upstream.
    pub(crate) fn failed(&mut self, pool: &Arc<Pool>, ask: &Ask, failure: ConnectFailure) {
        self.outcome = Outcome::Failed(Retry::Connect);
        self.observe(pool, ask, true, Instant::now());
        health::failed(pool, &self.upstream, Failure::Connect(failure));
        let is_trial = std::mem::take(&mut self.is_trial);
        outlier::failed(pool, &self.upstream, is_trial);
    }

    /// Notes that the upstream broke off.
    pub(crate) fn broke_off(&mut self) {
        self.outcome = Outcome::Truncated;
    }

    fn observe(&self, pool: &Pool, ask: &Ask, failed: bool, now: Instant) {
        let took = now.saturating_duration_since(self.begun);
        let times = pool.lasting.usual.compare(ask.kind, took, failed);
        self.upstream.latency.observe(times, now);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_trial {
            self.upstream.health.trial.give_back();
        }
        self.upstream.counters.count_outcome(self.outcome);
        self.upstream.give_room_back();
        self.lasting.queue.room();
    }
}
