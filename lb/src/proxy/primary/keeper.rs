//! Looks after the primaries of all pools: ends terms and begins them, whenever something may have changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep_until};
use wire::EndpointId;
use wire::vip::{RouterState, VipStatus};

use super::super::check::Role;
use super::super::lock;
use super::super::state::State;
use super::super::state::pool::{Member, Pool};
use super::super::state::upstream::Upstream;
use super::super::tcp::ended::Ended;
use super::super::tcp::streams::{Entry, Phase};
use super::choose::{Candidate, Choice, PATIENCE, Standing, Word, choose};
use super::{NEWS, Term};
use crate::link::VipLink;

/// The speaker is asked this often whether we hold the address of who decides, while any pool has a primary.
const LOOK: Duration = Duration::from_millis(100);

/// Whether this balancer goes by its own view.
#[derive(Debug)]
pub(crate) struct Decides(AtomicBool);

impl Default for Decides {
    /// One without virtual addresses always does.
    fn default() -> Self {
        Decides(AtomicBool::new(true))
    }
}

impl Decides {
    /// Whether it does.
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, decides: bool) {
        if self.0.swap(decides, Ordering::Relaxed) != decides {
            tracing::info!(decides, "whether primaries are chosen here has changed");
        }
    }
}

/// Keeps the primaries of `state` for ever; `vips` is asked which virtual addresses are held, if there are any.
pub(crate) async fn run(state: Arc<State>, vips: Option<VipLink>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if vips.is_some() {
        state.decides.set(false);
    }
    loop {
        let mut news = std::pin::pin!(NEWS.notified());
        news.as_mut().enable();
        let (mut again, mut any) = (None::<Instant>, false);
        let snapshot = state.snapshot().clone();
        for pool in snapshot.pools.values() {
            any |= pool.policy.primary_only;
            let named = snapshot.config.primaries.get(&pool.name);
            let Step { due, ended, begun } = step(pool, named, state.decides.get(), Instant::now());
            again = [again, due].into_iter().flatten().min();
            if let Some(upstream) = ended {
                close(&state, pool, |entry| entry.is_at(&upstream));
            }
            // Of the time before the pool had a primary, there may be others.
            if let Some(upstream) = begun {
                close(&state, pool, |entry| !entry.is_at(&upstream));
            }
        }
        drop(snapshot);
        tokio::select! {
            () = news => {}
            () = until(again) => {}
            _ = looks.tick(), if any && vips.is_some() => if let Some(vips) = &vips {
                let holds = vips.status().await.is_ok_and(|status| holds_the_first(&status));
                state.decides.set(holds);
            },
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Has the connections of `pool` that `are_meant` be closed. Those that are not open yet look themselves.
fn close(state: &State, pool: &Pool, are_meant: impl Fn(&Entry) -> bool) {
    let is_open = |entry: &Entry| matches!(entry.phase(), Phase::Open | Phase::HalfClosed);
    let connections = state.tcp.streams.end(Ended::Replaced, |entry| {
        is_open(entry) && entry.whose().is_some_and(|whose| whose.pool == pool.name) && are_meant(entry)
    });
    if connections > 0 {
        tracing::info!(pool = %pool.name, connections, "connections to others than the primary are closed");
    }
}

/// Whether the first virtual address is held here: of all balancers only one does.
fn holds_the_first(status: &VipStatus) -> bool {
    let first = status.routers.iter().min_by_key(|router| (router.vrid, router.address));
    first.is_some_and(|router| router.state == RouterState::Master)
}

/// What came of a look at one pool.
#[derive(Debug, Default)]
struct Step {
    /// When to look again, if nothing happens before.
    due: Option<Instant>,
    /// Whose time is over.
    ended: Option<Arc<Upstream>>,
    /// Whose time begins.
    begun: Option<Arc<Upstream>>,
}

/// Does for one pool what is to be done.
fn step(pool: &Pool, named: Option<&EndpointId>, decides: bool, now: Instant) -> Step {
    let primary = &pool.lasting.primary;
    let mut held = lock(&primary.held);
    if !pool.policy.primary_only {
        let ended = held.end();
        held.is_occupied();
        return Step { due: None, ended, begun: None };
    }
    let candidates: Vec<Candidate> = pool.members().iter().map(|member| candidate(pool, member)).collect();
    let mut due = None;
    let word = match named.filter(|_| !decides) {
        None => Word::Ours(named),
        Some(named) => {
            let is_ill = candidates.iter().any(|one| one.id == *named && one.standing == Standing::Ill);
            let since = held.named_ill_since.filter(|_| is_ill).or(is_ill.then_some(now));
            held.named_ill_since = since;
            match since.map(|since| since + PATIENCE) {
                Some(until) if until <= now => Word::Ours(None),
                until => {
                    due = until;
                    Word::Named(named)
                }
            }
        }
    };
    // The record counts, and not the name: one that came anew under its old name has connections to nowhere.
    let is_here =
        |term: &Arc<Term>| pool.members().iter().any(|member| Arc::ptr_eq(&member.upstream, &term.upstream));
    let present = held.present.clone().filter(is_here).map(|term| term.upstream.id.clone());
    let Choice { id, reason } = choose(&candidates, present.as_ref(), word);
    if id.is_some() && id == present.as_ref() {
        reason.clone_into(&mut held.reason);
        return Step { due, ..Step::default() };
    }
    if let Some(term) = &held.present {
        tracing::warn!(
            pool = %pool.name, upstream = %term.upstream.id, connections = term.stays.len(), reason = why(pool, term),
            "its time as the primary is over"
        );
    }
    let ended = held.end();
    if held.is_occupied() {
        if let Some(ending) = &held.ending {
            tokio::spawn(wake_after(ending.clone()));
        }
        "connections to the one before are being closed".clone_into(&mut held.reason);
        return Step { due, ended, begun: None };
    }
    let chosen = id.and_then(|id| pool.members().iter().find(|member| member.upstream.id == *id));
    match chosen {
        Some(member) => {
            tracing::info!(
                pool = %pool.name, upstream = %member.upstream.id, address = %member.upstream.address, reason,
                "is the primary"
            );
            held.present = Some(Arc::new(Term::new(member.upstream.clone(), now)));
            primary.terms.fetch_add(1, Ordering::Relaxed);
            primary.begun.notify_waiters();
        }
        None if held.reason != reason => {
            tracing::warn!(pool = %pool.name, reason, "THERE IS NO PRIMARY");
        }
        None => {}
    }
    reason.clone_into(&mut held.reason);
    Step { due, ended, begun: chosen.map(|member| member.upstream.clone()) }
}

/// Has everybody look again when nobody stays in `term` any more.
async fn wake_after(term: Arc<Term>) {
    term.stays.wait().await;
    super::news();
}

/// Why the primary of `term` is none any more.
fn why(pool: &Pool, term: &Term) -> String {
    let upstream = &term.upstream;
    match upstream.health.checks.standing(pool.policy.check.fall) {
        Some(Err(fault)) => fault.to_string(),
        Some(Ok(Role::Standby)) => "it takes no writes any more".to_owned(),
        _ if upstream.is_retired() => "it is not in the set any more".to_owned(),
        _ if upstream.is_ejected() => "it is ejected".to_owned(),
        _ if pool.eligible().iter().all(|member| !Arc::ptr_eq(&member.upstream, upstream)) => {
            "it is to be given nothing".to_owned()
        }
        _ => "another one is to be it".to_owned(),
    }
}

fn candidate(pool: &Pool, member: &Member) -> Candidate {
    let upstream = &member.upstream;
    let checks = &upstream.health.checks;
    let standing = match checks.standing(pool.policy.check.fall) {
        _ if upstream.is_ejected() => Standing::Ill,
        None if checks.last().is_none() => Standing::Unknown,
        Some(Ok(Role::Standby)) => Standing::Standby,
        Some(Ok(Role::Any | Role::Writer)) => Standing::Well,
        None | Some(Err(_)) => Standing::Ill,
    };
    Candidate { id: upstream.id.clone(), rank: member.rank, standing }
}

#[cfg(test)]
mod tests;
