//! What runs in a balancer's machine: a proxy with its documents, a VIP speaker, and the supervisor that
//! starts them again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use wire::Problem;
use wire::generation::{Offered, judge};
use wire::proxy_config::ProxyConfig;
use wire::seed::Seed;
use wire::upstreams::UpstreamSet;

use super::speaker::Speaker;
use crate::engine::Time;

/// The workers of a simulated proxy. All tick together, as an idle machine's do.
pub(super) const WORKERS: usize = 2;

/// The time between two ticks of a worker (`lb/src/link.rs`).
pub(super) const TICK: Duration = Duration::from_millis(50);

/// A hang is noticed after this (`HUNG_AFTER` of the presence), counted from the last tick before it.
const NOTICED_AFTER: Duration = Duration::from_millis(300);

/// What the proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Works {
    Well,
    /// An event loop stands still; the interface for managers, on a thread of its own, does not.
    HalfHung,
    /// The process stands still.
    Hung,
    /// There is none, until the supervisor starts it.
    Dead,
}

/// The proxy: its process, and its files, which outlive it.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) works: Works,
    /// A hang ends then by itself; a dead one is started again.
    pub(super) until: Time,
    /// The workers' streams to the speaker are numbered from here; a new process has new ones.
    pub(super) streams: u64,
    pub(super) set: UpstreamSet,
    pub(super) config: ProxyConfig,
    set_stored: bool,
    stored_set: UpstreamSet,
    stored_config: ProxyConfig,
}

/// A balancer.
#[derive(Debug)]
pub(super) struct Balancer {
    pub(super) proxy: Proxy,
    pub(super) speaker: Option<Speaker>,
    /// The VIPs that are on the interface, by their places in the configuration.
    pub(super) has: BTreeSet<usize>,
    /// What its proxy last said of itself: whether it has anybody to send requests to.
    pub(super) serving: bool,
    /// The newest set the manager was told is taken.
    pub(super) acknowledged: u64,
    /// It is to be frozen after so many more things its speaker does.
    pub(super) freeze_after: Option<(u32, bool)>,
    /// It woke up, still with these addresses, which others may hold by now.
    pub(super) stale: BTreeSet<usize>,
    /// When it last sent an advert for each, by its machine's clock.
    pub(super) last_advert: BTreeMap<usize, Duration>,
    /// It came to stand still in the middle of what its router wanted.
    pub(super) midway: bool,
    /// The stamps of its host may say that it was paused: it was, a clock has jumped, or stamps came late.
    pub(super) doubtful: bool,
    /// When its proxy last began to hang.
    pub(super) hung_at: Option<Time>,
    /// When a proxy of it last hung noticeably while it held the VIP …
    pub(super) hung_holding: Option<Time>,
    /// … and what that was when its proxy last began to hang.
    pub(super) hung_before: Option<Time>,
}

impl Balancer {
    pub(super) fn new(seed: &Seed) -> Self {
        let set = seed.upstreams.clone().unwrap_or_default();
        let config = seed.proxy_config.clone().unwrap_or_default();
        let proxy = Proxy {
            works: Works::Dead,
            until: Time::ZERO,
            streams: 0,
            set: set.clone(),
            config: config.clone(),
            set_stored: true,
            stored_set: set,
            stored_config: config,
        };
        Balancer {
            proxy,
            speaker: None,
            has: BTreeSet::new(),
            serving: false,
            acknowledged: 0,
            freeze_after: None,
            stale: BTreeSet::new(),
            last_advert: BTreeMap::new(),
            midway: false,
            doubtful: false,
            hung_at: None,
            hung_holding: None,
            hung_before: None,
        }
    }

    /// Notes that its proxy hangs noticeably while it holds the VIP, if that is so.
    pub(super) fn note_hang(&mut self, now: Time) {
        let hangs = matches!(self.proxy.works, Works::Hung | Works::HalfHung);
        let noticed = self.hung_at.is_some_and(|at| now + TICK >= at + NOTICED_AFTER);
        if hangs && noticed && !self.has.is_empty() {
            self.hung_holding = Some(now);
        }
    }

    /// Nothing is on its interface any more.
    pub(super) fn clear(&mut self) {
        self.has.clear();
        self.stale.clear();
    }

    /// Whether it takes part in the election.
    pub(super) fn takes_part(&self) -> bool {
        self.speaker.as_ref().is_some_and(Speaker::takes_part)
    }
}

/// What became of a document.
#[derive(Debug)]
pub(super) enum Put {
    Taken,
    Known,
    Refused(Problem),
}

impl Proxy {
    pub(super) fn beats(&self) -> bool {
        matches!(self.works, Works::Well | Works::HalfHung)
    }

    pub(super) fn listens(&self) -> bool {
        self.works != Works::Dead
    }

    /// The process ends; its memory is gone.
    pub(super) fn die(&mut self) {
        self.works = Works::Dead;
    }

    /// A new process reads what is stored.
    pub(super) fn start(&mut self) {
        self.works = Works::Well;
        self.streams += WORKERS as u64;
        self.set = self.stored_set.clone();
        self.config = self.stored_config.clone();
        self.set_stored = true;
    }

    /// `PUT /upstreams`; the same rule as `lb`'s, and the same order: into use first, then stored.
    pub(super) fn put(&mut self, set: &UpstreamSet, disk_full: bool, any: bool) -> Put {
        let result = match judge(Some((self.set.generation, &self.set)), (set.generation, set)) {
            Offered::Older { held } | Offered::Other { held } if !any => {
                return Put::Refused(Problem::stale(held, "older than what is in use"));
            }
            Offered::Same => Put::Known,
            Offered::Newer | Offered::Older { .. } | Offered::Other { .. } => {
                self.set = set.clone();
                self.set_stored = false;
                Put::Taken
            }
        };
        if !self.set_stored {
            if disk_full {
                return Put::Refused(Problem::new(500, "Not stored", "in use, but not stored"));
            }
            self.stored_set = self.set.clone();
            self.set_stored = true;
        }
        result
    }

    /// `PUT /config`.
    pub(super) fn configure(&mut self, config: &ProxyConfig) -> Put {
        match judge(Some((self.config.generation, &self.config)), (config.generation, config)) {
            Offered::Older { held } | Offered::Other { held } => {
                Put::Refused(Problem::stale(held, "older than what is in use"))
            }
            Offered::Same => Put::Known,
            Offered::Newer => {
                self.config = config.clone();
                self.stored_config = config.clone();
                Put::Taken
            }
        }
    }

    /// The addresses it sends requests to.
    pub(super) fn upstreams(&self) -> impl Iterator<Item = IpAddr> {
        self.set.pools.values().flatten().map(|upstream| upstream.address)
    }
}
