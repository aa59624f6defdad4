//! What is made once for a set, so that a request only looks it up: who is near, orders, tables, cookies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use rand::RngExt;
use wire::PoolName;
use wire::balancing::{Algorithm, Balance};

use super::super::state::members::View;
use super::super::state::pool::{Member, Rank};
use super::alias::Alias;
use super::ask::Ask;
use super::hash;
use super::load::{self, Group, of_two};
use super::maglev::Maglev;
use super::ring::Ring;
use super::round_robin::RoundRobin;
use super::same;
use super::sticky::Cookies;

/// How far along a table is looked for an upstream that fits. Beyond it nearly all are out of use, and
/// which one of the few that are left is taken matters less than when.
const LOOKED_AT: usize = 4_096;

/// Makes a key's threshold another number than its place.
const THRESHOLD: u64 = 0x7468_7265_7368;

/// How one pool's requests are spread.
#[derive(Debug)]
pub(crate) struct Spread {
    tiers: [Tier; Rank::USED.len()],
    cookies: Option<Cookies>,
    /// The members of the machine of each cookie.
    held: Box<[Box<[usize]>]>,
}

/// The members of one rank.
#[derive(Debug)]
struct Tier {
    near: Part,
    far: Part,
    table: Option<Table>,
}

/// Those of them in this balancer's zone, or in others.
#[derive(Debug)]
struct Part {
    rank: Rank,
    near: bool,
    is_empty: bool,
    alias: Option<Alias>,
    turns: Option<RoundRobin>,
}

/// A table of hashes, and whom its indices mean now.
#[derive(Debug)]
struct Table {
    made: Arc<Made>,
    /// Indices into the members.
    order: Box<[usize]>,
}

/// What is expensive to make and depends on names and weights alone: it is kept from set to set.
#[derive(Debug)]
struct Made {
    names: Vec<(String, u32)>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Ring(Ring),
    Maglev(Maglev),
}

impl Spread {
    /// For `members`, all those of a pool.
    pub(crate) fn new(
        balance: &Balance,
        pool: &PoolName,
        members: View<'_>,
        before: Option<&Spread>,
    ) -> Self {
        let cookies = balance.sticky.as_ref().map(|sticky| {
            let machines = members.iter().map(|member| member.upstream.id.machine());
            Cookies::new(sticky, pool, machines, before.and_then(|before| before.cookies.as_ref()))
        });
        let held = cookies.as_ref().map(|cookies| held(cookies, members)).unwrap_or_default();
        let tiers = Rank::USED.map(|rank| {
            let before = before.and_then(|before| before.tiers.get(rank as usize));
            Tier::new(balance.algorithm, members, rank, before)
        });
        Spread { tiers, cookies, held }
    }

    /// The cookies, where clients are given any.
    pub(crate) fn cookies(&self) -> Option<&Cookies> {
        self.cookies.as_ref()
    }

    /// The members of the machine of cookie `index`.
    pub(crate) fn held(&self, index: usize) -> &[usize] {
        self.held.get(index).map_or(&[], |held| held)
    }

    /// Whether the tables of the primaries are the same.
    #[cfg(test)]
    pub(crate) fn shares_table_with(&self, other: &Spread) -> bool {
        match (&self.tiers[0].table, &other.tiers[0].table) {
            (Some(one), Some(other)) => Arc::ptr_eq(&one.made, &other.made),
            _ => false,
        }
    }

    /// One of `rank` that fits.
    pub(crate) fn choose<'a>(
        &'a self,
        balance: &Balance,
        members: View<'a>,
        rank: Rank,
        (ask, now): (&Ask, Instant),
        fits: impl Fn(&'a Member) -> bool,
    ) -> Option<&'a Member> {
        let tier = self.tiers.get(rank as usize)?;
        if let (Some(table), Some(key)) = (&tier.table, ask.key) {
            return table.choose(members, key, now, &fits).or_else(|| {
                // So few are left that the table does not show them soon.
                tier.near.two(members, now, &fits).or_else(|| tier.far.two(members, now, &fits))
            });
        }
        let near = tier.near.choose(balance.algorithm, members, now, &fits);
        if tier.far.is_empty {
            return near;
        }
        let Some(near) = near else { return tier.far.choose(balance.algorithm, members, now, &fits) };
        // The other zones are asked by one that is idle enough, whatever the algorithm.
        let far = tier.far.two(members, now, &fits);
        let spills = |far: &&Member| load::compared(near, far, now) > balance.zone_spill;
        Some(far.filter(spills).unwrap_or(near))
    }
}

/// The members of the machine of each cookie.
fn held(cookies: &Cookies, members: View<'_>) -> Box<[Box<[usize]>]> {
    let mut of_machines: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, member) in members.iter().enumerate() {
        of_machines.entry(member.upstream.id.machine()).or_default().push(at);
    }
    let held = |index| cookies.machine(index).and_then(|machine| of_machines.remove(machine));
    (0..cookies.len()).map(held).map(|held| held.unwrap_or_default().into()).collect()
}

impl Tier {
    fn new(algorithm: Algorithm, members: View<'_>, rank: Rank, before: Option<&Tier>) -> Self {
        let table = match algorithm {
            _ if members.ranked(rank).is_empty() => None,
            Algorithm::RingHash | Algorithm::Maglev => {
                Some(Table::new(algorithm, members, rank, before.and_then(|before| before.table.as_ref())))
            }
            Algorithm::PeakEwma | Algorithm::RoundRobin | Algorithm::LeastRequests => None,
        };
        let part = |near, before| Part::new(algorithm, members, (rank, near), before);
        Tier {
            near: part(true, before.map(|before| &before.near)),
            far: part(false, before.map(|before| &before.far)),
            table,
        }
    }
}

impl Part {
    fn new(
        algorithm: Algorithm,
        members: View<'_>,
        (rank, near): (Rank, bool),
        before: Option<&Part>,
    ) -> Self {
        let members = members.part(rank, near);
        let weights = || members.iter().map(|member| member.weight).collect::<Vec<_>>();
        // Where they go on in turns, they do so from where they were.
        let next = before
            .and_then(|before| before.turns.as_ref())
            .map_or_else(|| rand::rng().random_range(0..=usize::from(u16::MAX)), RoundRobin::at);
        let turns = match algorithm {
            Algorithm::RoundRobin if members.is_empty() => None,
            Algorithm::RoundRobin if members.is_uneven() => Some(RoundRobin::new(&weights(), next)),
            Algorithm::RoundRobin => Some(RoundRobin::even(members.len(), next)),
            _ => None,
        };
        let alias = members.is_uneven().then(|| Alias::new(&weights())).flatten();
        Part { rank, near, is_empty: members.is_empty(), alias, turns }
    }

    fn group<'a>(&'a self, members: View<'a>) -> Group<'a> {
        Group { members: members.part(self.rank, self.near), alias: self.alias.as_ref() }
    }

    fn two<'a>(
        &'a self,
        members: View<'a>,
        now: Instant,
        fits: &impl Fn(&'a Member) -> bool,
    ) -> Option<&'a Member> {
        of_two(self.group(members), now, fits)
    }

    fn choose<'a>(
        &'a self,
        algorithm: Algorithm,
        members: View<'a>,
        now: Instant,
        fits: &impl Fn(&'a Member) -> bool,
    ) -> Option<&'a Member> {
        match (algorithm, &self.turns) {
            (Algorithm::LeastRequests, _) => load::least(self.group(members), now, fits),
            (Algorithm::RoundRobin, Some(turns)) => {
                let group = self.group(members).members;
                let is_ripe = |member: &&'a Member| fits(member) && load::is_ripe(member, group, now);
                let ripe = turns.next(|index| group.get(index).filter(is_ripe));
                // Nobody but new ones, by chance: one of these, then.
                ripe.or_else(|| self.two(members, now, fits))
            }
            (_, _) => self.two(members, now, fits),
        }
    }
}

impl Table {
    fn new(algorithm: Algorithm, members: View<'_>, rank: Rank, before: Option<&Table>) -> Self {
        let mut order: Vec<_> = (members.start(rank)..).zip(members.ranked(rank)).collect();
        // All balancers have the same order, whatever that of their sets.
        order.sort_by(|(_, one), (_, other)| one.upstream.id.cmp(&other.upstream.id));
        let name = |(_, member): &(usize, &Member)| (member.upstream.id.machine().to_owned(), member.weight);
        let names: Vec<_> = order.iter().map(name).collect();
        let order = order.into_iter().map(|(at, _)| at).collect();
        let same = |made: &&Arc<Made>| {
            made.names == names
                && matches!(
                    (algorithm, &made.kind),
                    (Algorithm::RingHash, Kind::Ring(_)) | (Algorithm::Maglev, Kind::Maglev(_))
                )
        };
        let made = before.map(|table| &table.made).filter(same).cloned().unwrap_or_else(|| {
            let kind = match algorithm {
                Algorithm::Maglev => Kind::Maglev(Maglev::new(&names)),
                _ => Kind::Ring(Ring::new(&names)),
            };
            Arc::new(Made { names, kind })
        });
        Table { made, order }
    }

    fn choose<'a>(
        &self,
        members: View<'a>,
        key: u64,
        now: Instant,
        fits: &impl Fn(&'a Member) -> bool,
    ) -> Option<&'a Member> {
        match &self.made.kind {
            Kind::Ring(ring) => self.first(members, key, now, fits, ring.from(key)),
            Kind::Maglev(maglev) => self.first(members, key, now, fits, maglev.from(key)),
        }
    }

    /// The first that fits. A new one takes its keys over one by one from those that come next: each comes
    /// for good when the share it has reached, measured by that of the next, passes the key's own threshold.
    fn first<'a>(
        &self,
        members: View<'a>,
        key: u64,
        now: Instant,
        fits: &impl Fn(&'a Member) -> bool,
        order: impl Iterator<Item = usize>,
    ) -> Option<&'a Member> {
        let mut new: Option<(&Member, f64)> = None;
        let mut last = usize::MAX;
        for index in order.take(LOOKED_AT) {
            if index == last {
                continue;
            }
            last = index;
            let Some(member) = self.order.get(index).and_then(|&at| members.get(at)) else { continue };
            if !fits(member) || new.is_some_and(|(first, _)| same(&first.upstream, &member.upstream)) {
                continue;
            }
            let ramp = member.upstream.ramp(now);
            match new {
                None if ramp >= 1.0 => return Some(member),
                None if self.order.len() == 1 => return Some(member),
                None => new = Some((member, ramp)),
                Some((first, reached)) => {
                    let threshold = hash::unit(hash::with(key, THRESHOLD));
                    return Some(if threshold * ramp < reached { first } else { member });
                }
            }
        }
        new.map(|(member, _)| member)
    }
}
