//! When an upstream is asked next, and what follows from what it answered.
//!
//! ```text
//!   in use    passed          ─▶ again after interval_ms
//!             failed          ─▶ again after edge_interval_ms; the `fall`th in a row: eject
//!             trouble         ─▶ at once, but not sooner than edge_interval_ms after the last
//!   out       ejected         ─▶ after edge_interval_ms, or when its time is served
//!             failed          ─▶ again after half as long again, at most unhealthy_interval_ms or the penalty
//!             passed          ─▶ again after edge_interval_ms; the `rise`th in a row: readmit
//!   either    another check   ─▶ at once, counted anew
//!             wanted          ─▶ at once: nobody is left
//! ```
//!
//! In use without `active`: only when wanted. In use while other balancers check it: only when wanted or in trouble, and then
//! until it passes or is ejected. Waits vary at random by `jitter`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};
use wire::proxy_config::PoolPolicy;

use super::record::Ejection;

/// What follows from a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    None,
    /// So many in a row failed that it has to go.
    Eject(u32),
    /// It may come back.
    Readmit,
}

/// The schedule of one upstream.
#[derive(Debug)]
pub(super) struct Schedule {
    policy: Arc<PoolPolicy>,
    /// Other balancers check it.
    is_elsewhere: bool,
    is_out: bool,
    /// What the last check came to, and how many before it the same.
    passing: bool,
    in_a_row: u32,
    /// The present wait while it is out, and the most it may be.
    wait: Duration,
    penalty: Duration,
    /// Its time is served then.
    held_until: Instant,
    begun: Option<Instant>,
    due: Option<Instant>,
}

impl Schedule {
    /// The one of an upstream nothing is known of, as of `now`; `is_out`: it is ejected.
    pub(super) fn new(policy: Arc<PoolPolicy>, is_out: bool, now: Instant, rng: &mut impl Rng) -> Self {
        let wait = Duration::from_millis(policy.check.edge_interval_ms);
        let penalty = Duration::from_millis(policy.eject_min_ms);
        let mut schedule = Schedule {
            policy,
            is_elsewhere: false,
            is_out,
            passing: true,
            in_a_row: 0,
            wait,
            penalty,
            held_until: now,
            begun: None,
            due: None,
        };
        schedule.begin(now, rng);
        schedule
    }

    /// When to ask; none: not until there is news.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn policy(&self) -> &Arc<PoolPolicy> {
        &self.policy
    }

    /// Goes on by `policy`. Returns whether its check is another one.
    pub(super) fn adopt(&mut self, policy: Arc<PoolPolicy>, now: Instant, rng: &mut impl Rng) -> bool {
        let is_new = policy.check != self.policy.check;
        self.policy = policy;
        if is_new {
            self.in_a_row = 0;
            self.wait = self.edge();
            self.begin(now, rng);
        }
        is_new
    }

    /// Goes on with other balancers checking it, or without them.
    pub(super) fn leave_to_others(&mut self, is_elsewhere: bool, now: Instant, rng: &mut impl Rng) {
        if is_elsewhere == self.is_elsewhere {
            return;
        }
        self.is_elsewhere = is_elsewhere;
        if !self.is_asked() {
            self.due = None;
        } else if self.due.is_none() {
            self.begin(now, rng);
        }
    }

    /// Takes in that it was ejected at `now`.
    pub(super) fn ejected(&mut self, ejection: Ejection, now: Instant, rng: &mut impl Rng) {
        self.is_out = true;
        self.in_a_row = 0;
        self.penalty = ejection.penalty;
        self.wait = self.edge().min(self.longest());
        let first = self.jittered(self.wait, rng);
        self.held_until = now + ejection.hold;
        self.due = Some(self.held_until.max(now + first));
    }

    /// Takes in that a request to it failed.
    pub(super) fn trouble(&mut self, now: Instant) {
        if self.is_out || !self.policy.check.active {
            return;
        }
        let soon = self.begun.map_or(now, |begun| now.max(begun + self.edge()));
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    /// Takes in that requests wait for it, for nobody is left.
    pub(super) fn wanted(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// Takes in that a check begins.
    pub(super) fn began(&mut self, now: Instant) {
        self.begun = Some(now);
    }

    /// Takes in that it ended; none: it says nothing.
    pub(super) fn ended(&mut self, passed: Option<bool>, now: Instant, rng: &mut impl Rng) -> Step {
        let Some(passed) = passed else {
            self.again(self.edge(), now, rng);
            return Step::None;
        };
        self.in_a_row = if passed == self.passing { self.in_a_row.saturating_add(1) } else { 1 };
        self.passing = passed;
        let check = &self.policy.check;
        let interval = Duration::from_millis(check.interval_ms);
        let (wait, step) = match (self.is_out, passed) {
            (true, true) if self.in_a_row >= check.rise => {
                self.is_out = false;
                (interval, Step::Readmit)
            }
            (true, true) => (self.edge(), Step::None),
            (true, false) => {
                self.wait = (self.wait + self.wait / 2).min(self.longest());
                (self.wait, Step::None)
            }
            (false, true) => (interval, Step::None),
            // Where it cannot be spared it stays in use, and is asked as if it were well.
            (false, false) if self.in_a_row >= check.fall => (interval, Step::Eject(self.in_a_row)),
            (false, false) => (self.edge(), Step::None),
        };
        self.again(wait, now, rng);
        step
    }

    /// The first check of a kind. Not at the same time for all, as a policy changes for all.
    fn begin(&mut self, now: Instant, rng: &mut impl Rng) {
        let spread = self.edge().mul_f64(rng.random_range(0.0..1.0));
        let earliest = if self.is_out { self.held_until } else { now };
        self.due = self.is_asked().then(|| earliest.max(now + spread));
    }

    fn again(&mut self, wait: Duration, now: Instant, rng: &mut impl Rng) {
        self.due = self.is_asked().then(|| now + self.jittered(wait, rng));
    }

    fn is_asked(&self) -> bool {
        self.is_out || self.policy.check.active && !(self.is_elsewhere && self.passing)
    }

    fn edge(&self) -> Duration {
        Duration::from_millis(self.policy.check.edge_interval_ms)
    }

    fn longest(&self) -> Duration {
        self.policy.check.unhealthy_interval_ms.map_or(self.penalty, Duration::from_millis)
    }

    fn jittered(&self, wait: Duration, rng: &mut impl Rng) -> Duration {
        let jitter = self.policy.check.jitter;
        wait.mul_f64(rng.random_range(1.0 - jitter..=1.0 + jitter))
    }
}

#[cfg(test)]
mod tests;
