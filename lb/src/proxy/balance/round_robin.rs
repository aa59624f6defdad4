//! Round robin by weight: a fixed order in which each upstream's turns are spread evenly, made once for a
//! set. The turns of an upstream of weight w are at (k + ½) / w of the way round, which is the order of an
//! earliest-deadline-first queue (as Envoy's) without the queue.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The longest order. Weights that would need a longer one are rounded.
const MAX_TURNS: u64 = 65_536;

/// Whose turn it is.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    turns: Turns,
    next: AtomicUsize,
}

#[derive(Debug)]
enum Turns {
    /// One for each of so many, in their order.
    Even(usize),
    /// By weight.
    Weighed(Box<[u32]>),
}

impl RoundRobin {
    /// The order for `weights`, beginning at `start`: balancers that begin at the same place would all
    /// call on the same upstream first.
    pub(crate) fn new(weights: &[u32], start: usize) -> Self {
        RoundRobin { turns: Turns::Weighed(order(weights, MAX_TURNS)), next: AtomicUsize::new(start) }
    }

    /// The order for `count` that weigh the same, beginning at `start`.
    pub(crate) fn even(count: usize, start: usize) -> Self {
        RoundRobin { turns: Turns::Even(count), next: AtomicUsize::new(start) }
    }

    /// How far the turns are.
    pub(crate) fn at(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    /// What `look` makes of the next upstream of which it makes anything. Those of which it makes nothing lose their turn.
    pub(crate) fn next<T>(&self, look: impl Fn(usize) -> Option<T>) -> Option<T> {
        let count = match &self.turns {
            Turns::Even(count) => *count,
            Turns::Weighed(turns) => turns.len(),
        };
        // A turn is taken for each step, not once for all of them: the neighbour of one that does not fit
        // would have its share on top of its own.
        (0..count).find_map(|_| {
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % count;
            look(match &self.turns {
                Turns::Even(_) => turn,
                Turns::Weighed(turns) => turns[turn] as usize,
            })
        })
    }
}

/// The order of turns for `weights`, as places in it, of `most` turns about, if that is as many as there are weights.
pub(crate) fn order(weights: &[u32], most: u64) -> Box<[u32]> {
    let divisor = weights.iter().fold(0, |divisor, &weight| gcd(divisor, u64::from(weight))).max(1);
    let sum = weights.iter().map(|&weight| u64::from(weight)).sum::<u64>() / divisor;
    let most = most.max(weights.len() as u64);
    let mut turns = Vec::new();
    for (index, &weight) in (0u32..).zip(weights) {
        let weight = u64::from(weight) / divisor;
        let weight = if sum > most { (weight * most / sum).max(1) } else { weight };
        #[allow(clippy::cast_precision_loss)] // so many turns are never needed
        turns.extend((0..weight).map(|turn| ((turn as f64 + 0.5) / weight as f64, index)));
    }
    turns.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    turns.into_iter().map(|(_, index)| index).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turns(order: &RoundRobin) -> &[u32] {
        match &order.turns {
            Turns::Weighed(turns) => turns,
            Turns::Even(_) => &[],
        }
    }

    #[test]
    fn turns_are_spread_evenly() {
        let order = RoundRobin::new(&[2, 1, 1], 0);
        let turns: Vec<_> = (0..8).filter_map(|_| order.next(Some)).collect();
        assert_eq!(turns, [0, 1, 2, 0, 0, 1, 2, 0]);
        let order = RoundRobin::even(3, 1);
        let turns: Vec<_> = (0..5).filter_map(|_| order.next(Some)).collect();
        assert_eq!(turns, [1, 2, 0, 1, 2]);
    }

    proptest! {
        #[test]
        fn each_round_has_exactly_its_turns(weights in prop::collection::vec(1u32..100, 1..30), start: u16) {
            let order = RoundRobin::new(&weights, start.into());
            let mut counts = vec![0; weights.len()];
            for _ in 0..turns(&order).len() {
                counts[order.next(Some).expect("someone")] += 1;
            }
            let divisor = weights.iter().fold(0, |divisor, &weight| gcd(divisor, weight.into()));
            let expected: Vec<u64> = weights.iter().map(|&weight| u64::from(weight) / divisor).collect();
            prop_assert_eq!(counts, expected);
        }

        #[test]
        fn whoever_does_not_fit_leaves_an_even_rest(count in 3usize..20, out in 0usize..20) {
            let out = out % count;
            let order = RoundRobin::new(&vec![1; count], 0);
            let mut counts = vec![0i32; count];
            for _ in 0..(count - 1) * 10 {
                counts[order.next(|index| (index != out).then_some(index)).expect("someone")] += 1;
            }
            prop_assert_eq!(counts[out], 0);
            for (index, turns) in counts.iter().enumerate().filter(|&(index, _)| index != out) {
                prop_assert!((turns - 10).abs() <= 1, "{} had {}", index, turns);
            }
        }
    }

    #[test]
    fn enormous_weights_are_rounded() {
        let order = RoundRobin::new(&[1_000_000, 999_999, 1], 0);
        assert!(turns(&order).len() as u64 <= MAX_TURNS + 3, "{}", turns(&order).len());
        assert!(turns(&order).contains(&2));
    }
}
