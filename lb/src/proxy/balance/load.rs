//! The algorithms that look at load: the better of two, and the least of all.
//!
//! "The power of two choices" (Mitzenmacher, IEEE TPDS 12(10), 2001) by peak-EWMA (Finagle, linkerd). The
//! two are drawn by weight, and what is compared is
//!
//! ```text
//!   times slower than usual × (requests in flight / weight + 1)
//! ```
//!
//! With (requests + 1) / weight, as it is often written, a light upstream would never be used while a
//! heavy one has nothing to do.

use std::time::Instant;

use rand::RngExt;

use super::super::state::members::View;
use super::super::state::pool::Member;
use super::alias::Alias;
use super::same;

/// Random draws for a candidate before all are looked through.
const DRAWS: usize = 4;

/// Up to so many members are all looked at for the least; of more, so many at random.
const LEAST_OF: usize = 64;

/// Latencies that differ by less than this are alike: the requests in flight decide.
const ALIKE: f64 = 2.0;

/// Some upstreams to draw from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a> {
    pub(crate) members: View<'a>,
    /// Draws by weight; none where they weigh the same.
    pub(crate) alias: Option<&'a Alias>,
}

/// The better of two that fit; none when none fits.
pub(crate) fn of_two<'a>(
    group: Group<'a>,
    now: Instant,
    fits: impl Fn(&'a Member) -> bool,
) -> Option<&'a Member> {
    let one = group.draw(now, &fits)?;
    let other = group.draw(now, &|member| fits(member) && !same(&member.upstream, &one.upstream));
    Some(other.filter(|other| compared(other, one, now) < 1.0).unwrap_or(one))
}

/// The one with the fewest requests in flight for its weight.
pub(crate) fn least<'a>(
    group: Group<'a>,
    now: Instant,
    fits: impl Fn(&'a Member) -> bool,
) -> Option<&'a Member> {
    let count = group.members.len();
    let start = if count > 1 { rand::rng().random_range(0..count) } else { 0 };
    let looked_at = (0..count.min(LEAST_OF)).filter_map(|step| match count {
        ..=LEAST_OF => group.members.get((start + step) % count),
        _ => group.draw(now, &fits),
    });
    let least = looked_at.fold(None, |best: Option<&Member>, member| {
        let fewer = best.is_none_or(|best| busy(member) < busy(best));
        if fewer && fits(member) && is_ripe(member, group.members, now) { Some(member) } else { best }
    });
    // Nobody but new ones, by chance: one of these, then.
    least.or_else(|| of_two(group, now, fits))
}

/// Whether `member` is to be taken this time: a new one is only so often as it has come to its share,
/// measured by that of another one. Where all are new, none is held back.
pub(crate) fn is_ripe(member: &Member, others: View<'_>, now: Instant) -> bool {
    let ramp = member.upstream.ramp(now);
    let count = others.len();
    if ramp >= 1.0 || count < 2 {
        return true;
    }
    let mut random = rand::rng();
    let at = random.random_range(0..count);
    let other = others.get(at).filter(|other| !same(&other.upstream, &member.upstream));
    let other = other.or_else(|| others.get((at + 1) % count));
    other.is_none_or(|other| random.random::<f64>() * other.upstream.ramp(now) < ramp)
}

/// How many times as loaded as `b` `a` is.
pub(crate) fn compared(a: &Member, b: &Member, now: Instant) -> f64 {
    let latency = a.upstream.latency.times_usual(now) / b.upstream.latency.times_usual(now);
    let latency = if (1.0 / ALIKE..=ALIKE).contains(&latency) { 1.0 } else { latency };
    latency * busy(a) / busy(b)
}

fn busy(member: &Member) -> f64 {
    f64::from(member.upstream.in_flight()) / f64::from(member.weight.max(1)) + 1.0
}

impl<'a> Group<'a> {
    /// A random member that fits, if there is any. One that is new is drawn less often.
    fn draw(self, now: Instant, fits: &impl Fn(&'a Member) -> bool) -> Option<&'a Member> {
        let members = self.members;
        let count = members.len();
        if count == 0 {
            return None;
        }
        let mut random = rand::rng();
        let mut spare = None;
        for _ in 0..DRAWS {
            let index = match self.alias {
                Some(alias) => alias.draw(random.random()),
                None => random.random_range(0..count),
            };
            let Some(member) = members.get(index) else { continue };
            if fits(member) {
                if is_ripe(member, members, now) {
                    return Some(member);
                }
                spare = Some(member);
            }
        }
        // Nobody but new ones was met: then one of these.
        if spare.is_some() {
            return spare;
        }
        // Few fit. From a random place on would favour the neighbours of those that do not; count instead.
        let all = members.iter().filter(|member| fits(member)).map(|member| u64::from(member.weight)).sum();
        let mut left = (all > 0u64).then(|| random.random_range(0..all))?;
        members.iter().filter(|member| fits(member)).find(|member| {
            let chosen = left < u64::from(member.weight);
            left = left.saturating_sub(member.weight.into());
            chosen
        })
    }
}
