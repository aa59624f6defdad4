//! A ring of points, as Karger and others describe it (STOC 1997) and libketama made it common: each
//! upstream has points on a circle in proportion to its weight, and a key belongs to the first point at or
//! after it. When an upstream goes, its keys alone move.

use super::hash;

/// Points of an upstream of mean weight: ketama's number. The shares then differ by some 8 %.
const POINTS: u64 = 160;

/// The most points of a ring. With more upstreams than fit, each has fewer points.
const MAX_POINTS: u64 = 1 << 17;

/// The points, in order.
#[derive(Debug)]
pub(crate) struct Ring(Box<[(u64, u32)]>);

impl Ring {
    /// The ring of `names` with their weights.
    pub(crate) fn new(names: &[(String, u32)]) -> Self {
        let sum: u64 = names.iter().map(|(_, weight)| u64::from(*weight)).sum::<u64>().max(1);
        let all = (POINTS * names.len() as u64).min(MAX_POINTS);
        let mut points = Vec::new();
        for (index, (name, weight)) in (0u32..).zip(names) {
            let count = (all * u64::from(*weight)).div_ceil(sum);
            let name = hash::hash(name.as_bytes());
            points.extend((0..count).map(|point| (hash::with(name, point), index)));
        }
        points.sort_unstable();
        Ring(points.into())
    }

    /// The upstreams in the order in which `key` would have them; each comes many times.
    pub(crate) fn from(&self, key: u64) -> impl Iterator<Item = usize> + '_ {
        let start = self.0.partition_point(|&(point, _)| point < key);
        let (before, after) = self.0.split_at(start);
        after.iter().chain(before).map(|&(_, index)| index as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(count: usize) -> Vec<(String, u32)> {
        (0..count).map(|n| (format!("a-stateless-{n}"), 1)).collect()
    }

    fn owner<'a>(ring: &Ring, names: &'a [(String, u32)], key: u64) -> &'a str {
        &names[ring.from(key).next().expect("someone")].0
    }

    proptest! {
        #[test]
        fn only_the_keys_of_who_is_gone_move(count in 2usize..30, gone in 0usize..30, seed: u64) {
            let before = names(count);
            let mut after = before.clone();
            let gone = after.remove(gone % count).0;
            let rings = (Ring::new(&before), Ring::new(&after));
            for n in 0..500 {
                let key = hash::with(seed, n);
                let old = owner(&rings.0, &before, key);
                if old != gone {
                    prop_assert_eq!(old, owner(&rings.1, &after, key));
                } else {
                    // Where it goes is where it would have gone had the owner not fitted.
                    let next = rings.0.from(key).map(|index| &before[index].0).find(|name| **name != gone);
                    prop_assert_eq!(next.map(String::as_str), Some(owner(&rings.1, &after, key)));
                }
            }
        }
    }

    #[test]
    fn shares_follow_weights_within_bounds() {
        let weights = [1, 1, 2, 4];
        let weighted: Vec<(String, u32)> =
            weights.into_iter().enumerate().map(|(n, weight)| (format!("m-{n}"), weight)).collect();
        let ring = Ring::new(&weighted);
        let mut counts = [0u32; 4];
        for n in 0..80_000 {
            counts[ring.from(hash::with(1, n)).next().expect("someone")] += 1;
        }
        for (count, (_, weight)) in counts.iter().zip(&weighted) {
            let share = f64::from(*count) / 10_000.0 / f64::from(*weight);
            assert!((0.7..1.3).contains(&share), "{counts:?}");
        }
    }
}
