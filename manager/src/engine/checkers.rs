//! Who checks which upstream, where there are too many balancers for each to check all of them, and what the rest make of it.
//!
//! ```text
//!   up to 8 hosts    each balancer checks every upstream, and goes by what it sees
//!   more             an upstream is checked by three: the balancer of its own host, and the two that rank highest for it.
//!                    What fails is told to the other managers with everything else. Where more than half of the three say
//!                    so, those who do not check it give it to their balancers as suspect.
//! ```
//!
//! Nobody assigns anything: each manager ranks the hosts for each upstream by the same hash (rendezvous hashing: Thaler,
//! Ravishankar, 1998). A host is ranked while it lives and tells that its balancer checks the pool. One that goes is
//! followed by the next in the order, of its own part only. For a moment managers may know different hosts; then an upstream
//! is checked by one balancer more or less.
//!
//! What others found is said to the own balancer and to nobody else: an endpoint's own manager never hears of it from here, so
//! that it neither counts as that manager's word nor as a failure of the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::pools::MOST_ILL;
use wire::upstreams::{Upstream, UpstreamState};
use wire::{EndpointId, HostName, PoolName};

use super::shared::{Placed, SharedPools};
use super::{Engine, Pools, Time};

/// So many balancers check an upstream, if there are as many.
const CHECKERS: usize = 3;

/// What a host's balancer finds failing, of all that it checks in a pool.
type Word<'a> = (&'a HostName, &'a BTreeSet<EndpointId>);

/// Who checks an upstream: places in the list of hosts.
type Checkers = [Option<usize>; CHECKERS];

/// Who checks what, in each pool whose checks are shared out.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Duties(BTreeMap<PoolName, Duty>);

/// The same of one pool, as it was last made, and what of.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
struct Duty {
    /// The hosts that check, in the order of their names, and what they find failing.
    words: Vec<(HostName, BTreeSet<EndpointId>)>,
    upstreams: Arc<Vec<Arc<Placed>>>,
    checkers: Vec<Checkers>,
    /// The upstreams as the own balancer is told of them.
    seen: Arc<Vec<Arc<Placed>>>,
}

impl Duties {
    /// How much is remembered.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let ill = |duty: &Duty| duty.words.iter().map(|(_, ill)| ill.len()).sum::<usize>();
        self.0.values().map(|duty| duty.upstreams.len() + ill(duty)).sum()
    }
}

impl Duty {
    /// The `upstreams` of the pool as the balancer of the host `own` is to be told of them, where `words` are those of all
    /// hosts that check it, in the order of their names. Costs what changes, but for a glance at each upstream.
    fn seen(&mut self, own: &HostName, upstreams: &Arc<Vec<Arc<Placed>>>, words: &[Word<'_>]) {
        let same_hosts = words.iter().map(|(host, _)| *host).eq(self.words.iter().map(|(host, _)| host));
        let same_words =
            same_hosts && words.iter().map(|(_, ill)| *ill).eq(self.words.iter().map(|(_, ill)| ill));
        if same_words && Arc::ptr_eq(upstreams, &self.upstreams) {
            return;
        }
        let hosts: Vec<(&HostName, u64)> =
            words.iter().map(|(host, _)| (*host, hash(host.as_str()))).collect();
        let own = hosts.iter().position(|(host, _)| *host == own);
        let any_ill = words.iter().any(|(_, ill)| !ill.is_empty());
        let before = self.upstreams.iter().zip(&self.checkers).zip(self.seen.iter());
        let mut before = before.map(|((placed, checkers), seen)| (placed, checkers, seen)).peekable();
        let mut all = Vec::with_capacity(upstreams.len());
        let mut seen = Vec::with_capacity(upstreams.len());
        for placed in upstreams.iter() {
            let is_before =
                |other: &Arc<Placed>| !Arc::ptr_eq(other, placed) && other.place() < placed.place();
            while before.next_if(|(other, ..)| is_before(other)).is_some() {}
            let known = before.next_if(|(other, ..)| Arc::ptr_eq(other, placed));
            let checkers = match known {
                Some((_, checkers, _)) if same_hosts => *checkers,
                _ => checkers(&hosts, &placed.upstream),
            };
            all.push(checkers);
            let here = own.is_some_and(|own| checkers.contains(&Some(own)));
            if here || hosts.is_empty() {
                // It goes by its own eyes.
                seen.push(Arc::clone(placed));
                continue;
            }
            let state = match placed.upstream.state {
                UpstreamState::Ready if any_ill && is_ill(&checkers, words, &placed.upstream.id) => {
                    UpstreamState::Suspect
                }
                told => told,
            };
            let same = known
                .map(|(.., seen)| seen)
                .filter(|seen| seen.upstream.checked_elsewhere && seen.upstream.state == state);
            seen.push(same.cloned().unwrap_or_else(|| {
                let upstream = Upstream { state, checked_elsewhere: true, ..placed.upstream.clone() };
                Arc::new(Placed { upstream, origin: placed.origin })
            }));
        }
        let is_same = seen.len() == self.seen.len()
            && seen.iter().zip(self.seen.iter()).all(|(now, before)| Arc::ptr_eq(now, before));
        if !is_same {
            self.seen = Arc::new(seen);
        }
        self.checkers = all;
        self.upstreams = Arc::clone(upstreams);
        if !same_words {
            self.words = words.iter().map(|(host, ill)| ((*host).clone(), (*ill).clone())).collect();
        }
    }
}

/// Who of `hosts`, each with its hash, checks `upstream`: the balancer of its own host and the two that rank highest; three
/// of them where that has none.
fn checkers(hosts: &[(&HostName, u64)], upstream: &Upstream) -> Checkers {
    let mut chosen: [Option<(u64, usize)>; CHECKERS] = [None; CHECKERS];
    let machine = hash(upstream.id.machine());
    for (at, (host, hash)) in hosts.iter().enumerate() {
        let rank = if **host == upstream.zone { u64::MAX } else { mixed(machine ^ hash) >> 1 };
        let mut candidate = Some((rank, at));
        // Of two that rank the same, the first in the order of names.
        for place in &mut chosen {
            if place.is_none_or(|(other, _)| candidate.is_some_and(|(rank, _)| rank > other)) {
                std::mem::swap(place, &mut candidate);
            }
        }
    }
    chosen.map(|chosen| chosen.map(|(_, at)| at))
}

/// Whether more than half of the `checkers` of the upstream `id` say that it fails.
fn is_ill(checkers: &Checkers, words: &[Word<'_>], id: &EndpointId) -> bool {
    let words = || checkers.iter().flatten().filter_map(|at| words.get(*at));
    2 * words().filter(|(_, ill)| ill.contains(id)).count() > words().count()
}

/// FNV-1a with 64 bits.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The last step of SplitMix64: each bit depends on all.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

/// What an earlier life of this manager told the balancer of upstreams that others check: nobody stands by what those said
/// then.
pub(super) fn without_verdicts(mut pools: Pools) -> Pools {
    for upstream in pools.values_mut().flatten().filter(|upstream| upstream.checked_elsewhere) {
        upstream.checked_elsewhere = false;
        if upstream.state == UpstreamState::Suspect {
            upstream.state = UpstreamState::Ready;
        }
    }
    pools
}

impl Engine {
    /// The pools whose checks the balancers of many hosts share out: not those of servers that others keep, which each host
    /// knows for itself, nor those with one primary, whose role each balancer has to know.
    fn shared_pools(&self) -> impl Iterator<Item = &PoolName> {
        let services = self.config.services.iter().filter(|_| self.in_circle());
        let shared = services.filter(|service| {
            service.is_checked_by_balancers() && !service.is_external() && !service.spec.primary_only
        });
        shared.map(|service| &service.name)
    }

    /// What the balancer of this host checks and what of it fails, as the others are told.
    pub(super) fn checks_told(&self) -> BTreeMap<PoolName, BTreeSet<EndpointId>> {
        let mut left = MOST_ILL;
        let mut told = BTreeMap::new();
        for pool in self.shared_pools().filter(|_| self.ready_lb().is_some()) {
            let health = self.balancer.pools.pools.get(pool);
            let Some(ill) = health.and_then(|health| health.ill.as_ref()) else { continue };
            let ill: BTreeSet<EndpointId> = ill.iter().take(left).cloned().collect();
            left -= ill.len();
            told.insert(pool.clone(), ill);
        }
        told
    }

    /// `pools` as the balancer of this host is told of them: who checks what, and what others found.
    pub(super) fn shared_out(&mut self, now: Time, mut pools: SharedPools) -> SharedPools {
        let mut duties = std::mem::take(&mut self.duties);
        let own = self.checks_told();
        let shared: BTreeSet<&PoolName> = self.shared_pools().collect();
        duties.0.retain(|pool, _| shared.contains(pool));
        for name in shared {
            let Some(upstreams) = pools.0.get_mut(name) else { continue };
            let alive = self.peers.values().filter(|peer| peer.is_alive(now));
            let told = alive.filter_map(|peer| peer.held.as_ref());
            let told = told.filter_map(|held| Some((&held.host, held.checks.get(name)?)));
            let mut words: Vec<Word<'_>> =
                own.get(name).map(|ill| (&self.config.name, ill)).into_iter().chain(told).collect();
            words.sort_by_key(|(host, _)| *host);
            let duty = duties.0.entry(name.clone()).or_default();
            duty.seen(&self.config.name, upstreams, &words);
            upstreams.clone_from(&duty.seen);
        }
        self.duties = duties;
        pools
    }
}

#[cfg(test)]
mod tests;
