//! What the balancer was last given, and what it knows besides.
//!
//! ```text
//!   PUT ──▶ check ──▶ newer than what is held? ──▶ snapshot swapped in ──▶ stored ──▶ 200
//!             │ 400           │ lower, or equal with another content: 409
//!                             │ the same: 200, nothing changes
//! ```
//!
//! Upstream sets come often and say mostly the same: `upstreams` has their way.
//!
//! Requests read one `snapshot`; only the admin interface swaps it. The records of `upstream`s, the
//! retry `budget`s and what was `learned` outlive it.

pub(crate) mod budget;
mod changed;
pub(crate) mod check;
mod check_actions;
mod check_balance;
mod check_checks;
mod check_clients;
mod check_routes;
mod check_tcp;
pub(crate) mod connections;
pub(crate) mod counters;
pub(crate) mod in_flight;
mod journal;
pub(crate) mod kept;
pub(crate) mod learned;
pub(crate) mod leaving;
pub(crate) mod members;
pub(crate) mod origin;
pub(crate) mod pool;
mod ramp;
pub(crate) mod records;
mod resent;
pub(crate) mod snapshot;
pub(crate) mod sockets;
mod sources;
pub(crate) mod store;
pub(crate) mod trial;
pub(crate) mod upstream;
mod upstreams;
pub(crate) mod window;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;
use wire::changes::{Digest, PoolChanges};
use wire::generation::{Offered, judge};
use wire::overrides::Overrides;
use wire::proxy_config::ProxyConfig;
use wire::upstreams::{UpstreamSet, UpstreamState};
use wire::{Generation, HostName, PoolName, Problem};

use self::connections::Connections;
use self::journal::{Journal, Unstored};
use self::learned::Learned;
use self::leaving::Leaving;
use self::origin::{Origin, Origins};
use self::pool::{Member, Rank};
use self::records::Records;
use self::resent::Resent;
use self::snapshot::{Here, Made, Snapshot};
use self::store::Store;
use self::upstream::Upstream;
use super::forward::hold::Holding;
use super::health;
use super::lock;
use super::metrics::RouteStats;
use super::observe::Observers;
use super::primary;
use super::primary::keeper::Decides;
use super::reload::Reloads;
use super::tcp::Tcp;
use super::tcp::ended::Ended;
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
    /// Whom requests are told to, if anybody.
    pub(crate) observers: Option<Arc<Observers>>,
    /// The clients' connections.
    pub(crate) connections: Connections,
    /// The requests that wait for an upstream.
    pub(crate) holding: Holding,
    /// The services whose connections are passed on as they come.
    pub(crate) tcp: Tcp,
    /// The upstreams that are in no set any more.
    pub(crate) leaving: Leaving,
    /// How the settings file was read of late.
    pub(crate) reloads: Reloads,
    /// The ports that TCP services cannot have, each with who has it.
    pub(crate) taken_ports: BTreeMap<u16, String>,
    /// Whether primaries are chosen here, or by another balancer.
    pub(crate) decides: Decides,
    /// Wakes who looks after the upstreams, when there are new ones.
    pub(crate) swapped: Notify,
    /// Those that nobody looks after yet.
    new: Mutex<Vec<Arc<Upstream>>>,
    snapshot: ArcSwap<Snapshot>,
    held: Mutex<Held>,
    /// Held by who writes a document to the disk.
    storing: Mutex<()>,
    /// The same for upstream sets.
    journal: Mutex<Journal>,
    store: Store,
}

/// What was accepted. Whoever changes it makes the next snapshot.
#[derive(Debug, Default)]
struct Held {
    /// The set that was pushed; what it says is in the snapshot.
    set: Option<Pushed>,
    config: Option<Document>,
    /// What stands in for either.
    file: Proxying,
    here: Here,
    records: Records,
    /// The set as it was sent, while that is what is held.
    resent: Option<Arc<Resent>>,
    /// What of the set is not on the disk yet.
    unstored: Unstored,
}

/// A set that was pushed.
#[derive(Debug)]
struct Pushed {
    generation: Generation,
    /// That of what it says, once somebody wanted to know.
    digest: Option<Digest>,
}

#[derive(Debug)]
struct Document {
    content: Arc<ProxyConfig>,
    stored: bool,
}

/// Where the configuration is stored.
const CONFIG_FILE: &str = "config.json";

impl State {
    /// The state with what is stored in `directory`; whatever cannot be used there is moved aside.
    ///
    /// # Errors
    ///
    /// When `directory` cannot be made.
    pub(crate) fn load(directory: &Path, workers: usize, zone: Option<HostName>) -> std::io::Result<Self> {
        let store = Store::open(directory)?;
        let (journal, set) = Journal::load(&store);
        let config = store.load(CONFIG_FILE, check::config);
        let overrides = store.load(OVERRIDES_FILE, check_balance::overrides).unwrap_or_default();
        let held = Held {
            set: set.as_ref().map(Pushed::of),
            config: config.map(Document::stored),
            here: Here { workers, zone, overrides },
            ..Held::default()
        };
        let state = State {
            learned: Learned::default(),
            unrouted: Arc::default(),
            tls: Tls::default(),
            observers: None,
            connections: Connections::default(),
            holding: Holding::default(),
            tcp: Tcp::new(workers),
            leaving: Leaving::default(),
            reloads: Reloads::default(),
            taken_ports: BTreeMap::new(),
            decides: Decides::default(),
            swapped: Notify::new(),
            new: Mutex::default(),
            snapshot: ArcSwap::default(),
            held: Mutex::new(held),
            storing: Mutex::default(),
            journal: Mutex::new(journal),
            store,
        };
        state.swap(&mut lock(&state.held), set.as_ref());
        Ok(state)
    }

    /// Takes into use what was stored since we loaded it, by another program whose place we take: it had the port
    /// for changes until now. Blocks on the disk.
    pub(crate) fn read_again(&self) {
        // In this order, as who stores.
        let mut journal = lock(&self.journal);
        let mut held = lock(&self.held);
        let held = &mut *held;
        let (stored, set) = Journal::load(&self.store);
        *journal = stored;
        let is_newer =
            |set: &UpstreamSet| held.set.as_ref().is_none_or(|held| set.generation > held.generation);
        let set = set.filter(is_newer);
        let config = newer(held.config.as_ref(), self.store.load(CONFIG_FILE, check::config));
        let overrides = self.store.load(OVERRIDES_FILE, check_balance::overrides).unwrap_or_default();
        if set.is_none() && config.is_none() && overrides == held.here.overrides {
            return;
        }
        if let Some(set) = &set {
            (held.set, held.resent) = (Some(Pushed::of(set)), None);
        }
        held.config = config.or(held.config.take());
        held.here.overrides = overrides;
        self.swap(held, set.as_ref());
        tracing::info!("what was stored meanwhile taken into use");
    }

    /// The state in use now.
    pub(crate) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Takes a new configuration into use and stores it. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// As [`Self::put_upstreams`].
    pub(crate) fn put_config(&self, config: ProxyConfig) -> Result<(), Problem> {
        check::config(&config)?;
        check::ports_are_free(&config, &self.taken_ports)?;
        let mut held = lock(&self.held);
        let generation = config.generation;
        let present = held.config.as_ref().map(|document| (document.content.generation, &*document.content));
        match judge(present, (generation, &config)) {
            Offered::Older { held: present } => {
                return Err(Problem::stale(
                    present,
                    format!("the configuration of generation {present} is in use; {generation} is older"),
                ));
            }
            Offered::Other { held: present } => {
                return Err(Problem::stale(
                    present,
                    format!("another configuration of generation {present} is in use: go on above it"),
                ));
            }
            Offered::Same => {}
            Offered::Newer => {
                held.config = Some(Document { content: Arc::new(config), stored: false });
                self.swap(&mut held, None);
                tracing::info!(generation, "configuration taken into use");
            }
        }
        drop(held);
        self.store_config()
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
        self.swap(&mut held, None);
        self.store.save(OVERRIDES_FILE, &held.here.overrides).map(drop).map_err(|error| {
            tracing::error!(%error, "overrides in use but not stored");
            Problem::new(500, "Not stored", format!("the overrides are in use but were not stored: {error}"))
        })
    }

    /// What people told this balancer.
    pub(crate) fn overrides(&self) -> Overrides {
        lock(&self.held).here.overrides.clone()
    }

    /// Stores the configuration that is in use, unless it is stored already: again at an equal generation, if the disk
    /// refused it the first time. Those who come while another one is being written share the next writing, of the
    /// newest there is then.
    fn store_config(&self) -> Result<(), Problem> {
        let _turn = lock(&self.storing);
        let newest = {
            let held = lock(&self.held);
            let document = held.config.as_ref().filter(|document| !document.stored);
            let Some(document) = document else { return Ok(()) };
            document.content.clone()
        };
        let generation = newest.generation;
        self.store.save(CONFIG_FILE, &*newest).map_err(|error| {
            tracing::error!(generation, %error, "configuration in use but not stored");
            let detail = format!("the configuration is in use but was not stored: {error}");
            Problem::new(500, "Not stored", detail)
        })?;
        if let Some(document) = &mut lock(&self.held).config
            && Arc::ptr_eq(&document.content, &newest)
        {
            document.stored = true;
        }
        Ok(())
    }

    /// Makes the snapshot of what is held, and of the `set` that was pushed; none: it is the one that is in use.
    fn swap(&self, held: &mut Held, set: Option<&UpstreamSet>) {
        let before = self.snapshot.load_full();
        let pushed = held.config.as_ref().map(|document| &document.content);
        self.tls.take(held.file.config.as_ref(), pushed);
        let in_use = (set.is_none() && held.set.is_some()).then(|| before.set());
        let pushed = set.or(in_use.as_ref()).filter(|_| held.set.is_some());
        let nothing = UpstreamSet::default();
        let (set, of_set) = match (pushed, held.file.upstreams.as_deref()) {
            (Some(pushed), _) => (pushed, Origin::Pushed),
            (None, Some(file)) => (file, Origin::File),
            (None, None) => (&nothing, Origin::Default),
        };
        let config =
            origin::of(held.config.as_ref().map(|document| &document.content), held.file.config.as_ref());
        let Made { snapshot: mut next, turnover } = before.next(set, config.0, &held.here, &mut held.records);
        next.origins = Origins { upstreams: of_set, config: config.1 };
        // What people write into a file or take out of it says nothing of who lives.
        let by_file = [before.origins.upstreams, next.origins.upstreams].contains(&Origin::File);
        let next = Arc::new(next);
        self.snapshot.store(next.clone());
        self.tcp.follow(&before, &next);
        self.retire(&turnover.gone);
        for member in before.members().filter(|member| member.upstream.is_retired()) {
            health::told(&member.upstream, by_file || drained(member));
        }
        self.cut_dead(&turnover.gone);
        self.told(next.members());
        trial::changed();
        next.pools.values().for_each(|pool| pool.lasting.queue.changed());
        self.swapped(turnover.new);
    }

    /// Makes the snapshot of the set that is held, changed as `pools` say.
    fn swap_changed(&self, held: &mut Held, generation: Generation, pools: BTreeMap<PoolName, PoolChanges>) {
        let before = self.snapshot.load_full();
        let names: Vec<_> = pools.keys().cloned().collect();
        let put: Vec<_> = pools.values().flat_map(|changes| &changes.put).map(|new| new.id.clone()).collect();
        // Before their places are others'.
        let records = &held.records;
        let leaving = pools.iter().flat_map(|(name, changes)| {
            let is_elsewhere = |new: &&wire::upstreams::Upstream| {
                records.get(&new.id).is_some_and(|(record, _)| record.address != new.socket())
            };
            let moved = changes.put.iter().filter(is_elsewhere).map(|new| &new.id);
            changes.remove.iter().chain(moved).map(move |id| (name, id))
        });
        let dead: HashSet<_> = leaving
            .filter_map(|(name, id)| before.member(name, records.get(id)?.0))
            .filter(|member| !drained(member))
            .map(|member| member.upstream.id.clone())
            .collect();
        let Made { snapshot, turnover } = before.changed(generation, pools, &held.here, &mut held.records);
        let next = Arc::new(snapshot);
        self.snapshot.store(next.clone());
        self.retire(&turnover.gone);
        for upstream in &turnover.gone {
            health::told(upstream, !dead.contains(&upstream.id));
        }
        self.cut_dead(&turnover.gone);
        let records = &held.records;
        self.told(put.iter().filter_map(|id| {
            let (upstream, pool) = records.get(id)?;
            next.member(pool, upstream)
        }));
        let changed = names.iter().filter_map(|name| next.pools.get(name));
        changed.for_each(|pool| pool.lasting.queue.changed());
        self.swapped(turnover.new);
    }

    /// Those that are `gone` are in no set any more.
    fn retire(&self, gone: &[Arc<Upstream>]) {
        let now = Instant::now();
        for upstream in gone {
            upstream.retire();
            self.leaving.add(upstream, now);
        }
    }

    /// Ends the connections to those of `gone` that are dead: nobody would.
    fn cut_dead(&self, gone: &[Arc<Upstream>]) {
        let dead: Vec<_> = gone.iter().filter(|upstream| health::is_gone(upstream)).cloned().collect();
        self.tcp.cut(&dead, Ended::Gone);
    }

    /// Ends what is left of upstreams and services that have gone and had their time, at `now`.
    pub(crate) fn sweep_leaving(&self, now: Instant) {
        let over = self.leaving.sweep(now, self.tcp.is_in_kernel());
        self.tcp.cut(&over, Ended::Drained);
        self.tcp.sweep(now);
    }

    /// Takes in what is said of `members` now.
    fn told<'a>(&self, members: impl Iterator<Item = &'a Member>) {
        for member in members {
            health::told(&member.upstream, member.state != UpstreamState::Suspect);
            member.upstream.health.checks.leave_to_others(member.checked_elsewhere);
            // Who is in maintenance keeps no connections; one in use is not kept afterwards.
            if member.rank == Rank::Maintenance {
                member.upstream.forget_connections();
            }
        }
    }

    /// Wakes who waits for another snapshot.
    fn swapped(&self, mut new: Vec<Arc<Upstream>>) {
        lock(&self.new).append(&mut new);
        self.holding.wake();
        self.swapped.notify_one();
        primary::news();
    }

    /// Has all upstreams be looked after that nobody looks after, as if they had just come.
    pub(crate) fn look_after_all(&self) {
        let all = self.snapshot().upstreams().cloned().collect();
        *lock(&self.new) = all;
    }

    /// The upstreams that came since this was asked the last time.
    pub(crate) fn take_new(&self) -> Vec<Arc<Upstream>> {
        std::mem::take(&mut *lock(&self.new))
    }
}

/// Who leaves after it drained may finish what it has; who leaves without is dead.
fn drained(member: &Member) -> bool {
    member.rank >= Rank::Draining && member.state != UpstreamState::Suspect
}

/// What is `stored`, if it is newer than what is `held`.
fn newer(held: Option<&Document>, stored: Option<ProxyConfig>) -> Option<Document> {
    let stored = stored?;
    let is_newer = held.is_none_or(|held| stored.generation > held.content.generation);
    is_newer.then(|| Document::stored(stored))
}

impl Pushed {
    fn of(set: &UpstreamSet) -> Self {
        Pushed { generation: set.generation, digest: None }
    }
}

impl Document {
    fn stored(content: ProxyConfig) -> Self {
        Document { content: Arc::new(content), stored: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(generation: u64) -> UpstreamSet {
        UpstreamSet { generation, ..UpstreamSet::default() }
    }

    fn put(state: &State, set: &UpstreamSet) -> Result<(), Problem> {
        state.put_upstreams(serde_json::to_vec(set).expect("text").into())
    }

    #[test]
    fn a_lower_generation_is_refused_with_the_one_held() {
        let directory = tempfile::tempdir().expect("directory");
        let state = State::load(directory.path(), 1, None).expect("state");
        put(&state, &set(7)).expect("first");
        put(&state, &set(7)).expect("equal");
        assert_eq!(put(&state, &set(6)).expect_err("lower").held, Some(7));
        let other = UpstreamSet { pools: [("p".into(), Vec::new())].into(), ..set(7) };
        assert_eq!(put(&state, &other).expect_err("equal, but another").held, Some(7));
        put(&state, &set(8)).expect("higher");
        std::thread::scope(|scope| {
            // Of those that come together, the newest is stored when the last of them is told so.
            for generation in 9..=24 {
                let state = &state;
                scope.spawn(move || {
                    let _ = put(state, &set(generation));
                });
            }
        });
        let again = State::load(directory.path(), 1, None).expect("state");
        assert_eq!(again.snapshot().generation, 24);
    }
}
