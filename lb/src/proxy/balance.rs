//! Chooses the upstream for a try: of the best that can be had, two at random, and of those the one
//! with fewer requests in flight for its weight ("the power of two choices", Mitzenmacher 2001).
//!
//! ```text
//!   best    ready · ready backup · suspect      not ejected; in each, those not in doubt first
//!     │     any of these, ejected or not        (when everything looks bad, use everything)
//!   worst   draining                            (only when there is nothing else at all)
//! ```

use std::cell::Cell;
use std::time::Instant;

use rand::RngExt;

use super::state::pool::{Member, Pool, Rank};
use super::state::upstream::Upstream;

/// Random draws for a candidate before the whole rank is looked through.
const DRAWS: usize = 4;

/// Whom to try, and whom not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick<'a> {
    /// The upstream to try next.
    pub(crate) member: &'a Member,
    /// One that was met and is in doubt: someone should look into it.
    pub(crate) in_doubt: Option<&'a Member>,
}

/// The upstream to try next, never one in `tried`; none when all have been tried.
pub(crate) fn pick<'a>(pool: &'a Pool, tried: &[Member], now: Instant) -> Option<Pick<'a>> {
    let untried = |member: &Member| !tried.iter().any(|other| same(&other.upstream, &member.upstream));
    let usable = |member: &Member| !member.upstream.is_ejected() && untried(member);
    let in_doubt = Cell::new(None);
    let trusted = |member: &'a Member| {
        let doubtful = member.upstream.is_in_doubt(now);
        if doubtful && usable(member) {
            in_doubt.set(Some(member));
        }
        !doubtful && usable(member)
    };
    // Doubt is soft: it makes no backup or suspect better than what is meant to be used.
    let member = [Rank::Primary, Rank::Backup, Rank::Suspect]
        .into_iter()
        .find_map(|rank| {
            let members = pool.ranked(rank);
            of_two(members, trusted).or_else(|| of_two(members, usable))
        })
        .or_else(|| of_two(pool.eligible(), untried))
        .or_else(|| of_two(pool.ranked(Rank::Draining), untried))?;
    Some(Pick { member, in_doubt: in_doubt.get() })
}

fn of_two<'a>(members: &'a [Member], fits: impl Fn(&'a Member) -> bool) -> Option<&'a Member> {
    if members.is_empty() {
        return None;
    }
    let one = draw(members, &fits)?;
    let other = draw(members, &|member| fits(member) && !same(&member.upstream, &one.upstream));
    Some(other.filter(|other| load_is_less(other, one)).unwrap_or(one))
}

/// A random member that fits, if there is any.
fn draw<'a>(members: &'a [Member], fits: &impl Fn(&'a Member) -> bool) -> Option<&'a Member> {
    let mut random = rand::rng();
    for _ in 0..DRAWS {
        let member = &members[random.random_range(0..members.len())];
        if fits(member) {
            return Some(member);
        }
    }
    // Few fit. From a random place on would favour the neighbours of those that do not; count instead.
    let count = members.iter().filter(|member| fits(member)).count();
    let chosen = (count > 0).then(|| random.random_range(0..count))?;
    members.iter().filter(|member| fits(member)).nth(chosen)
}

/// Whether `a` would have less to do for its weight than `b`, with one more request each.
fn load_is_less(a: &Member, b: &Member) -> bool {
    let cost =
        |member: &Member, weight: u32| (u64::from(member.upstream.in_flight()) + 1) * u64::from(weight);
    cost(a, b.weight) < cost(b, a.weight)
}

pub(crate) fn same(a: &Upstream, b: &Upstream) -> bool {
    std::ptr::eq(a, b)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use wire::proxy_config::PoolPolicy;
    use wire::upstreams::UpstreamState;

    use super::*;

    fn member(name: &str, state: UpstreamState, backup: bool, weight: u32) -> Member {
        let described = wire::upstreams::Upstream {
            id: name.into(),
            address: [127, 0, 0, 1].into(),
            port: 1,
            weight,
            zone: "".into(),
            backup,
            state,
        };
        let upstream = Upstream::new(described.id.clone(), described.socket(), 1);
        Member::new(Arc::new(upstream), &described)
    }

    fn pool(members: Vec<Member>) -> Pool {
        Pool::new("p".into(), PoolPolicy::default(), None, members)
    }

    fn order(pool: &Pool) -> Vec<String> {
        let mut tried = Vec::new();
        while let Some(pick) = pick(pool, &tried, Instant::now()) {
            tried.push(pick.member.clone());
        }
        tried.iter().map(|member| member.upstream.id.to_string()).collect()
    }

    #[test]
    fn the_best_that_can_be_had_comes_first() {
        use UpstreamState::{Draining, Ready, Suspect};
        let ejected = member("ejected", Ready, false, 1);
        ejected.upstream.health.ejected.store(true, Ordering::Relaxed);
        let pool = pool(vec![
            member("draining", Draining, false, 1),
            member("suspect", Suspect, false, 1),
            ejected,
            member("backup", Ready, true, 1),
            member("ready", Ready, false, 1),
        ]);
        assert_eq!(order(&pool), ["ready", "backup", "suspect", "ejected", "draining"]);
    }

    #[test]
    fn who_owes_an_answer_too_long_comes_after_its_peers_until_a_byte_comes() {
        use UpstreamState::Ready;
        let pool = pool(vec![
            member("silent", Ready, false, 1),
            member("well", Ready, false, 1),
            member("backup", Ready, true, 1),
        ]);
        let silent = &pool.members()[0].upstream;
        let now = Instant::now();
        silent.asked(now, Duration::from_millis(100));
        let then = now + Duration::from_millis(101);
        for _ in 0..100 {
            assert_eq!(pick(&pool, &[], then).expect("someone").member.upstream.id.as_str(), "well");
        }
        let well = pool.members()[1].clone();
        let second = pick(&pool, std::slice::from_ref(&well), then).expect("someone");
        assert_eq!(second.member.upstream.id.as_str(), "silent", "rather than a backup");
        assert!(second.in_doubt.is_some_and(|member| same(&member.upstream, silent)));
        silent.touch();
        assert!(pick(&pool, &[well], then).expect("someone").in_doubt.is_none());
    }

    #[test]
    fn everyone_is_found_however_many_there_are() {
        let pool =
            pool((0..200).map(|n| member(&format!("{n:03}"), UpstreamState::Ready, false, 1)).collect());
        let mut order = order(&pool);
        order.sort();
        order.dedup();
        assert_eq!(order.len(), 200);
    }

    #[test]
    fn load_follows_weight() {
        let pool = pool(vec![
            member("light", UpstreamState::Ready, false, 1),
            member("heavy", UpstreamState::Ready, false, 3),
        ]);
        let mut in_flight = Vec::new();
        let mut count = BTreeMap::new();
        for _ in 0..400 {
            let upstream = &pick(&pool, &[], Instant::now()).expect("someone").member.upstream;
            in_flight.push(upstream.begin());
            *count.entry(upstream.id.to_string()).or_insert(0) += 1;
        }
        assert!((280..=320).contains(&count["heavy"]), "{count:?}");
    }
}
