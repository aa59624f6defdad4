//! What this balancer knows of one upstream from its own experience. It lives as long as the machine
//! is in the set, whatever else a new set changes.
//!
//! ```text
//!             failures in a row reach the limit, or nothing listens there
//!   in use ──────────────────────────────────────────────────────▶ ejected
//!      ▲                  its check passes                            │
//!      └───────── on trial, until a request is answered well ─────────┘
//!   left out of the next set, from either: retired (idle connections closed, checks end; see `leaving`)
//! ```
//!
//! An upstream in use is *in doubt* while it owes an answer for longer than is usual and has sent nothing to
//! anyone meanwhile. What it owes stays owed when the client that asked has left.
//!
//! The transitions are made in [`super::super::health`] and [`super::super::outlier`]; here is only the record.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use wire::EndpointId;
use wire::proxy_config::PoolPolicy;

use super::super::balance::latency::Latency;
use super::super::check::record::Record as Checks;
use super::super::clock;
use super::super::doubt::Questions;
use super::super::forward::connect::{Connection, NEVER_KEPT};
use super::super::health::Penalty;
use super::super::upstream_tls::{PoolTls, UpstreamTls};
use super::counters::Counters;
use super::kept::Kept;
use super::ramp::Ramp;
use super::sockets::Sockets;
use super::trial::{self, Trial};
use super::window::Window;

/// Counts the keys of all connection pools of the process; none is given out twice.
static NEXT_POOL_KEY: AtomicU64 = AtomicU64::new(1);

/// A key under which nothing is kept yet.
pub(crate) fn new_pool_key() -> u64 {
    NEXT_POOL_KEY.fetch_add(1, Ordering::Relaxed)
}

/// Stands for no time at which doubt begins.
const NO_DOUBT: u64 = u64::MAX;

/// The record of one upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Its id.
    pub(crate) id: EndpointId,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// How it is doing.
    pub(crate) health: Health,
    /// What happened to it so far.
    pub(crate) counters: Counters,
    /// How slow it is.
    pub(crate) latency: Latency,
    /// Where it stands in the newest snapshot's pool; for who makes the next one.
    pub(super) place: Place,
    /// The sockets to it.
    pub(crate) sockets: Sockets,
    /// That of its pool in the snapshot in use.
    policy: ArcSwap<PoolPolicy>,
    security: ArcSwap<Security>,
    in_flight: AtomicU32,
    /// The most requests it may have in flight, and connections open.
    most: Most,
    /// Connections open to it, those kept idle included.
    open: AtomicU32,
    ramp: Ramp,
    last_byte: AtomicU64,
    /// From when on it is in doubt, unless a byte comes before.
    doubt_at: AtomicU64,
    /// Tries begun since its last byte.
    asks: AtomicU32,
    pool_key: AtomicU64,
    retired: AtomicBool,
    kept: Kept,
}

/// How connections to it are secured.
#[derive(Debug, Default)]
pub(crate) enum Security {
    /// Not at all.
    #[default]
    Plain,
    /// By TLS.
    Tls(UpstreamTls),
    /// By a TLS that cannot be used: there are none. What is wrong with it was said when it came.
    Unusable,
}

/// Which kept connections a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// None.
    None,
    /// One that is as good as a new one.
    Proven,
    /// One that seems to be open.
    Any,
}

/// The part of the record that [`super::super::health`] writes.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Failures since the last success.
    pub(crate) failures: AtomicU32,
    /// Out of use until its check passes.
    pub(crate) ejected: AtomicBool,
    /// The last attempt to connect failed.
    pub(crate) unreachable: AtomicBool,
    /// The penalty for its ejections.
    pub(crate) penalty: Mutex<Penalty>,
    /// What its checks came to.
    pub(crate) checks: Checks,
    /// What it is being asked.
    pub(crate) questions: Mutex<Questions>,
    /// It was ejected for what it answered.
    pub(crate) for_answers: AtomicBool,
    /// Failed answers since the last good one.
    pub(crate) failed_answers: AtomicU32,
    /// What became of the last requests.
    pub(crate) window: Window,
    /// What it has to pass after an ejection.
    pub(crate) trial: Trial,
    /// It was ejected for the last time soon after it had come back.
    pub(crate) relapsed: AtomicBool,
    /// Its manager suspects it, or took it out of the set without draining it.
    pub(crate) condemned: AtomicBool,
    /// Wakes the tries at it when it is ejected or condemned.
    pub(crate) distrust: tokio::sync::Notify,
}

/// A place in the newest snapshot: a shelf's number, and where on it.
#[derive(Debug)]
pub(super) struct Place(AtomicU64);

/// Stands for no place.
const NOWHERE: u64 = u64::MAX;

impl Default for Place {
    fn default() -> Self {
        Place(AtomicU64::new(NOWHERE))
    }
}

impl Place {
    pub(super) fn set(&self, shelf: usize, at: usize) {
        self.0.store((shelf as u64) << 32 | at as u64, Ordering::Relaxed);
    }

    pub(super) fn forget(&self) {
        self.0.store(NOWHERE, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<(usize, usize)> {
        let packed = self.0.load(Ordering::Relaxed);
        #[allow(clippy::cast_possible_truncation)] // what was put in
        (packed != NOWHERE).then_some(((packed >> 32) as usize, (packed & u64::from(u32::MAX)) as usize))
    }
}

#[derive(Debug)]
struct Most {
    requests: AtomicU32,
    connections: AtomicU32,
}

impl Upstream {
    pub(crate) fn new(id: EndpointId, address: SocketAddr, workers: usize) -> Self {
        Upstream {
            id,
            address,
            health: Health::default(),
            counters: Counters::default(),
            latency: Latency::default(),
            place: Place::default(),
            sockets: Sockets::default(),
            policy: ArcSwap::default(),
            security: ArcSwap::default(),
            in_flight: AtomicU32::new(0),
            most: Most { requests: AtomicU32::new(u32::MAX), connections: AtomicU32::new(u32::MAX) },
            open: AtomicU32::new(0),
            ramp: Ramp::default(),
            last_byte: AtomicU64::new(0),
            doubt_at: AtomicU64::new(NO_DOUBT),
            asks: AtomicU32::new(0),
            pool_key: AtomicU64::new(new_pool_key()),
            retired: AtomicBool::new(false),
            kept: Kept::new(workers),
        }
    }

    /// How it is treated now.
    pub(crate) fn policy(&self) -> Arc<PoolPolicy> {
        self.policy.load_full()
    }

    /// From now on it is treated by `policy`.
    pub(crate) fn adopt(&self, policy: &Arc<PoolPolicy>) {
        if Arc::ptr_eq(&self.policy.load(), policy) {
            return;
        }
        let is_new = self.most.requests.load(Ordering::Relaxed) == u32::MAX;
        let before = self.policy.swap(policy.clone());
        if before.check != policy.check {
            self.health.checks.changed();
        }
        let limits = &policy.upstream_limits;
        // Each request in flight has a connection.
        let most = limits.max_requests.min(limits.max_connections);
        self.most.requests.store(most, Ordering::Relaxed);
        self.most.connections.store(limits.max_connections, Ordering::Relaxed);
        if is_new {
            self.begin_ramp(Instant::now());
        }
    }

    /// From now on connections to it are secured as its pool says: if by TLS (`secured`), by `tls`. Those from before are
    /// not kept if that is another way.
    pub(crate) fn secure(&self, secured: bool, tls: Option<&Arc<PoolTls>>) {
        let is_so = match (&**self.security.load(), tls) {
            (Security::Plain, _) => !secured,
            (Security::Tls(own), Some(tls)) => secured && own.is_of(tls),
            (Security::Unusable, None) => secured,
            (Security::Tls(_), None) | (Security::Unusable, Some(_)) => false,
        };
        if is_so {
            return;
        }
        let next = match (secured, tls) {
            (false, _) => Security::Plain,
            (true, Some(tls)) => Security::Tls(UpstreamTls::new(tls)),
            (true, None) => Security::Unusable,
        };
        // The key changes afterwards: what is opened under the new one is opened in the new way.
        self.security.store(Arc::new(next));
        self.forget_connections();
    }

    /// How connections to it are secured.
    pub(crate) fn security(&self) -> Arc<Security> {
        self.security.load_full()
    }

    /// The name that a connection for requests to `host` has to be for; none where all may share it.
    pub(crate) fn name_for(&self, host: &str) -> Option<Box<str>> {
        match &**self.security.load() {
            Security::Tls(tls) => tls.name_for(host),
            Security::Plain | Security::Unusable => None,
        }
    }

    /// Counts a request as in flight, unless there are as many as there may be.
    pub(crate) fn take_room(&self) -> bool {
        let most = self.most.requests.load(Ordering::Relaxed);
        let taken = |count: u32| (count < most).then_some(count + 1);
        let before = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        if let Ok(before) = before
            && before >= self.counters.most_in_flight.load(Ordering::Relaxed)
        {
            self.counters.most_in_flight.fetch_max(before + 1, Ordering::Relaxed);
        }
        before.is_ok()
    }

    /// Counts it no more.
    pub(crate) fn give_room_back(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether another request may be sent to it.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight() < self.most.requests.load(Ordering::Relaxed)
    }

    /// Connections open to it, idle ones included.
    pub(crate) fn open_connections(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts a connection that is about to be opened for a request, until the guard is dropped. Idle ones
    /// make room for it.
    pub(crate) fn opening(self: &Arc<Self>) -> Opened {
        self.open.fetch_add(1, Ordering::Relaxed);
        let most = self.most.connections.load(Ordering::Relaxed);
        self.kept.make_room(|| self.open_connections() > most);
        Opened(self.clone())
    }

    /// From `now` on it comes to its full share bit by bit.
    pub(crate) fn begin_ramp(&self, now: Instant) {
        self.ramp.begin(now, self.policy.load().balance.slow_start_ms);
    }

    /// The part of its share that it has come to.
    pub(crate) fn ramp(&self, now: Instant) -> f64 {
        self.ramp.part(now)
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Notes that bytes came from it just now, on whatever connection.
    pub(crate) fn touch(&self) {
        self.heard(Instant::now());
    }

    /// The same, at `now`.
    pub(crate) fn heard(&self, now: Instant) {
        self.last_byte.store(clock::micros(now), Ordering::Relaxed);
        self.doubt_at.store(NO_DOUBT, Ordering::Relaxed);
        self.asks.store(0, Ordering::Relaxed);
    }

    /// Notes that a try begins at `now`, of which something should be heard within `expected`.
    pub(crate) fn asked(&self, now: Instant, expected: Duration) {
        self.asks.fetch_add(1, Ordering::Relaxed);
        self.doubt_at.fetch_min(clock::micros(now + expected), Ordering::Relaxed);
    }

    /// How many tries have begun since its last byte.
    pub(crate) fn asks(&self) -> u32 {
        self.asks.load(Ordering::Relaxed)
    }

    /// Whether it owes an answer for too long and has been silent altogether.
    pub(crate) fn is_in_doubt(&self, now: Instant) -> bool {
        let from = self.doubt_at.load(Ordering::Relaxed);
        from != NO_DOUBT && clock::micros(now) > from
    }

    /// Whether bytes came from it after `since`.
    pub(crate) fn spoke_after(&self, since: Instant) -> bool {
        self.last_byte.load(Ordering::Relaxed) > clock::micros(since)
    }

    /// How long ago the last bytes came, in milliseconds; none if they never did.
    pub(crate) fn silent_ms(&self) -> Option<u64> {
        let last = self.last_byte.load(Ordering::Relaxed);
        (last > 0).then(|| clock::micros(Instant::now()).saturating_sub(last) / 1_000)
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.health.ejected.load(Ordering::Relaxed)
    }

    /// Neither ejected nor on trial.
    pub(crate) fn is_used_like_any(&self) -> bool {
        !self.is_ejected() && self.health.trial.is_over()
    }

    /// Ejected because of what it answered: it answers.
    pub(crate) fn is_ejected_for_answers(&self) -> bool {
        self.is_ejected() && self.health.for_answers.load(Ordering::Relaxed)
    }

    /// Takes it out of use: for what it answered, or because it does not. Returns whether it failed its trial;
    /// none where it was out of use already.
    pub(crate) fn take_out(&self, for_answers: bool) -> Option<bool> {
        if self.health.ejected.swap(true, Ordering::Relaxed) {
            return None;
        }
        self.health.for_answers.store(for_answers, Ordering::Relaxed);
        let failed_trial = self.health.trial.end();
        trial::changed();
        Some(failed_trial)
    }

    /// Lets it back, for a trial first.
    pub(crate) fn let_back(&self) {
        self.health.failures.store(0, Ordering::Relaxed);
        self.health.failed_answers.store(0, Ordering::Relaxed);
        self.health.window.forget();
        // First, so that nobody takes it for one that needs no trial.
        self.health.trial.want(Instant::now());
        self.health.ejected.store(false, Ordering::Relaxed);
        trial::changed();
    }

    /// Whether it was ejected for the last time soon after it had come back.
    pub(crate) fn has_relapsed(&self) -> bool {
        self.health.relapsed.load(Ordering::Relaxed)
    }

    /// Ejected, or the last connection to it failed.
    pub(crate) fn is_down(&self) -> bool {
        self.is_ejected() || self.health.unreachable.load(Ordering::Relaxed)
    }

    /// Only connections made under this key may be used again.
    pub(crate) fn pool_key(&self) -> u64 {
        self.pool_key.load(Ordering::Relaxed)
    }

    /// Whether it has requests or connections.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight() > 0 || self.open_connections() > 0 || self.sockets.any()
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Takes it out of service for good: no set names it any more.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.health.checks.changed();
        self.forget_connections();
    }

    /// Closes every idle connection to it; those in use will not be kept either.
    pub(crate) fn forget_connections(&self) {
        self.pool_key.store(new_pool_key(), Ordering::Relaxed);
        self.kept.clear();
    }

    /// An idle connection of `worker` for `name` that `reuse` allows, if there is one.
    pub(crate) fn take_idle(
        &self,
        worker: usize,
        name: Option<&str>,
        reuse: Reuse,
        now: Instant,
    ) -> Option<Connection> {
        match reuse {
            Reuse::None => None,
            Reuse::Proven => self.kept.take_proven(worker, name, now),
            Reuse::Any => self.kept.take(worker, name, now),
        }
    }

    /// Keeps `connection` for the next request of `worker`.
    pub(crate) fn put_idle(&self, worker: usize, connection: Connection) {
        if connection.pool_key() == NEVER_KEPT {
            return connection.discard();
        }
        // Asked where it is put: whoever changes the key clears the shelves afterwards.
        self.kept.put(worker, connection, |connection| {
            connection.pool_key() == self.pool_key() && !self.is_retired()
        });
    }

    /// Closes idle connections that are old or that the upstream has closed.
    pub(crate) fn sweep_idle(&self) {
        self.kept.sweep();
    }

    /// Notes that what was sent over a kept connection met its end.
    pub(crate) fn ended_soon(&self) {
        self.kept.ended_soon();
    }

    /// How many idle connections there are to it.
    pub(crate) fn idle_connections(&self) -> usize {
        self.kept.count()
    }
}

/// A connection to an upstream, counted until dropped.
#[derive(Debug)]
pub(crate) struct Opened(Arc<Upstream>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
