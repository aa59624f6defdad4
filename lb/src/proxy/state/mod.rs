//! What the balancer was last given, and what it knows besides.
//!
//! ```text
//!   PUT ──▶ check ──▶ newer than what is held? ──▶ snapshot swapped in ──▶ stored ──▶ 200
//!             │ 400           │ lower, or equal with another content: 409
//!                             │ the same: 200, nothing changes
//! ```
//!
//! Requests read one `snapshot`; only the admin interface swaps it. The records of `upstream`s, the
//! retry `budget`s and what was `learned` outlive it.

pub(crate) mod budget;
pub(crate) mod check;
mod check_actions;
mod check_balance;
mod check_checks;
mod check_clients;
mod check_routes;
pub(crate) mod connections;
pub(crate) mod counters;
pub(crate) mod in_flight;
pub(crate) mod kept;
pub(crate) mod learned;
pub(crate) mod leaving;
pub(crate) mod origin;
pub(crate) mod pool;
mod ramp;
pub(crate) mod snapshot;
pub(crate) mod sockets;
mod sources;
pub(crate) mod store;
pub(crate) mod trial;
pub(crate) mod upstream;
pub(crate) mod window;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use serde::Serialize;
use tokio::sync::Notify;
use wire::generation::{Offered, judge};
use wire::overrides::Overrides;
use wire::proxy_config::ProxyConfig;
use wire::upstreams::{UpstreamSet, UpstreamState};
use wire::{Generation, HostName, Problem};

use self::connections::Connections;
use self::learned::Learned;
use self::leaving::Leaving;
use self::origin::{Origin, Origins};
use self::pool::Rank;
use self::snapshot::{Here, Snapshot};
use self::store::Store;
use super::access_log::AccessLog;
use super::forward::hold::Holding;
use super::health;
use super::lock;
use super::metrics::RouteStats;
use super::reload::Reloads;
use super::tls::Tls;
use crate::settings::Proxying;

/// Where the overrides are stored.
const OVERRIDES_FILE: &str = "overrides.json";

/// The state all workers and the admin interface share.
#[derive(Debug)]
pub(crate) struct State {
    /// How long requests usually take.
    pub(crate) learned: Learned,
    /// What happened to requests that matched no route.
    pub(crate) unrouted: Arc<RouteStats>,
    /// What TLS listeners show.
    pub(crate) tls: Tls,
    /// Where requests are written down, if they are.
    pub(crate) access_log: Option<Arc<AccessLog>>,
    /// The clients' connections.
    pub(crate) connections: Connections,
    /// The requests that wait for an upstream.
    pub(crate) holding: Holding,
    /// The upstreams that are in no set any more.
    pub(crate) leaving: Leaving,
    /// How the settings file was read of late.
    pub(crate) reloads: Reloads,
    /// Wakes who looks after the upstreams, when the snapshot is another.
    pub(crate) swapped: Notify,
    snapshot: ArcSwap<Snapshot>,
    held: Mutex<Held>,
    /// Held by who writes a document to the disk.
    storing: Mutex<()>,
    store: Store,
}

/// The documents as they were accepted.
#[derive(Debug, Default)]
struct Held {
    set: Option<Document<UpstreamSet>>,
    config: Option<Document<ProxyConfig>>,
    /// What stands in for either.
    file: Proxying,
    here: Here,
}

#[derive(Debug)]
struct Document<T> {
    content: Arc<T>,
    stored: bool,
}

/// A document that is ordered by its generation and kept in a file of its own.
trait Versioned: Serialize + PartialEq {
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
    pub(crate) fn load(directory: &Path, workers: usize, zone: Option<HostName>) -> std::io::Result<Self> {
        let store = Store::open(directory)?;
        let set = store.load(UpstreamSet::FILE, check::upstreams);
        let config = store.load(ProxyConfig::FILE, check::config);
        let overrides = store.load(OVERRIDES_FILE, check_balance::overrides).unwrap_or_default();
        let here = Here { workers, zone, overrides };
        let held = Held {
            set: set.map(Document::stored),
            config: config.map(Document::stored),
            file: Proxying::default(),
            here,
        };
        let state = State {
            learned: Learned::default(),
            unrouted: Arc::default(),
            tls: Tls::default(),
            access_log: None,
            connections: Connections::default(),
            holding: Holding::default(),
            leaving: Leaving::default(),
            reloads: Reloads::default(),
            swapped: Notify::new(),
            snapshot: ArcSwap::default(),
            held: Mutex::new(held),
            storing: Mutex::default(),
            store,
        };
        state.swap(&lock(&state.held));
        Ok(state)
    }

    /// Takes into use what was stored since we loaded it, by another program whose place we take: it had the port
    /// for changes until now. Blocks on the disk.
    pub(crate) fn read_again(&self) {
        let mut held = lock(&self.held);
        let set = newer(held.set.as_ref(), self.store.load(UpstreamSet::FILE, check::upstreams));
        let config = newer(held.config.as_ref(), self.store.load(ProxyConfig::FILE, check::config));
        let overrides = self.store.load(OVERRIDES_FILE, check_balance::overrides).unwrap_or_default();
        if set.is_none() && config.is_none() && overrides == held.here.overrides {
            return;
        }
        held.set = set.or(held.set.take());
        held.config = config.or(held.config.take());
        held.here.overrides = overrides;
        self.swap(&held);
        tracing::info!("what was stored meanwhile taken into use");
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

    /// Changes what people told this balancer and stores it; it is then in use. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// What `change` finds wrong, and a problem of 500 when it is in use but could not be stored.
    pub(crate) fn change_overrides(
        &self,
        change: impl FnOnce(&mut Overrides) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let mut held = lock(&self.held);
        let mut next = held.here.overrides.clone();
        change(&mut next)?;
        check_balance::overrides(&next)?;
        held.here.overrides = next;
        self.swap(&held);
        self.store.save(OVERRIDES_FILE, &held.here.overrides).map_err(|error| {
            tracing::error!(%error, "overrides in use but not stored");
            Problem::new(500, "Not stored", format!("the overrides are in use but were not stored: {error}"))
        })
    }

    /// What people told this balancer.
    pub(crate) fn overrides(&self) -> Overrides {
        lock(&self.held).here.overrides.clone()
    }

    fn put<T: Versioned>(
        &self,
        new: T,
        slot: impl Fn(&mut Held) -> &mut Option<Document<T>>,
    ) -> Result<(), Problem> {
        let mut held = lock(&self.held);
        let generation = new.generation();
        let present =
            slot(&mut held).as_ref().map(|document| (document.content.generation(), &*document.content));
        match judge(present, (generation, &new)) {
            Offered::Older { held: present } => {
                return Err(Problem::stale(
                    present,
                    format!("the {} of generation {present} is in use; {generation} is older", T::NAME),
                ));
            }
            Offered::Other { held: present } => {
                return Err(Problem::stale(
                    present,
                    format!("another {} of generation {present} is in use: go on above it", T::NAME),
                ));
            }
            Offered::Same => {}
            Offered::Newer => {
                *slot(&mut held) = Some(Document { content: Arc::new(new), stored: false });
                self.swap(&held);
                tracing::info!(generation, "{} taken into use", T::NAME);
            }
        }
        drop(held);
        self.store_document(slot)
    }

    /// Stores a document that is in use, unless it is stored already: again at an equal generation, if the disk
    /// refused it the first time. Those who come while another one is being written share the next writing, of the
    /// newest there is then: the disk sets no limit to how many documents are taken into use.
    fn store_document<T: Versioned>(
        &self,
        slot: impl Fn(&mut Held) -> &mut Option<Document<T>>,
    ) -> Result<(), Problem> {
        let _turn = lock(&self.storing);
        let newest = {
            let mut held = lock(&self.held);
            let document = slot(&mut held).as_ref().filter(|document| !document.stored);
            let Some(document) = document else { return Ok(()) };
            document.content.clone()
        };
        let generation = newest.generation();
        self.store.save(T::FILE, &*newest).map_err(|error| {
            tracing::error!(generation, %error, "{} in use but not stored", T::NAME);
            Problem::new(500, "Not stored", format!("the {} is in use but was not stored: {error}", T::NAME))
        })?;
        if let Some(document) = slot(&mut lock(&self.held)).as_mut()
            && Arc::ptr_eq(&document.content, &newest)
        {
            document.stored = true;
        }
        Ok(())
    }

    fn swap(&self, held: &Held) {
        let before = self.snapshot.load_full();
        let pushed = held.config.as_ref().map(|document| &document.content);
        self.tls.take(held.file.config.as_ref(), pushed);
        let set =
            origin::of(held.set.as_ref().map(|document| &document.content), held.file.upstreams.as_ref());
        let config =
            origin::of(held.config.as_ref().map(|document| &document.content), held.file.config.as_ref());
        let mut next = before.next(set.0.unwrap_or_default(), config.0, &held.here);
        next.origins = Origins { upstreams: set.1, config: config.1 };
        let next = Arc::new(next);
        let now = Instant::now();
        self.snapshot.store(next.clone());
        for upstream in before.left_out_of(&next) {
            upstream.retire();
            self.leaving.add(upstream, now);
        }
        // Who leaves after it drained may finish what it has; who leaves without is dead. What people write into a file or
        // take out of it says nothing of who lives.
        let by_file = [before.origins.upstreams, next.origins.upstreams].contains(&Origin::File);
        for member in before.members().filter(|member| member.upstream.is_retired()) {
            let drained =
                by_file || (member.rank >= Rank::Draining && member.state != UpstreamState::Suspect);
            health::told(&member.upstream, drained);
        }
        for member in next.members() {
            health::told(&member.upstream, member.state != UpstreamState::Suspect);
        }
        // Who is in maintenance keeps no connections; one in use is not kept afterwards.
        for pool in next.pools.values() {
            for member in pool.ranked(Rank::Maintenance) {
                member.upstream.forget_connections();
            }
            pool.lasting.queue.changed();
        }
        trial::changed();
        self.holding.wake();
        self.swapped.notify_one();
    }
}

/// What is `stored`, if it is newer than what is `held`.
fn newer<T: Versioned>(held: Option<&Document<T>>, stored: Option<T>) -> Option<Document<T>> {
    let stored = stored?;
    let is_newer = held.is_none_or(|held| stored.generation() > held.content.generation());
    is_newer.then(|| Document::stored(stored))
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
        let state = State::load(directory.path(), 1, None).expect("state");
        state.put_upstreams(set(7)).expect("first");
        state.put_upstreams(set(7)).expect("equal");
        assert_eq!(state.put_upstreams(set(6)).expect_err("lower").held, Some(7));
        let other = UpstreamSet { pools: [("p".into(), Vec::new())].into(), ..set(7) };
        assert_eq!(state.put_upstreams(other).expect_err("equal, but another").held, Some(7));
        state.put_upstreams(set(8)).expect("higher");
        std::thread::scope(|scope| {
            // Of those that come together, the newest is stored when the last of them is told so.
            for generation in 9..=24 {
                let state = &state;
                scope.spawn(move || {
                    let _ = state.put_upstreams(set(generation));
                });
            }
        });
        let again = State::load(directory.path(), 1, None).expect("state");
        assert_eq!(again.snapshot().set.generation, 24);
    }
}
