//! Looks after the upstreams: one task for each asks it when its schedule says, and does what follows.
//!
//! All tasks share a thread of their own: a check never waits behind requests, nor they behind it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use wire::proxy_config::PoolPolicy;

use super::super::balance::same;
use super::super::health::{self, Failure};
use super::super::primary;
use super::super::state::State;
use super::super::state::pool::Pool;
use super::super::state::upstream::Upstream;
use super::record::{Last, Record};
use super::schedule::{Schedule, Step};
use super::{Fault, Outcome, ask};

/// So many checks are under way at a time; others wait for their turn. Each has a socket.
const AT_A_TIME: usize = 256;

/// Checks the upstreams of `state` for ever.
pub(crate) async fn run(state: Arc<State>) {
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let mut watches = JoinSet::new();
    loop {
        for upstream in state.take_new() {
            // It may have gone meanwhile.
            if let Some(watched) = Watched::begin(&upstream).filter(|_| !upstream.is_retired()) {
                watches.spawn(watch(state.clone(), watched, turns.clone()));
            }
        }
        tokio::select! {
            () = state.swapped.notified() => {}
            Some(ended) = watches.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "THE CHECKS OF AN UPSTREAM FAILED; they begin anew");
                state.look_after_all();
            },
        }
    }
}

/// An upstream that is looked after, until this is dropped.
struct Watched(Arc<Upstream>);

impl Watched {
    fn begin(upstream: &Arc<Upstream>) -> Option<Self> {
        upstream.health.checks.begin_watch().then(|| Watched(upstream.clone()))
    }

    fn checks(&self) -> &Record {
        &self.0.health.checks
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.checks().end_watch();
    }
}

/// Looks after one upstream until it is retired.
async fn watch(state: Arc<State>, watched: Watched, turns: Arc<Semaphore>) {
    let upstream = &watched.0;
    let mut schedule =
        Schedule::new(upstream.policy(), upstream.is_ejected(), Instant::now(), &mut rand::rng());
    while !upstream.is_retired() {
        hear(&watched, &mut schedule);
        let now = Instant::now();
        match schedule.due() {
            Some(due) if due <= now => {}
            due => {
                tokio::select! {
                    () = watched.checks().news.notified() => {}
                    () = until(due) => {}
                }
                continue;
            }
        }
        let (begun, outcome) = tokio::select! {
            biased;
            () = is_moot(&watched, schedule.policy()) => continue,
            checked = in_turn(upstream, schedule.policy(), &turns) => checked,
        };
        let now = Instant::now();
        schedule.began(begun);
        let before = watched.checks().note(outcome, begun, now);
        let change = Change::between(before, outcome);
        tell(upstream, change);
        if upstream.policy().primary_only
            && (outcome.is_err() || before.map(|last| last.outcome) != Some(outcome))
        {
            primary::news();
        }
        let elsewhere = schedule.policy().check.port.is_some_and(|port| port != upstream.address.port());
        if elsewhere && (outcome.is_ok() || outcome.is_err_and(Fault::is_answer)) {
            // A check where requests go has noted it when it connected (`stream`). This one says only that
            // something is there again, but without it requests that are held would wait for a new one to find out.
            health::connected(upstream);
        }
        // What it said before it was ejected does not bring it back.
        if !watched.checks().is_ejection_new() {
            let passed = (outcome != Err(Fault::Void)).then_some(outcome.is_ok());
            match (schedule.ended(passed, now, &mut rand::rng()), outcome) {
                (Step::None, _) | (Step::Eject(_), Ok(_)) => {}
                (Step::Eject(in_a_row), Err(fault)) => fell(&state, upstream, fault, in_a_row),
                (Step::Readmit, _) => health::readmit(upstream),
            }
        }
    }
}

/// Checks `upstream` as `policy` has it, when it has its turn. Returns when that was.
async fn in_turn(upstream: &Arc<Upstream>, policy: &PoolPolicy, turns: &Semaphore) -> (Instant, Outcome) {
    // Never closed; without it the check would only not be counted.
    let _turn = turns.acquire().await;
    let begun = Instant::now();
    (begun, ask(upstream, &policy.check).await)
}

/// Resolves when nobody wants to know any more what the check of `policy` says.
async fn is_moot(watched: &Watched, policy: &PoolPolicy) {
    // What else is news is looked at when the check is over.
    while !watched.0.is_retired() && watched.0.policy().check == policy.check {
        watched.checks().news.notified().await;
    }
}

/// Takes in what others told.
fn hear(watched: &Watched, schedule: &mut Schedule) {
    let (upstream, now) = (&watched.0, Instant::now());
    if schedule.adopt(upstream.policy(), now, &mut rand::rng()) {
        watched.checks().forget();
    }
    schedule.leave_to_others(watched.checks().is_left_to_others(), now, &mut rand::rng());
    if let Some(ejection) = watched.checks().take_ejection() {
        schedule.ejected(ejection, now, &mut rand::rng());
    }
    if watched.checks().take_trouble() {
        schedule.trouble(now);
    }
    if watched.checks().take_want() {
        schedule.wanted(now);
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// What a check changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Nothing.
    None,
    /// It passed until now, or this was the first.
    Fails(Fault),
    /// It failed until now.
    Passes,
}

impl Change {
    fn between(before: Option<Last>, outcome: Outcome) -> Self {
        match (before.map(|before| before.outcome.is_ok()), outcome) {
            (Some(true) | None, Err(fault)) => Change::Fails(fault),
            (Some(false), Ok(_)) => Change::Passes,
            (Some(true) | None, Ok(_)) | (Some(false), Err(_)) => Change::None,
        }
    }
}

/// Says it once, however often it is asked.
fn tell(upstream: &Upstream, change: Change) {
    match change {
        Change::None => {}
        Change::Fails(fault) => tracing::warn!(
            upstream = %upstream.id, address = %upstream.address, reason = %fault, "check failed"
        ),
        Change::Passes => {
            tracing::info!(upstream = %upstream.id, address = %upstream.address, "check passed");
        }
    }
}

/// Ejects `upstream`, whose checks fail, unless its pool needs it.
fn fell(state: &State, upstream: &Arc<Upstream>, fault: Fault, in_a_row: u32) {
    let snapshot = state.snapshot();
    let has_it = |pool: &&Arc<Pool>| pool.members().iter().any(|member| same(&member.upstream, upstream));
    let Some(pool) = snapshot.pools.values().find(has_it) else { return };
    // As with requests: whoever answers at all is better than too few.
    let (failure, may_go) = if fault.is_answer() {
        (Failure::CheckAnswer, pool.can_spare(upstream))
    } else {
        (Failure::Check, !pool.is_last_usable(upstream))
    };
    if may_go {
        health::eject(pool, upstream, failure, in_a_row);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    #[test]
    fn what_does_not_change_is_not_said_again() {
        let (record, now) = (Record::default(), Instant::now());
        let (well, refused) = (Ok(Role::Any), Err(Fault::Refused));
        for (outcome, change) in [
            (well, Change::None),
            (well, Change::None),
            (refused, Change::Fails(Fault::Refused)),
            (refused, Change::None),
            (Err(Fault::Timeout), Change::None),
            (well, Change::Passes),
            (well, Change::None),
        ] {
            assert_eq!(Change::between(record.note(outcome, now, now), outcome), change);
        }
        assert_eq!(Change::between(None, refused), Change::Fails(Fault::Refused), "the first one is said");
    }
}
