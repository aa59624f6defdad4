//! Every upstream of every host, as far as known: kept up to date by what changed since it was last asked for.
//!
//! ```text
//!   machines (endpoints that went and came) ─┐
//!   peers (their newest snapshots) ──────────┼──▶ pools, each in the order of addresses
//!   what the balancer was found with ────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use wire::snapshot::{Endpoint, HostSnapshot};
use wire::upstreams::{Upstream, UpstreamState};
use wire::{EndpointId, HostName, PoolName};

use super::peer::Peer;
use super::shared::{Origin, Place, Placed, SharedPools};
use super::{Machines, Pools};
use crate::config::Service;

/// Of more changes than this to a pool, the whole pool is put in order once.
const MANY: usize = 32;

/// The upstreams, and what they were made of.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Upstreams {
    pools: SharedPools,
    /// The pools that are there even when nobody is in them.
    services: BTreeSet<PoolName>,
    host: HostName,
    peers: BTreeMap<IpAddr, Arc<HostSnapshot>>,
    inherited: Option<Arc<Pools>>,
    /// The hosts whose own word there is.
    heard: BTreeSet<HostName>,
}

/// What leaves the pools and what comes to them.
#[derive(Default)]
struct Change {
    gone: BTreeMap<PoolName, Vec<Arc<Placed>>>,
    come: BTreeMap<PoolName, Vec<Arc<Placed>>>,
}

impl Change {
    fn gone(&mut self, pool: &PoolName, placed: Placed) {
        self.gone.entry(pool.clone()).or_default().push(Arc::new(placed));
    }

    fn come(&mut self, pool: &PoolName, placed: Placed) {
        self.come.entry(pool.clone()).or_default().push(Arc::new(placed));
    }
}

impl Upstreams {
    /// Those of `host`, whose `services` have a pool each: empty at first, or of the servers that others keep.
    pub(super) fn new(host: HostName, services: &[Service]) -> Self {
        let pools = services.iter().map(|service| {
            let mut pool = servers(service, &host);
            pool.sort_by(|one, other| one.place().cmp(&other.place()));
            (service.name.clone(), Arc::new(pool))
        });
        Upstreams {
            pools: SharedPools(pools.collect()),
            services: services.iter().map(|service| service.name.clone()).collect(),
            heard: [host.clone()].into(),
            host,
            peers: BTreeMap::new(),
            inherited: None,
        }
    }

    pub(super) fn pools(&self) -> &SharedPools {
        &self.pools
    }

    /// Brings the pools up to date.
    pub(super) fn settle(
        &mut self,
        machines: &mut Machines,
        peers: &BTreeMap<IpAddr, Peer>,
        inherited: Option<&Arc<Pools>>,
    ) {
        let mut change = Change::default();
        for (before, after) in machines.take_changes() {
            for (endpoint, gone) in [(before, true), (after, false)] {
                let Some(endpoint) = endpoint else { continue };
                let placed = Placed { upstream: upstream(&endpoint, &self.host), origin: Origin::Own };
                if gone {
                    change.gone(&endpoint.service, placed);
                } else {
                    change.come(&endpoint.service, placed);
                }
            }
        }
        let mut peers_changed = false;
        let held = |peer: &IpAddr| peers.get(peer).and_then(|peer| peer.held.as_ref());
        let known: Vec<IpAddr> = self.peers.keys().filter(|peer| held(peer).is_none()).copied().collect();
        for peer in known {
            let before = self.peers.remove(&peer);
            compare(&mut change, peer, before.as_deref(), None);
            peers_changed = true;
        }
        for (address, held) in peers.values().filter_map(|peer| Some((peer.address, peer.held.as_ref()?))) {
            let before = self.peers.get(&address);
            if before.is_some_and(|before| Arc::ptr_eq(before, held)) {
                continue;
            }
            compare(&mut change, address, before.map(AsRef::as_ref), Some(held));
            peers_changed |= before.is_none_or(|before| before.host != held.host);
            self.peers.insert(address, Arc::clone(held));
        }
        let same = match (&self.inherited, inherited) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        if !same || (peers_changed && self.inherited.is_some()) {
            let hosts = self.peers.values().map(|held| held.host.clone());
            let heard = hosts.chain(std::iter::once(self.host.clone())).collect();
            for (pool, placed) in unheard(self.inherited.as_deref(), &self.heard) {
                change.gone(pool, placed);
            }
            for (pool, placed) in unheard(inherited.map(AsRef::as_ref), &heard) {
                change.come(pool, placed);
            }
            self.heard = heard;
            self.inherited = inherited.cloned();
            for pool in self.inherited.iter().flat_map(|pools| pools.keys()) {
                self.pools.0.entry(pool.clone()).or_default();
            }
        }
        self.apply(change);
    }

    fn apply(&mut self, Change { mut gone, mut come }: Change) {
        let names: BTreeSet<PoolName> = gone.keys().chain(come.keys()).cloned().collect();
        for name in names {
            let (gone, come) =
                (gone.remove(&name).unwrap_or_default(), come.remove(&name).unwrap_or_default());
            let pool = Arc::make_mut(self.pools.0.entry(name.clone()).or_default());
            if gone.len() + come.len() > MANY {
                let gone: BTreeSet<Place<'_>> = gone.iter().map(|placed| placed.place()).collect();
                pool.retain(|placed| !gone.contains(&placed.place()));
                pool.extend(come);
                pool.sort_by(|one, other| one.place().cmp(&other.place()));
            } else {
                for placed in gone {
                    if let Ok(at) = find(pool, &placed) {
                        pool.remove(at);
                    }
                }
                for placed in come {
                    let (Ok(at) | Err(at)) = find(pool, &placed);
                    pool.insert(at, placed);
                }
            }
            let stays = self.services.contains(&name)
                || self.inherited.as_ref().is_some_and(|pools| pools.contains_key(&name));
            if pool.is_empty() && !stays {
                self.pools.0.remove(&name);
            }
        }
    }
}

fn find(pool: &[Arc<Placed>], placed: &Placed) -> Result<usize, usize> {
    pool.binary_search_by(|other| other.place().cmp(&placed.place()))
}

/// What is different in the newest snapshot of a peer. Both name their endpoints in the same order, so that what
/// is the same at both ends of the lists need not be looked for.
fn compare(change: &mut Change, peer: IpAddr, before: Option<&HostSnapshot>, after: Option<&HostSnapshot>) {
    let mut put = |held: &HostSnapshot, endpoint: &Endpoint, gone: bool| {
        let placed = Placed { upstream: upstream(endpoint, &held.host), origin: Origin::Peer(peer) };
        if gone { change.gone(&endpoint.service, placed) } else { change.come(&endpoint.service, placed) }
    };
    match (before, after) {
        (Some(before), Some(after)) if before.host == after.host => {
            let (one, other) = (&before.endpoints[..], &after.endpoints[..]);
            if one.len() == other.len() {
                for (one, other) in one.iter().zip(other).filter(|(one, other)| one != other) {
                    put(before, one, true);
                    put(after, other, false);
                }
                return;
            }
            let first = one.iter().zip(other).take_while(|(one, other)| one == other).count();
            let (one, other) = (&one[first..], &other[first..]);
            let last =
                one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count();
            one[..one.len() - last].iter().for_each(|endpoint| put(before, endpoint, true));
            other[..other.len() - last].iter().for_each(|endpoint| put(after, endpoint, false));
        }
        _ => {
            for (held, gone) in [(before, true), (after, false)] {
                let Some(held) = held else { continue };
                held.endpoints.iter().for_each(|endpoint| put(held, endpoint, gone));
            }
        }
    }
}

/// What the balancer knew of a host that has not been heard since this manager started stays.
fn unheard<'a>(
    inherited: Option<&'a Pools>,
    heard: &'a BTreeSet<HostName>,
) -> impl Iterator<Item = (&'a PoolName, Placed)> {
    inherited.into_iter().flatten().flat_map(move |(pool, upstreams)| {
        let stays = |(_, upstream): &(usize, &Upstream)| !heard.contains(&upstream.zone);
        upstreams.iter().enumerate().filter(stays).map(move |(number, upstream)| {
            (pool, Placed { upstream: upstream.clone(), origin: Origin::Inherited(number) })
        })
    })
}

/// The servers of `service` that others keep. Each host's balancer finds out for itself whether they are well, so
/// that they are in its own set only, and no peer is told of them.
pub(super) fn servers(service: &Service, host: &HostName) -> Vec<Arc<Placed>> {
    let server = |endpoint: &std::net::SocketAddr| {
        let upstream = Upstream {
            id: EndpointId(format!("{}-{endpoint}", service.name)),
            address: endpoint.ip(),
            port: endpoint.port(),
            weight: 1,
            zone: host.clone(),
            backup: false,
            state: UpstreamState::Ready,
            checked_elsewhere: false,
        };
        Arc::new(Placed { upstream, origin: Origin::Own })
    };
    service.spec.endpoints.iter().map(server).collect()
}

pub(super) fn upstream(endpoint: &Endpoint, zone: &HostName) -> Upstream {
    Upstream {
        id: endpoint.id.clone(),
        address: endpoint.address,
        port: endpoint.port,
        weight: 1,
        zone: zone.clone(),
        backup: endpoint.backup,
        state: endpoint.state,
        checked_elsewhere: false,
    }
}
