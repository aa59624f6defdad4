//! One request at one upstream, from the choice to its end. Whatever becomes of it is counted in one place,
//! here, once: so the attempts by outcome and those in flight always add up to the requests sent.
//!
//! ```text
//!   begun ──▶ connected ──▶ answered ──▶ done            outcome
//!     │           │             └──▶ broke off           truncated
//!     │           ├─ late: another has answered          late
//!     │           ├─ left: the same, and this one never  the reason for asking the other, or late
//!     │           └─ failed(reason)                      the reason
//!     └─ dropped before any of these                     abandoned
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::balance::ask::Ask;
use super::super::forward::exchange::Sent;
use super::super::metrics::Retry;
use super::super::observe::{Attempt, SpanId, Trace, micros};
use super::super::outlier;
use super::pool::Pool;
use super::upstream::Upstream;

/// What became of a request at an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The head of an answer came.
    Answered,
    /// It came, and then the upstream broke off.
    Truncated,
    /// It was left for another one, or given up, for this reason.
    Failed(Retry),
    /// Another upstream that was asked too answered first.
    Late,
    /// The client left, or its time was up.
    Abandoned,
}

impl Outcome {
    /// How many there are.
    pub(crate) const COUNT: usize = Retry::ALL.len() + 4;

    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Outcome> {
        let others = [Outcome::Answered, Outcome::Truncated, Outcome::Abandoned, Outcome::Late];
        others.into_iter().chain(Retry::ALL.into_iter().map(Outcome::Failed))
    }

    /// Its place among all.
    pub(crate) fn index(self) -> usize {
        match self {
            Outcome::Answered => 0,
            Outcome::Truncated => 1,
            Outcome::Abandoned => 2,
            Outcome::Late => 3,
            Outcome::Failed(reason) => 4 + reason as usize,
        }
    }

    /// Its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Truncated => "truncated",
            Outcome::Abandoned => "abandoned",
            Outcome::Late => "late",
            Outcome::Failed(reason) => reason.name(),
        }
    }
}

/// How far a request came at an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No connection yet.
    Connect,
    /// Sent, or being sent; no head yet.
    Wait,
    /// The head came; the body is coming.
    Body,
    /// All of it came.
    Done,
}

impl Phase {
    /// Its name in logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Phase::Connect => "connect",
            Phase::Wait => "wait",
            Phase::Body => "body",
            Phase::Done => "done",
        }
    }
}

/// One request in flight at an upstream.
#[derive(Debug)]
pub(crate) struct InFlight {
    upstream: Arc<Upstream>,
    pool: Arc<Pool>,
    ask: Ask,
    begun: Instant,
    trace: Option<Arc<Trace>>,
    /// What it is in the request's trace, where that is recorded.
    span: Option<SpanId>,
    /// It is the upstream's trial, which is not decided yet.
    is_trial: bool,
    was_trial: bool,
    outcome: Outcome,
    phase: Phase,
    /// Says when there is a connection, where one is being made.
    connecting: Option<Sent>,
    reused: bool,
    replayed: bool,
    status: Option<u16>,
    head_after: Option<Duration>,
    done_at: Option<Instant>,
}

impl InFlight {
    /// Counts a request as in flight at `upstream` from `now` on, unless that has its fill. `is_trial`: it was claimed
    /// as the upstream's trial.
    pub(crate) fn begin(
        pool: &Arc<Pool>,
        upstream: &Arc<Upstream>,
        ask: Ask,
        is_trial: bool,
        now: Instant,
    ) -> Option<InFlight> {
        if !upstream.take_room() {
            if is_trial {
                upstream.health.trial.give_back();
            }
            return None;
        }
        upstream.counters.requests.fetch_add(1, Ordering::Relaxed);
        Some(InFlight {
            upstream: upstream.clone(),
            pool: pool.clone(),
            ask,
            begun: now,
            trace: None,
            span: None,
            is_trial,
            was_trial: is_trial,
            outcome: Outcome::Abandoned,
            phase: Phase::Connect,
            connecting: None,
            reused: false,
            replayed: false,
            status: None,
            head_after: None,
            done_at: None,
        })
    }

    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Its upstream's pool, as it was when it was begun.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// When it was begun.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// Whether it is, or was, the upstream's trial.
    pub(crate) fn was_trial(&self) -> bool {
        self.was_trial
    }

    /// Has it told.
    pub(crate) fn traced(&mut self, trace: Option<Arc<Trace>>) {
        self.span = trace.as_ref().and_then(|trace| trace.child());
        self.trace = trace;
    }

    /// What its upstream is told that it is in the request's trace, where that is recorded.
    pub(crate) fn span(&self) -> Option<SpanId> {
        self.span
    }

    /// Notes that the same request was sent to another upstream before.
    pub(crate) fn replays(&mut self) {
        self.replayed = true;
    }

    /// Notes that there is a connection, kept from before or new.
    pub(crate) fn connected(&mut self, reused: bool) {
        self.reused = reused;
        self.phase = Phase::Wait;
    }

    /// Notes that `sent` will say when there is a connection.
    pub(crate) fn connecting(&mut self, sent: &Sent) {
        if sent.reuses() {
            self.connected(true);
        } else {
            self.connecting = Some(sent.clone());
        }
    }

    /// Notes that the head of an answer came at `now`, which is not an interim one.
    pub(crate) fn answered(&mut self, status: u16, now: Instant) {
        let took = now.saturating_duration_since(self.begun);
        self.outcome = Outcome::Answered;
        self.phase = Phase::Body;
        self.status = Some(status);
        self.head_after = Some(took);
        self.upstream.counters.count_answer(status, took);
        let failed = outlier::is_failure(status);
        self.observe(took, failed, now);
        let is_trial = std::mem::take(&mut self.is_trial);
        outlier::answered(&self.pool, &self.upstream, failed, is_trial, now);
    }

    /// The same, after another upstream had answered.
    pub(crate) fn late(&mut self, status: u16, now: Instant) {
        self.answered(status, now);
        self.outcome = Outcome::Late;
    }

    /// Notes that all of the answer came, the last of it at `now`.
    pub(crate) fn done(&mut self, now: Instant) {
        self.phase = Phase::Done;
        self.done_at = Some(now);
    }

    /// Notes that the upstream broke off in the middle of its answer.
    pub(crate) fn broke_off(&mut self) {
        self.outcome = Outcome::Truncated;
    }

    /// Notes that it came to nothing.
    pub(crate) fn failed(&mut self, reason: Retry) {
        self.outcome = Outcome::Failed(reason);
        if matches!(reason, Retry::Broken | Retry::Silent | Retry::Connect) {
            let now = Instant::now();
            self.observe(now.saturating_duration_since(self.begun), true, now);
            let is_trial = std::mem::take(&mut self.is_trial);
            outlier::failed(&self.pool, &self.upstream, is_trial);
        }
    }
}

impl InFlight {
    /// Notes that nobody waits for it any more because another upstream has answered, which was asked for
    /// this `reason`; none: this one was asked beside the other.
    pub(crate) fn left(&mut self, reason: Option<Retry>) {
        match reason {
            Some(reason) => self.failed(reason),
            None => self.outcome = Outcome::Late,
        }
    }

    fn phase(&self) -> Phase {
        match (self.phase, &self.connecting) {
            (Phase::Connect, Some(sent)) if sent.is() => Phase::Wait,
            (phase, _) => phase,
        }
    }

    /// Takes in how long it took. What is passed on as it comes takes as long as its client sends: that says nothing
    /// about the upstream, unless it failed.
    fn observe(&self, took: Duration, failed: bool, now: Instant) {
        let took = match (self.ask.at_hand, failed) {
            (true, _) => took,
            (false, true) => Duration::ZERO,
            (false, false) => return,
        };
        let times = self.pool.lasting.usual.compare(self.ask.kind, took, failed);
        self.upstream.latency.observe(times, now);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.is_trial {
            self.upstream.health.trial.give_back();
        }
        self.upstream.counters.count_outcome(self.outcome);
        if let Some(trace) = self.trace.take() {
            let ended = self.done_at.unwrap_or_else(Instant::now);
            let attempt = Attempt {
                upstream: self.upstream.clone(),
                span: self.span,
                begun_us: 0,
                took_us: micros(ended.saturating_duration_since(self.begun)),
                phase: self.phase().name(),
                outcome: self.outcome.name(),
                status: self.status,
                head_us: self.head_after.map(micros),
                reused: self.reused,
                replayed: self.replayed,
                trial: self.was_trial,
            };
            trace.attempted(self.begun, attempt);
        }
        self.upstream.give_room_back();
        self.pool.lasting.queue.room();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_place_and_a_name_of_its_own() {
        let places: Vec<_> = Outcome::all().map(Outcome::index).collect();
        assert_eq!(places, (0..Outcome::COUNT).collect::<Vec<_>>());
        let names: std::collections::BTreeSet<_> = Outcome::all().map(Outcome::name).collect();
        assert_eq!(names.len(), Outcome::COUNT);
    }
}
