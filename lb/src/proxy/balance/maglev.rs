//! Maglev's table (Eisenbud and others, NSDI 2016, section 3.4): every upstream fills slots in an order of
//! its own, turn by turn, so that all have nearly the same number of slots, and when one goes hardly any
//! slot of the others changes. Weights as Envoy has them: a light upstream sits out turns.

use super::hash;

/// The table's size: a prime, 100 times the upstreams or more (the paper's two sizes).
const SIZES: [usize; 2] = [65_537, 655_373];

/// Slots for each upstream below which the larger table is taken.
const SLOTS_EACH: usize = 100;

const EMPTY: u32 = u32::MAX;

/// The owner of each slot.
#[derive(Debug)]
pub(crate) struct Maglev(Box<[u32]>);

impl Maglev {
    /// The table of `names` with their weights.
    pub(crate) fn new(names: &[(String, u32)]) -> Self {
        let size = if names.len() * SLOTS_EACH <= SIZES[0] { SIZES[0] } else { SIZES[1] };
        Self::of_size(names, size)
    }

    /// The same with `size` slots, a prime.
    pub(crate) fn of_size(names: &[(String, u32)], size: usize) -> Self {
        let mut slots = vec![EMPTY; size].into_boxed_slice();
        let heaviest = names.iter().map(|(_, weight)| u64::from(*weight)).max().unwrap_or(1).max(1);
        let mut fillers: Vec<_> =
            names.iter().map(|(name, weight)| Filler::new(name, *weight, size)).collect();
        let mut filled = 0;
        let mut turn = 0u64;
        while filled < size && !fillers.is_empty() {
            turn += 1;
            for (index, filler) in (0u32..).zip(&mut fillers) {
                if turn * filler.weight < filler.due {
                    continue;
                }
                filler.due += heaviest;
                let slot = filler.free(&slots);
                slots[slot] = index;
                filled += 1;
                if filled == size {
                    break;
                }
            }
        }
        Maglev(slots)
    }

    /// Who has each slot, by place in the names.
    pub(crate) fn owners(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().filter(|&&owner| owner != EMPTY).map(|&owner| owner as usize)
    }

    /// The upstreams in the order in which `key` would have them; each comes many times.
    pub(crate) fn from(&self, key: u64) -> impl Iterator<Item = usize> + '_ {
        let (before, after) = self.0.split_at(hash::below(key, self.0.len()));
        after.iter().chain(before).filter(|&&owner| owner != EMPTY).map(|&owner| owner as usize)
    }
}

/// An upstream that fills the table.
struct Filler {
    weight: u64,
    /// When the turns times its weight have come to this, it is its turn.
    due: u64,
    at: usize,
    skip: usize,
}

impl Filler {
    fn new(name: &str, weight: u32, size: usize) -> Self {
        let hash = hash::hash(name.as_bytes());
        let at = hash::below(hash::with(hash, 0), size);
        // Any step from 1 on visits every slot, the size being a prime.
        let skip = 1 + hash::below(hash::with(hash, 1), size - 1);
        // Its own heaviness first: everyone begins in the first turn that is due to it.
        Filler { weight: weight.into(), due: weight.into(), at, skip }
    }

    /// Its next slot that nobody has. There is one: the table is not full.
    fn free(&mut self, slots: &[u32]) -> usize {
        loop {
            let slot = self.at;
            self.at = (self.at + self.skip) % slots.len();
            if slots[slot] == EMPTY {
                return slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(count: usize) -> Vec<(String, u32)> {
        (0..count).map(|n| (format!("a-stateless-{n}"), 1)).collect()
    }

    fn slots_of(table: &Maglev, count: usize) -> Vec<usize> {
        let mut slots = vec![0; count];
        table.0.iter().for_each(|&owner| slots[owner as usize] += 1);
        slots
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn all_have_the_same_share_and_hardly_any_other_slot_moves(count in 2usize..40, gone in 0usize..40) {
            let before = names(count);
            let mut after = before.clone();
            let gone = gone % count;
            after.remove(gone);
            let tables = (Maglev::new(&before), Maglev::new(&after));
            let slots = slots_of(&tables.0, count);
            // The paper: no two differ by more than one slot when all weigh the same.
            prop_assert!(slots.iter().max().unwrap_or(&0) - slots.iter().min().unwrap_or(&0) <= 1, "{slots:?}");
            let moved = tables.0.0.iter().zip(&tables.1.0).filter(|&(&old, &new)| {
                old as usize != gone && before[old as usize].0 != after[new as usize].0
            });
            let share = moved.count() as f64 / SIZES[0] as f64;
            prop_assert!(share < 0.08, "{share} of the slots moved without need");
        }
    }

    #[test]
    fn shares_follow_weights() {
        let weighted: Vec<_> = [1, 2, 5].iter().map(|&weight| (format!("m-{weight}"), weight)).collect();
        let slots = slots_of(&Maglev::new(&weighted), 3);
        for (slots, (_, weight)) in slots.iter().zip(&weighted) {
            let share = *slots as f64 * 8.0 / SIZES[0] as f64 / f64::from(*weight);
            assert!((0.99..1.01).contains(&share), "{slots:?}");
        }
    }

    #[test]
    fn nobody_is_a_table_too() {
        assert_eq!(Maglev::new(&[]).from(7).next(), None);
    }
}
