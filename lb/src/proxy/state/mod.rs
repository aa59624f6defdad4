//! What the balancer was last given, and what it knows besides.
//!
//! ```text
//!   PUT ──▶ check ──▶ newer than what is held? ──▶ snapshot swapped in ──▶ stored ──▶ 200
//!             │ 400           │ lower: 409
//!                             │ equal: 200, nothing changes
//! ```
//!
//! Requests read one `snapshot`; only the admin interface swaps it. The records of `upstream`s, the
//! retry `budget`s and what was `learned` outlive it.

pub(crate) mod budget;
pub(crate) mod check;
pub(crate) mod connections;
pub(crate) mod learned;
pub(crate) mod pool;
pub(crate) mod snapshot;
pub(crate) mod store;
pub(crate) mod upstream;

use std::path::Path;
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};
use serde::Serialize;
use wire::proxy_config::ProxyConfig;
use wire::upstreams::{UpstreamSet, UpstreamState};
use wire::{Generation, Problem};

use self::connections::Connections;
use self::learned::Learned;
use self::snapshot::Snapshot;
use self::store::Store;
use super::forward::hold::Holding;
use super::health;
use super::lock;
use super::metrics::RouteStats;

/// The state all workers and the admin interface share.
#[derive(Debug)]
pub(crate) struct State {
    /// How long requests usually take.
    pub(crate) learned: Learned,
    /// What happened to requests that matched no route.
    pub(crate) unrouted: Arc<RouteStats>,
    /// The clients' connections.
    pub(crate) connections: Connections,
    /// The requests that wait for an upstream.
    pub(crate) holding: Holding,
    snapshot: ArcSwap<Snapshot>,
    held: Mutex<Held>,
    store: Store,
    workers: usize,
}

/// The documents as they were accepted.
#[derive(Debug, Default)]
struct Held {
    set: Option<Document<UpstreamSet>>,
    config: Option<Document<ProxyConfig>>,
}

#[derive(Debug)]
struct Document<T> {
    content: Arc<T>,
    stored: bool,
}

/// A document that is ordered by its generation and kept in a file of its own.
trait Versioned: Serialize {
    const FILE: &'static str;
    const NAME: &'static str;
    fn generation(&self) -> Generation;
}

impl Versioned for UpstreamSet {
    const FILE: &'static str = "upstreams.json";
    const NAME: &'static str = "upstream set";
    fn generation(&self) -> Generation {
        self.generation
    }
}

impl Versioned for ProxyConfig {
    const FILE: &'static str = "config.json";
    const NAME: &'static str = "configuration";
    fn generation(&self) -> Generation {
        self.generation
    }
}

impl State {
    /// The state with what is stored in `directory`; whatever cannot be used there is moved aside.
    ///
    /// # Errors
    ///
    /// When `directory` cannot be made.
    pub(crate) fn load(directory: &Path, workers: usize) -> std::io::Result<Self> {
        let store = Store::open(directory)?;
        let set = store.load(UpstreamSet::FILE, check::upstreams);
        let config = store.load(ProxyConfig::FILE, check::config);
        let state = State {
            learned: Learned::default(),
            unrouted: Arc::default(),
            connections: Connections::default(),
            holding: Holding::default(),
            snapshot: ArcSwap::default(),
            held: Mutex::new(Held { set: set.map(Document::stored), config: config.map(Document::stored) }),
            store,
            workers,
        };
        state.swap(&lock(&state.held));
        Ok(state)
    }

    /// The state in use now.
    pub(crate) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Takes a new upstream set into use and stores it. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// A problem of 400 when it cannot be used, of 409 when a newer one is held, of 500 when it is in use
    /// but could not be stored.
    pub(crate) fn put_upstreams(&self, set: UpstreamSet) -> Result<(), Problem> {
        check::upstreams(&set)?;
        self.put(set, |held| &mut held.set)
    }

    /// Takes a new configuration into use and stores it. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// As [`Self::put_upstreams`].
    pub(crate) fn put_config(&self, config: ProxyConfig) -> Result<(), Problem> {
        check::config(&config)?;
        self.put(config, |held| &mut held.config)
    }

    fn put<T: Versioned>(
        &self,
        new: T,
        slot: impl Fn(&mut Held) -> &mut Option<Document<T>>,
    ) -> Result<(), Problem> {
        let mut held = lock(&self.held);
        let generation = new.generation();
        match slot(&mut held).as_ref().map(|document| document.content.generation()) {
            Some(present) if generation < present => {
                return Err(Problem::stale(
                    present,
                    format!("the {} of generation {present} is in use; {generation} is older", T::NAME),
                ));
            }
            Some(present) if generation == present => {}
            Some(_) | None => {
                *slot(&mut held) = Some(Document { content: Arc::new(new), stored: false });
                self.swap(&held);
                tracing::info!(generation, "{} taken into use", T::NAME);
            }
        }
        // Again at an equal generation, if the disk refused it the first time.
        let Some(document) = slot(&mut held).as_mut().filter(|document| !document.stored) else {
            return Ok(());
        };
        self.store.save(T::FILE, &*document.content).map_err(|error| {
            tracing::error!(generation, %error, "{} in use but not stored", T::NAME);
            Problem::new(500, "Not stored", format!("the {} is in use but was not stored: {error}", T::NAME))
        })?;
        document.stored = true;
        Ok(())
    }

    fn swap(&self, held: &Held) {
        let before = self.snapshot.load_full();
        let set = held.set.as_ref().map(|document| document.content.clone()).unwrap_or_default();
        let config = held.config.as_ref().map(|document| document.content.clone());
        let next = Arc::new(before.next(set, config, self.workers));
        self.snapshot.store(next.clone());
        for upstream in before.left_out_of(&next) {
            upstream.retire();
        }
        // Who leaves after it drained may finish what it has; who leaves without is dead.
        for member in before.members().filter(|member| member.upstream.is_retired()) {
            health::told(&member.upstream, member.state == UpstreamState::Draining);
        }
        for member in next.members() {
            health::told(&member.upstream, member.state != UpstreamState::Suspect);
        }
        self.holding.wake();
    }
}

impl<T> Document<T> {
    fn stored(content: T) -> Self {
        Document { content: Arc::new(content), stored: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(generation: u64) -> UpstreamSet {
        UpstreamSet { generation, ..UpstreamSet::default() }
    }

    #[test]
    fn a_lower_generation_is_refused_with_the_one_held() {
        let directory = tempfile::tempdir().expect("directory");
        let state = State::load(directory.path(), 1).expect("state");
        state.put_upstreams(set(7)).expect("first");
        state.put_upstreams(set(7)).expect("equal");
        assert_eq!(state.put_upstreams(set(6)).expect_err("lower").held, Some(7));
        state.put_upstreams(set(8)).expect("higher");
        let again = State::load(directory.path(), 1).expect("state");
        assert_eq!(again.snapshot().set.generation, 8);
    }
}
