//! Takes upstream sets into use: whole ones, and changes to the one that is held. What is new in either is checked, made
//! and written; the rest stays as it is.
//!
//! ```text
//!   PUT ─▶ nearly as the one before? ──yes──▶ what differs ─┐
//!              │ no                                         ├─▶ less than half of it? ──▶ changed where it differs
//!              └─▶ parsed, checked ──▶ what differs ────────┘      │ no
//!   PATCH ───────────────────────────▶ what differs ───────┘       └──▶ made anew
//! ```

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use wire::changes::{Digest, PoolChanges, UpstreamChanges};
use wire::generation::{Offered, judge};
use wire::upstreams::{Upstream, UpstreamSet};
use wire::{Generation, PoolName, Problem};

use super::super::lock;
use super::resent::Resent;
use super::{Held, Pushed, State, check};

const NAME: &str = "upstream set";

impl State {
    /// Takes the upstream set that `text` is into use and stores it. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// A problem of 400 when it cannot be used, of 409 when a newer one is held, of 500 when it is in use
    /// but could not be stored.
    pub(crate) fn put_upstreams(&self, text: Bytes) -> Result<(), Problem> {
        if !self.put_resent(&text)? {
            let set = kit::api::parse_json(&text)?;
            check::upstreams(&set)?;
            self.put_set(set, text)?;
        }
        self.store_upstreams()
    }

    /// Takes changes to the set that is held into use and stores them. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// A problem of 400 when they cannot be used, of 409 when they are not of the set that is held, of 500 when they
    /// are in use but could not be stored.
    pub(crate) fn change_upstreams(&self, changes: UpstreamChanges) -> Result<(), Problem> {
        self.take_changes(changes)?;
        self.store_upstreams()
    }

    fn take_changes(&self, changes: UpstreamChanges) -> Result<(), Problem> {
        let UpstreamChanges { base, generation, digest, pools } = changes;
        check::is_generation(generation)?;
        let mut held = lock(&self.held);
        let held = &mut *held;
        let Some(pushed) = &mut held.set else {
            return Err(Problem::conflict(format!("no {NAME} was pushed: push all of it")));
        };
        let known = *pushed.digest.get_or_insert_with(|| Digest::of(&self.snapshot.load().set()));
        let is_same = known == digest;
        if !is_newer(Some(pushed.generation), generation, is_same)? {
            return Ok(());
        }
        if base != pushed.generation {
            let detail = format!(
                "the {NAME} of generation {} is in use, not {base}: push all of it",
                pushed.generation
            );
            return Err(Problem::stale(pushed.generation, detail));
        }
        let snapshot = self.snapshot.load_full();
        let next = snapshot.digest_after(known, &pools, &held.records)?;
        if next != digest {
            let detail = format!("the changes lead to the digest {next}, not {digest}: push all of it");
            return Err(Problem::conflict(detail));
        }
        pushed.digest = Some(next);
        held.resent = None;
        self.change(held, generation, pools);
        Ok(())
    }

    /// Takes a set into use that says nearly the same as the one before. Returns whether it was one.
    fn put_resent(&self, text: &Bytes) -> Result<bool, Problem> {
        let Some(before) = lock(&self.held).resent.clone() else { return Ok(false) };
        let Some(found) = before.difference(text.clone()) else { return Ok(false) };
        let generation = found.sent.generation;
        let put = found.pools.values().flat_map(|changes| &changes.put);
        if check::is_generation(generation).is_err() || !put.clone().all(check::is_usable) {
            return Ok(false);
        }
        let mut held = lock(&self.held);
        let held = &mut *held;
        let is_of_this = |known: &Arc<Resent>| Arc::ptr_eq(known, &before);
        let is_held = held.set.as_ref().is_some_and(|set| set.generation == before.generation);
        let mut ids = HashSet::new();
        let are_new = found.new.iter().all(|(pool, &count)| {
            found.pools[pool].put[..count].iter().all(|new| held.records.get(&new.id).is_none())
        });
        if !held.resent.as_ref().is_some_and(is_of_this)
            || !is_held
            || !are_new
            || !put.clone().all(|upstream| ids.insert(&upstream.id))
        {
            return Ok(false);
        }
        if is_newer(Some(before.generation), generation, found.pools.is_empty())? {
            let Ok(total) = usize::try_from(
                i64::try_from(held.records.len()).unwrap_or(i64::MAX)
                    + found.new.values().filter_map(|&count| i64::try_from(count).ok()).sum::<i64>(),
            ) else {
                return Ok(false);
            };
            if total > check::MAX_UPSTREAMS {
                return Ok(false);
            }
            held.resent = Some(Arc::new(found.sent));
            self.change_or_renew(held, generation, found.pools);
        }
        Ok(true)
    }

    /// Takes `set` into use, which was sent as `text`.
    fn put_set(&self, set: UpstreamSet, text: Bytes) -> Result<(), Problem> {
        let resent = Resent::of(text).map(Arc::new);
        let mut held = lock(&self.held);
        let held = &mut *held;
        let pushed = held.set.as_ref().map(|set| set.generation);
        let snapshot = self.snapshot.load_full();
        let differs = pushed.and_then(|_| snapshot.difference(&set, &held.records));
        let is_same = differs.as_ref().is_some_and(BTreeMap::is_empty);
        if !is_newer(pushed, set.generation, is_same)? {
            return Ok(());
        }
        held.resent = resent;
        match differs {
            Some(pools) => self.change_or_renew(held, set.generation, pools),
            None => self.renew(held, &set),
        }
        Ok(())
    }

    /// Takes what is held, changed where `pools` say, into use.
    fn change_or_renew(
        &self,
        held: &mut Held,
        generation: Generation,
        pools: BTreeMap<PoolName, PoolChanges>,
    ) {
        let count: usize = pools.values().map(PoolChanges::len).sum();
        if count <= held.records.len() / 2 + 1 {
            let snapshot = self.snapshot.load_full();
            if let Some(digest) = held.set.as_ref().and_then(|pushed| pushed.digest) {
                let next = snapshot.digest_after(digest, &pools, &held.records).ok();
                held.set.iter_mut().for_each(|pushed| pushed.digest = next);
            }
            return self.change(held, generation, pools);
        }
        let mut set = self.snapshot.load().set();
        wire::changes::apply(&mut set.pools, pools);
        set.generation = generation;
        self.renew(held, &set);
    }

    /// Takes `set` into use as a whole.
    fn renew(&self, held: &mut Held, set: &UpstreamSet) {
        held.set = Some(Pushed { generation: set.generation, digest: None });
        held.unstored.whole();
        self.swap(held, Some(set));
        tracing::info!(generation = set.generation, "{NAME} taken into use");
    }

    /// Changes what is held where `pools` say.
    fn change(&self, held: &mut Held, generation: Generation, pools: BTreeMap<PoolName, PoolChanges>) {
        let Some(pushed) = &mut held.set else { return };
        held.unstored.change(pushed.generation, generation, &pools);
        pushed.generation = generation;
        let changed = pools.values().map(PoolChanges::len).sum::<usize>();
        self.swap_changed(held, generation, pools);
        tracing::info!(generation, changed, "{NAME} taken into use");
    }

    /// Stores what is in use, unless it is stored already: again at an equal generation, if the disk refused it the first
    /// time. Those who come while another one is being written share the next writing: the disk sets no limit to how
    /// many sets are taken into use.
    fn store_upstreams(&self) -> Result<(), Problem> {
        let mut journal = lock(&self.journal);
        let (unstored, snapshot) = {
            let mut held = lock(&self.held);
            if held.set.is_none() || held.unstored.is_nothing() {
                return Ok(());
            }
            (std::mem::take(&mut held.unstored), self.snapshot.load_full())
        };
        journal.write(&self.store, &unstored, || snapshot.set()).map_err(|error| {
            lock(&self.held).unstored.whole();
            let generation = snapshot.generation;
            tracing::error!(generation, %error, "{NAME} in use but not stored");
            Problem::new(500, "Not stored", format!("the {NAME} is in use but was not stored: {error}"))
        })
    }

    /// Writes the set that is in use anew where only changes were written for a while, now that none come. Blocks on the
    /// disk.
    pub(crate) fn tidy_stored(&self, now: Instant) {
        let Ok(mut journal) = self.journal.try_lock() else { return };
        if !journal.is_quiet(now) {
            return;
        }
        let snapshot = {
            let held = lock(&self.held);
            if held.set.is_none() || !held.unstored.is_nothing() {
                return;
            }
            self.snapshot.load_full()
        };
        if let Err(error) = journal.write_all(&self.store, &snapshot.set()) {
            tracing::warn!(%error, "the {NAME} is stored with its changes, but could not be written anew");
        }
    }
}

/// Whether one of generation `offered` is to be taken where that of `held` is in use; not if it `is_same`.
///
/// # Errors
///
/// When it is refused.
fn is_newer(held: Option<Generation>, offered: Generation, is_same: bool) -> Result<bool, Problem> {
    match judge(held.map(|held| (held, &true)), (offered, &is_same)) {
        Offered::Older { held } => {
            let detail = format!("the {NAME} of generation {held} is in use; {offered} is older");
            Err(Problem::stale(held, detail))
        }
        Offered::Other { held } => {
            let detail = format!("another {NAME} of generation {held} is in use: go on above it");
            Err(Problem::stale(held, detail))
        }
        Offered::Same => Ok(false),
        Offered::Newer => Ok(true),
    }
}

/// What is wrong with a change, if anything is.
pub(super) fn refused(pool: &PoolName, list: &str, index: usize, field: &str, detail: String) -> Problem {
    let dot = if field.is_empty() { "" } else { "." };
    Problem::bad_parameter(&format!("pools.{pool}.{list}[{index}]{dot}{field}"), detail)
}

/// Whether `upstream` can be used, with the name of the field that cannot.
pub(super) fn checked(pool: &PoolName, index: usize, upstream: &Upstream) -> Result<(), Problem> {
    check::upstream(upstream).map_err(|(field, detail)| refused(pool, "put", index, field, detail))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use proptest::prelude::*;
    use wire::HostName;
    use wire::overrides::{Mode, Override};
    use wire::upstreams::UpstreamState;

    use super::super::pool::Rank;
    use super::*;

    fn state(directory: &Path) -> State {
        State::load(directory, 1, Some(HostName::from("z0"))).expect("state")
    }

    /// An upstream of a machine, in one of its lives.
    fn upstream((machine, life, kind): (u8, u8, u8)) -> Upstream {
        let state =
            [UpstreamState::Ready, UpstreamState::Ready, UpstreamState::Suspect, UpstreamState::Draining];
        Upstream {
            id: format!("m{machine}.{life}").into(),
            address: [10, 0, life, machine + 1].into(),
            port: 80 + u16::from(kind / 16 % 2),
            weight: 1 + u32::from(kind / 4 % 2),
            zone: HostName(format!("z{}", kind / 8 % 2)),
            backup: kind % 16 == 1,
            state: state[usize::from(kind % 4)],
            checked_elsewhere: kind % 8 == 7,
        }
    }

    fn pool() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
        let members = prop::collection::btree_map(0u8..150, (0u8..2, 0u8..32), 0..140);
        members.prop_map(|members| {
            members.into_iter().map(|(machine, (life, kind))| (machine, life, kind)).collect()
        })
    }

    /// Everything about `state` fits `set`, as if it had been made of it at once.
    fn fits(state: &State, set: &UpstreamSet) {
        let mut expected = set.clone();
        for pool in expected.pools.values_mut() {
            pool.sort_by(|a, b| (a.address, a.port, &a.id).cmp(&(b.address, b.port, &b.id)));
        }
        let snapshot = state.snapshot();
        assert_eq!(snapshot.set(), expected);
        let held = lock(&state.held);
        assert_eq!(held.records.len(), set.pools.values().map(Vec::len).sum::<usize>());
        for (name, pool) in &snapshot.pools {
            let mut at = 0;
            for rank in [Rank::Primary, Rank::Backup, Rank::Suspect, Rank::Draining, Rank::Maintenance] {
                for member in pool.ranked(rank) {
                    assert_eq!(member.rank, rank);
                    assert!(!member.upstream.is_retired());
                    let record = held.records.get(&member.upstream.id).expect("a record").0;
                    assert!(Arc::ptr_eq(record, &member.upstream));
                    let known = snapshot.member(name, record).expect("it has a place");
                    assert!(std::ptr::eq(known, member));
                    assert!(std::ptr::eq(pool.members().get(at).expect("it is there"), member));
                    at += 1;
                }
            }
            assert_eq!((at, pool.members().iter().count()), (pool.members().len(), at));
            assert!(snapshot.routes.iter().all(|route| Arc::ptr_eq(&route.pool, pool)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn whatever_way_a_set_came_it_is_what_it_says(
            sets in prop::collection::vec((pool(), prop::collection::vec((0usize..140, 0u8..32), 0..20), any::<bool>()), 1..6)
        ) {
            let directory = tempfile::tempdir().expect("directory");
            let state = state(directory.path());
            let order = Override { weight: None, mode: Some(Mode::Drain) };
            state.change_overrides(|overrides| {
                overrides.0.insert("m7".into(), order);
                Ok(())
            }).expect("in use");
            let mut generation = 0;
            for (members, edits, by_patch) in sets {
                let mut members = members;
                // All of it first, and then with a few changes.
                for round in 0..3 {
                    for &(at, kind) in edits.iter().filter(|_| round > 0) {
                        if let Some(member) = members.get_mut(at) {
                            *member = (member.0, member.1 ^ u8::from(kind % 3 == 0), kind);
                        }
                    }
                    if round == 2 {
                        let count = members.len();
                        members.retain(|member| usize::from(member.0) % 10 != count % 10);
                    }
                    generation += 1;
                    let pools = [("p".into(), members.iter().copied().map(upstream).collect())].into();
                    let set = UpstreamSet { generation, pools };
                    let before = state.snapshot().set();
                    let members: Vec<_> = state.snapshot().members().cloned().collect();
                    let digest = Digest::of(&before);
                    match UpstreamChanges::between(&before, digest, &set).filter(|_| by_patch && round > 0) {
                        Some(changes) => state.change_upstreams(changes).expect("in use"),
                        None => state.put_upstreams(serde_json::to_vec(&set).expect("text").into()).expect("in use"),
                    }
                    fits(&state, &set);
                    let stays: HashSet<_> = state.snapshot().upstreams().map(Arc::as_ptr).collect();
                    for left in members.iter().filter(|member| !stays.contains(&Arc::as_ptr(&member.upstream))) {
                        prop_assert!(left.upstream.is_retired());
                        let is_dead = left.upstream.health.condemned.load(Ordering::Relaxed);
                        prop_assert_eq!(is_dead, !super::super::drained(left), "{:?}", left);
                    }
                    let again = super::tests::state(directory.path());
                    fits(&again, &set);
                }
            }
        }
    }
}
