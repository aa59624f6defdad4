//! Chooses the upstream for a try: the best that can be had, by the pool's algorithm.
//!
//! ```text
//!   first   whom the request's cookie names, or who is due a trial
//!   best    ready · ready backup · suspect      not ejected; in each, those not in doubt first
//!     │     those whose trial is under way
//!     │     any of these, ejected or not        (when everything looks bad, use everything)
//!   worst   draining                            (only when there is nothing else at all)
//!   never   in maintenance, or with its fill of requests
//! ```
//!
//! `spread` is made once for a set and has what the algorithms (`load`, `round_robin`, `ring`, `maglev`,
//! `sticky`) need; `ask` is made once for a request. See `docs/balancing.md`.

mod alias;
pub(crate) mod ask;
pub(crate) mod hash;
pub(crate) mod latency;
mod load;
pub(crate) mod maglev;
mod ring;
pub(crate) mod round_robin;
pub(crate) mod spread;
pub(crate) mod sticky;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use self::ask::Ask;
use self::load::{Group, of_two};
use super::state::pool::{Member, Pool, Rank};
use super::state::upstream::Upstream;

/// Whom to try, and whom not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick<'a> {
    /// The upstream to try next.
    pub(crate) member: &'a Member,
    /// One that was met and is in doubt: someone should look into it.
    pub(crate) in_doubt: Option<&'a Member>,
    /// The request is the upstream's trial.
    pub(crate) is_trial: bool,
}

/// Why there is nobody to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nobody {
    /// All have been tried, or there are none.
    Left,
    /// Somebody is there but has its fill of requests.
    HasRoom,
}

/// The upstream to try next, never one in `tried`.
///
/// # Errors
///
/// Why there is none.
pub(crate) fn pick<'a>(
    pool: &'a Pool,
    ask: &Ask,
    tried: &[Arc<Upstream>],
    now: Instant,
) -> Result<Pick<'a>, Nobody> {
    let untried = |member: &Member| !tried.iter().any(|other| same(other, &member.upstream));
    let fits = |member: &Member| member.upstream.has_room() && untried(member);
    let signals = pool.signals();
    if signals.trial_wanted {
        let due = |member: &&Member| {
            let upstream = &member.upstream;
            !upstream.is_ejected() && fits(member) && upstream.health.trial.claim(ask.repeatable, now)
        };
        if let Some(member) = pool.meant().iter().find(due) {
            return Ok(Pick { member, in_doubt: None, is_trial: true });
        }
    }
    let usable = |member: &Member| {
        (!member.upstream.is_ejected() || signals.panic && member.upstream.is_ejected_for_answers())
            && member.upstream.health.trial.is_over()
            && fits(member)
    };
    // Who answers a probe is better than who does not.
    let readmitted = |member: &Member| !member.upstream.is_ejected() && fits(member);
    let in_doubt = Cell::new(None);
    let trusted = |member: &'a Member| {
        let doubtful = member.upstream.is_in_doubt(now);
        if doubtful && usable(member) {
            in_doubt.set(Some(member));
        }
        !doubtful && usable(member)
    };
    let choose = |rank, which: &dyn Fn(&'a Member) -> bool| {
        pool.spread().choose(&pool.policy.balance, pool.members(), rank, (ask, now), which)
    };
    let two =
        |members, which: &dyn Fn(&'a Member) -> bool| of_two(Group { members, alias: None }, now, which);
    // Doubt is soft: it makes no backup or suspect better than what is meant to be used.
    let member = held(pool, ask, &trusted)
        .or_else(|| {
            Rank::USED.into_iter().find_map(|rank| choose(rank, &trusted).or_else(|| choose(rank, &usable)))
        })
        .or_else(|| Rank::USED.into_iter().find_map(|rank| two(pool.ranked(rank), &readmitted)))
        .or_else(|| two(pool.eligible(), &fits))
        .or_else(|| two(pool.ranked(Rank::Draining), &fits));
    match member {
        Some(member) => Ok(Pick { member, in_doubt: in_doubt.get(), is_trial: false }),
        None if pool.offered().iter().any(untried) => Err(Nobody::HasRoom),
        None => Err(Nobody::Left),
    }
}

/// The upstream that the request's cookie names, if it is one that requests are meant for.
fn held<'a>(pool: &'a Pool, ask: &Ask, trusted: &impl Fn(&'a Member) -> bool) -> Option<&'a Member> {
    let held = pool.spread().held(ask.sticky?);
    let members = held.iter().filter_map(|&index| pool.members().get(index));
    members.filter(|member| member.rank <= Rank::Backup).find(|member| trusted(member))
}

pub(crate) fn same(a: &Upstream, b: &Upstream) -> bool {
    std::ptr::eq(a, b)
}

#[cfg(test)]
mod tests;
