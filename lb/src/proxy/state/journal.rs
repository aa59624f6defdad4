//! The upstream set on the disk: all of it as it was at some time, and behind it what has changed since, a line for each
//! change. What is written for a change is as long as the change.
//!
//! ```text
//!   upstreams.json      {"generation": 7, "pools": …}
//!   upstreams.changes   {"base": 7, "generation": 8, "pools": …}
//!                       {"base": 8, "generation": 12, "pools": …}
//! ```
//!
//! When the changes get longer than the set, or none has come for a while, all of it is written anew. A line that a power
//! cut left unfinished was not acknowledged. A program of an earlier version knows the first file alone, so it is not
//! left behind for longer than a moment.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wire::changes::{self, PoolChanges};
use wire::upstreams::UpstreamSet;
use wire::{Generation, PoolName};

use super::check;
use super::store::Store;

/// All of it.
pub(super) const FILE: &str = "upstreams.json";

/// What has changed since.
const CHANGES: &str = "upstreams.changes";

/// The changes may be so long, in bytes, however short the set is.
const SHORT: u64 = 64 << 10;

/// When no change has come for so long, all of it is written.
const QUIET: Duration = Duration::from_secs(1);

/// One change.
#[derive(Serialize, Deserialize)]
struct Line<P> {
    base: Generation,
    generation: Generation,
    pools: P,
}

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Unstored {
    lines: Vec<u8>,
    whole: bool,
}

impl Unstored {
    /// All of the set is another one.
    pub(super) fn whole(&mut self) {
        *self = Unstored { lines: Vec::new(), whole: true };
    }

    /// The set of generation `base` became that of `generation` by `pools`.
    pub(super) fn change(
        &mut self,
        base: Generation,
        generation: Generation,
        pools: &BTreeMap<PoolName, PoolChanges>,
    ) {
        if self.whole {
            return;
        }
        let line = Line { base, generation, pools };
        match serde_json::to_writer(&mut self.lines, &line) {
            Ok(()) => self.lines.push(b'\n'),
            Err(_) => self.whole(),
        }
    }

    /// Whether there is nothing.
    pub(super) fn is_nothing(&self) -> bool {
        !self.whole && self.lines.is_empty()
    }
}

/// The files.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// How long they are; none: there is no whole set that changes could be written behind.
    set_bytes: Option<u64>,
    changes_bytes: u64,
    /// When this program wrote a change last.
    changed: Option<Instant>,
}

impl Journal {
    /// The set that is in `store`, and what is to be known to go on with it.
    pub(super) fn load(store: &Store) -> (Journal, Option<UpstreamSet>) {
        // In this order: another program that takes changes at this moment may be writing all of it anew.
        let text = store.read(CHANGES).unwrap_or_default();
        let changes_bytes = text.len() as u64;
        let Some(set) = store.load(FILE, check::upstreams) else {
            return (Journal { changes_bytes, ..Journal::default() }, None);
        };
        let (set, is_sound) = match with_changes(&set, &text) {
            Ok(changed) => (changed.unwrap_or(set), true),
            Err(error) => {
                store.set_aside(CHANGES, &error);
                (set, false)
            }
        };
        // Nothing can be written behind a line that has no end.
        let is_sound = is_sound && text.last().is_none_or(|&last| last == b'\n');
        let set_bytes = store.length(FILE).filter(|_| is_sound);
        (Journal { set_bytes, changes_bytes, changed: None }, Some(set))
    }

    /// Writes `unstored`, which leads to `set`.
    ///
    /// # Errors
    ///
    /// When the disk refuses it: all of the set has to be written then.
    pub(super) fn write(
        &mut self,
        store: &Store,
        unstored: &Unstored,
        set: impl FnOnce() -> UpstreamSet,
    ) -> io::Result<()> {
        let length = self.changes_bytes + unstored.lines.len() as u64;
        let fits = self.set_bytes.is_some_and(|set| length <= set.max(SHORT));
        if unstored.whole || !fits {
            return self.write_all(store, &set());
        }
        if let Err(error) = store.append(CHANGES, &unstored.lines) {
            // A part of it may be there.
            self.set_bytes = None;
            return Err(error);
        }
        (self.changes_bytes, self.changed) = (length, Some(Instant::now()));
        Ok(())
    }

    /// Whether all of the set had better be written now, as no change has come for a while.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        self.changed.is_some_and(|changed| now.saturating_duration_since(changed) >= QUIET)
    }

    /// Writes all of `set`.
    ///
    /// # Errors
    ///
    /// When the disk refuses it.
    pub(super) fn write_all(&mut self, store: &Store, set: &UpstreamSet) -> io::Result<()> {
        self.set_bytes = None;
        let bytes = store.save(FILE, set)?;
        if store.length(CHANGES).is_some() {
            store.remove(CHANGES)?;
        }
        *self = Journal { set_bytes: Some(bytes), changes_bytes: 0, changed: None };
        Ok(())
    }

    /// Takes both files away.
    ///
    /// # Errors
    ///
    /// When the disk refuses it.
    pub(super) fn remove(&mut self, store: &Store) -> io::Result<()> {
        // First: without it there is an earlier set, without the other one there is nothing that it belongs to.
        store.remove(CHANGES)?;
        store.remove(FILE)?;
        *self = Journal::default();
        Ok(())
    }
}

/// What `set` becomes by the lines of `text`; none where it stays as it is.
fn with_changes(set: &UpstreamSet, text: &[u8]) -> Result<Option<UpstreamSet>, String> {
    let mut changed: Option<UpstreamSet> = None;
    // What follows the last end of a line is unfinished.
    for line in text.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        let line: Line<BTreeMap<PoolName, PoolChanges>> =
            serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let held = changed.as_ref().unwrap_or(set).generation;
        if line.generation <= held {
            continue;
        }
        if line.base != held {
            return Err(format!("a change of generation {} follows on {held}", line.base));
        }
        let next = changed.get_or_insert_with(|| set.clone());
        changes::apply(&mut next.pools, line.pools);
        next.generation = line.generation;
    }
    if let Some(changed) = &changed {
        check::upstreams(changed).map_err(|problem| problem.detail)?;
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wire::upstreams::{Upstream, UpstreamState};

    use super::*;

    fn upstream(number: u64) -> Upstream {
        Upstream {
            id: format!("m.{number}").into(),
            address: [127, 0, 0, 1].into(),
            port: 80,
            weight: 1,
            zone: "".into(),
            backup: false,
            state: UpstreamState::Ready,
            checked_elsewhere: false,
        }
    }

    fn set(generation: Generation, upstreams: &[u64]) -> UpstreamSet {
        let upstreams = upstreams.iter().copied().map(upstream).collect();
        UpstreamSet { generation, pools: [("p".into(), upstreams)].into() }
    }

    fn change(put: u64, remove: u64) -> BTreeMap<PoolName, PoolChanges> {
        let remove = vec![format!("m.{remove}").into()];
        [("p".into(), PoolChanges { put: vec![upstream(put)], remove })].into()
    }

    #[test]
    fn changes_are_found_again_behind_the_set_and_one_that_was_cut_off_is_not() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(directory.path()).expect("store");
        let (mut journal, nothing) = Journal::load(&store);
        assert_eq!(nothing, None);
        let mut unstored = Unstored::default();
        unstored.change(6, 7, &change(1, 0));
        journal.write(&store, &unstored, || set(7, &[1])).expect("all of it, as there is none");
        let mut unstored = Unstored::default();
        unstored.change(7, 8, &change(2, 1));
        unstored.change(8, 12, &change(3, 2));
        journal.write(&store, &unstored, || unreachable!("the changes alone")).expect("written");
        assert_eq!(Journal::load(&store).1, Some(set(12, &[3])));
        let path = directory.path().join(CHANGES);
        let whole = fs::read(&path).expect("changes");
        fs::write(&path, &whole[..whole.len() - 1]).expect("cut");
        let (mut cut, held) = Journal::load(&store);
        assert_eq!(held, Some(set(8, &[2])));
        let mut unstored = Unstored::default();
        unstored.change(8, 9, &change(5, 2));
        cut.write(&store, &unstored, || set(9, &[5])).expect("all of it");
        assert_eq!(Journal::load(&store).1, Some(set(9, &[5])));
        store.save(FILE, &set(7, &[1])).expect("saved");
        fs::write(&path, &whole).expect("written");
        // Written anew, and the changes remained.
        store.save(FILE, &set(12, &[3])).expect("saved");
        let (mut journal, held) = Journal::load(&store);
        assert_eq!(held, Some(set(12, &[3])));
        let mut unstored = Unstored::default();
        unstored.change(12, 13, &change(4, 3));
        journal.write(&store, &unstored, || unreachable!("the changes alone")).expect("written");
        assert_eq!(Journal::load(&store).1, Some(set(13, &[4])));
        assert!(journal.is_quiet(Instant::now() + QUIET));
        journal.write_all(&store, &set(13, &[4])).expect("written");
        assert!(!path.exists() && !journal.is_quiet(Instant::now() + QUIET));
        assert_eq!(Journal::load(&store).1, Some(set(13, &[4])));
    }

    #[test]
    fn changes_that_belong_to_another_set_are_set_aside_and_all_is_written_next() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(directory.path()).expect("store");
        store.save(FILE, &set(3, &[1])).expect("saved");
        let mut unstored = Unstored::default();
        unstored.change(5, 6, &change(2, 1));
        store.append(CHANGES, &unstored.lines).expect("appended");
        let (mut journal, held) = Journal::load(&store);
        assert_eq!(held, Some(set(3, &[1])));
        assert!(directory.path().join(format!("{CHANGES}.unusable")).exists());
        let mut unstored = Unstored::default();
        unstored.change(3, 4, &change(2, 1));
        journal.write(&store, &unstored, || set(4, &[2])).expect("written");
        assert_eq!(
            fs::read(directory.path().join(CHANGES)).map_err(|error| error.kind()),
            Err(io::ErrorKind::NotFound)
        );
        assert_eq!(Journal::load(&store).1, Some(set(4, &[2])));
    }

    #[test]
    fn changes_do_not_get_longer_than_the_set() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(directory.path()).expect("store");
        let mut journal = Journal::default();
        journal.write_all(&store, &set(1, &[1])).expect("written");
        for generation in 2..2_000 {
            let mut unstored = Unstored::default();
            unstored.change(generation - 1, generation, &change(generation, generation - 1));
            journal.write(&store, &unstored, || set(generation, &[generation])).expect("written");
            assert!(store.length(CHANGES).unwrap_or(0) <= SHORT);
        }
        assert_eq!(Journal::load(&store).1, Some(set(1_999, &[1_999])));
    }
}
