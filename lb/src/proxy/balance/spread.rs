//! What is made once for a set, so that a request only looks it up: who is near, orders, tables, cookies.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use rand::RngExt;
use wire::PoolName;
use wire::balancing::{Algorithm, Balance};

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
    range: Range<usize>,
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
    /// For `members`, of which those of each rank are in its range of `ranks`, near ones first.
    pub(crate) fn new(
        balance: &Balance,
        pool: &PoolName,
        members: &[Member],
        ranks: [Range<usize>; Rank::USED.len()],
        before: Option<&Spread>,
    ) -> Self {
        let machine = |member: &Member| member.upstream.id.machine().to_owned();
        let cookies = balance.sticky.as_ref().map(|sticky| {
            Cookies::new(sticky, pool, members.iter().map(|member| member.upstream.id.machine()))
        });
        let held = (0..cookies.as_ref().map_or(0, Cookies::len)).map(|index| {
            let held = cookies.as_ref().and_then(|cookies| cookies.machine(index));
            let is_held =
                |(at, member): (usize, &Member)| (Some(machine(member).as_str()) == held).then_some(at);
            members.iter().enumerate().filter_map(is_held).collect()
        });
        let held = held.collect();
        let mut index = 0;
        let tiers = ranks.map(|range| {
            let before = before.and_then(|before| before.tiers.get(index)?.table.as_ref());
            index += 1;
            Tier::new(balance.algorithm, members, range, before)
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
        members: &'a [Member],
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
        if tier.far.range.is_empty() {
            return near;
        }
        let Some(near) = near else { return tier.far.choose(balance.algorithm, members, now, &fits) };
        // The other zones are asked by one that is idle enough, whatever the algorithm.
        let far = tier.far.two(members, now, &fits);
        let spills = |far: &&Member| load::compared(near, far, now) > balance.zone_spill;
        Some(far.filter(spills).unwrap_or(near))
    }
}

impl Tier {
    fn new(algorithm: Algorithm, members: &[Member], range: Range<usize>, before: Option<&Table>) -> Self {
        let near = members[range.clone()].partition_point(|member| member.near) + range.start;
        let table = match algorithm {
            _ if range.is_empty() => None,
            Algorithm::RingHash | Algorithm::Maglev => {
                Some(Table::new(algorithm, members, range.clone(), before))
            }
            Algorithm::PeakEwma | Algorithm::RoundRobin | Algorithm::LeastRequests => None,
        };
        Tier {
            near: Part::new(algorithm, members, range.start..near),
            far: Part::new(algorithm, members, near..range.end),
            table,
        }
    }
}

impl Part {
    fn new(algorithm: Algorithm, members: &[Member], range: Range<usize>) -> Self {
        let weights: Vec<u32> = members[range.clone()].iter().map(|member| member.weight).collect();
        let turns = (algorithm == Algorithm::RoundRobin && !weights.is_empty())
            .then(|| RoundRobin::new(&weights, rand::rng().random_range(0..=usize::from(u16::MAX))));
        Part { range, alias: Alias::new(&weights), turns }
    }

    fn group<'a>(&'a self, members: &'a [Member]) -> Group<'a> {
        Group { members: &members[self.range.clone()], alias: self.alias.as_ref() }
    }

    fn two<'a>(
        &'a self,
        members: &'a [Member],
        now: Instant,
        fits: &impl Fn(&'a Member) -> bool,
    ) -> Option<&'a Member> {
        of_two(self.group(members), now, fits)
    }

    fn choose<'a>(
        &'a self,
        algorithm: Algorithm,
        members: &'a [Member],
        now: Instant,
        fits: &impl Fn(&'a Member) -> bool,
    ) -> Option<&'a Member> {
        match (algorithm, &self.turns) {
            (Algorithm::LeastRequests, _) => load::least(self.group(members), now, fits),
            (Algorithm::RoundRobin, Some(turns)) => {
                let group = self.group(members).members;
                let ripe =
                    turns.next(|index| fits(&group[index]) && load::is_ripe(&group[index], group, now));
                // Nobody but new ones, by chance: one of these, then.
                ripe.map(|index| &group[index]).or_else(|| self.two(members, now, fits))
            }
            (_, _) => self.two(members, now, fits),
        }
    }
}

impl Table {
    fn new(algorithm: Algorithm, members: &[Member], range: Range<usize>, before: Option<&Table>) -> Self {
        let mut order: Vec<usize> = range.collect();
        // All balancers have the same order, whatever that of their sets.
        order.sort_by(|&one, &other| members[one].upstream.id.cmp(&members[other].upstream.id));
        let name = |&index: &usize| (members[index].upstream.id.machine().to_owned(), members[index].weight);
        let names: Vec<_> = order.iter().map(name).collect();
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
        Table { made, order: order.into() }
    }

    fn choose<'a>(
        &self,
        members: &'a [Member],
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
        members: &'a [Member],
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
            let member = &members[self.order[index]];
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
