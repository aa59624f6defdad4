//! One number for each of so many keys. When there are more, those with the least numbers are forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;

use super::super::lock;

/// So many threads can look at once, with some luck.
const SHARDS: usize = 16;

/// The table. It grows as it is used.
#[derive(Debug)]
pub(crate) struct Table {
    shards: [Mutex<Shard>; SHARDS],
    /// In each shard.
    most: usize,
}

/// The keys are hashes already, with a secret.
type Shard = HashMap<u64, f64, BuildHasherDefault<AsItIs>>;

#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

impl Table {
    /// One for `keys` of them, or some more.
    pub(crate) fn new(keys: u32) -> Self {
        Table { shards: Default::default(), most: (keys as usize).div_ceil(SHARDS).max(8) }
    }

    /// Has `next` make another number of the one that `key` has, which is `least` if it has none; nothing changes where
    /// it makes none. Whether it has. What is below `least` says nothing any more.
    pub(crate) fn change(&self, key: u64, least: f64, next: impl FnOnce(f64) -> Option<f64>) -> bool {
        #[allow(clippy::cast_possible_truncation)] // any part of it will do
        let mut shard = lock(&self.shards[(key >> 32) as usize % SHARDS]);
        let present = shard.get(&key).copied();
        let Some(next) = next(present.unwrap_or(least)) else { return false };
        if present.is_none() && shard.len() >= self.most {
            forget(&mut shard, least, self.most);
        }
        shard.insert(key, next);
        true
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

/// Makes room: what says nothing goes, and if that is not an eighth, the eighth that says least.
fn forget(shard: &mut Shard, least: f64, most: usize) {
    shard.retain(|_, number| *number > least);
    let room = most - most.div_ceil(8);
    if shard.len() > room {
        let mut numbers: Vec<f64> = shard.values().copied().collect();
        let (_, &mut limit, _) = numbers.select_nth_unstable_by(shard.len() - room, f64::total_cmp);
        let mut surplus = shard.len() - room;
        shard.retain(|_, number| *number >= limit || !take(&mut surplus));
        // Many may say the same.
        shard.retain(|_, number| *number > limit || !take(&mut surplus));
    }
}

/// One of `surplus`, if there is one.
fn take(surplus: &mut usize) -> bool {
    surplus.checked_sub(1).is_some_and(|rest| {
        *surplus = rest;
        true
    })
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn a_key_has_its_number_until_there_are_too_many_with_higher_ones() {
        let (table, hasher) = (Table::new(1_600), RandomState::new());
        let key = |index: u32| hasher.hash_one(index);
        for index in 0..1_000 {
            assert!(table.change(key(index), 0.0, |_| Some(f64::from(index) + 1.0)));
        }
        for index in 0..1_000 {
            assert!(!table.change(key(index), 0.0, |number| {
                assert!((number - f64::from(index) - 1.0).abs() < 0.5);
                None
            }));
        }
        for index in 1_000..50_000 {
            table.change(key(index), 0.0, |_| Some(f64::from(index) + 1.0));
            assert!(table.len() <= 1_600);
        }
        // The last ones are still known, the first ones are not.
        for (index, expected) in [(49_999, 50_000.0), (49_500, 49_501.0), (0, 0.0)] {
            table.change(key(index), 0.0, |number| {
                assert!((number - expected).abs() < 0.5, "{index}: {number}");
                None
            });
        }
    }

    #[test]
    fn what_says_nothing_any_more_goes_first() {
        let (table, hasher) = (Table::new(1_600), RandomState::new());
        table.change(hasher.hash_one("kept"), 0.0, |_| Some(1_000.0));
        for index in 0..50_000 {
            table.change(hasher.hash_one(index), 500.0, |_| Some(500.5));
        }
        let mut found = 0.0;
        table.change(hasher.hash_one("kept"), 0.0, |number| {
            found = number;
            None
        });
        assert!((found - 1_000.0).abs() < 0.5, "{found}");
        assert!(table.len() <= 1_600);
    }
}
