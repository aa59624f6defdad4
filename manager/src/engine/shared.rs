//! What is given out whole and often, although little of it changes: the upstream set for the balancer, and what
//! peers are told. Both are shared: giving one out, keeping it and comparing two of them costs a pointer for
//! each entry at most. What goes over the wire is made of them where they are sent.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use wire::cluster::MachineView;
use wire::snapshot::{Endpoint, HostChanges, HostSnapshot};
use wire::upstreams::{Upstream, UpstreamSet};
use wire::{EndpointId, Generation, HostName, PoolName};

use super::{Time, millis};

/// An upstream set, shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SharedSet {
    /// Its generation.
    pub generation: Generation,
    pub(super) pools: SharedPools,
}

impl SharedSet {
    /// As the balancer is told it.
    pub fn to_wire(&self) -> UpstreamSet {
        UpstreamSet { generation: self.generation, pools: self.pools.to_wire() }
    }

    pub(super) fn of(set: &UpstreamSet) -> Self {
        SharedSet { generation: set.generation, pools: SharedPools::of(&set.pools) }
    }
}

impl Serialize for SharedSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_wire().serialize(serializer)
    }
}

/// The pools of an upstream set, without a generation.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedPools(pub(super) BTreeMap<PoolName, Arc<Vec<Arc<Placed>>>>);

/// An upstream in its place among the others of its pool: by address, port and id.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) upstream: Upstream,
    pub(super) origin: Origin,
}

/// Who says of an upstream that it is there; of two that say the same one, the first comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// This host.
    Own,
    /// Another one.
    Peer(IpAddr),
    /// What the balancer held when this manager first asked it, by its place there.
    Inherited(usize),
}

/// What upstreams of a pool are ordered by.
pub(super) type Place<'a> = (IpAddr, u16, &'a EndpointId, Origin);

impl Placed {
    pub(super) fn place(&self) -> Place<'_> {
        (self.upstream.address, self.upstream.port, &self.upstream.id, self.origin)
    }
}

impl SharedPools {
    fn of(pools: &BTreeMap<PoolName, Vec<Upstream>>) -> Self {
        let placed = |(number, upstream): (usize, &Upstream)| {
            Arc::new(Placed { upstream: upstream.clone(), origin: Origin::Inherited(number) })
        };
        let shared = |upstreams: &Vec<Upstream>| Arc::new(upstreams.iter().enumerate().map(placed).collect());
        SharedPools(pools.iter().map(|(name, upstreams)| (name.clone(), shared(upstreams))).collect())
    }

    pub(super) fn to_wire(&self) -> BTreeMap<PoolName, Vec<Upstream>> {
        let list = |pool: &Vec<Arc<Placed>>| pool.iter().map(|placed| placed.upstream.clone()).collect();
        self.0.iter().map(|(name, pool)| (name.clone(), list(pool))).collect()
    }

    pub(super) fn upstreams(&self) -> impl Iterator<Item = &Upstream> {
        self.0.values().flat_map(|pool| pool.iter()).map(|placed| &placed.upstream)
    }

    /// What is left without other hosts' word.
    #[cfg(test)]
    pub(super) fn without_peers(&self) -> Self {
        let mut pools = self.clone();
        for pool in pools.0.values_mut() {
            Arc::make_mut(pool).retain(|placed| !matches!(placed.origin, Origin::Peer(_)));
        }
        pools
    }

    /// Whether they are not only equal but the same, so that comparing them costs nothing.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|((name, pool), (named, other))| name == named && Arc::ptr_eq(pool, other))
    }
}

impl PartialEq for SharedPools {
    /// Who says what is there does not matter.
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<Placed>, &Arc<Placed>)| {
            Arc::ptr_eq(one, other) || one.upstream == other.upstream
        };
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|((name, pool), (named, other))| {
                name == named
                    && (Arc::ptr_eq(pool, other)
                        || (pool.len() == other.len() && pool.iter().zip(other.iter()).all(same)))
            })
    }
}

/// What peers are told of one machine.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// As people see it, but for how long it is in its phase.
    pub(super) view: MachineView,
    pub(super) since: Time,
    pub(super) endpoint: Option<Endpoint>,
}

impl Told {
    /// Whether both say the same. Times do not count: they change without anything happening.
    pub(super) fn says(&self, other: &Self) -> bool {
        self.view == other.view && self.endpoint == other.endpoint
    }
}

/// What peers are told of all machines, in the order of their names.
pub(super) type AllTold = Arc<Vec<Arc<Told>>>;

/// What a peer is sent.
#[derive(Clone, Debug)]
pub enum Words {
    /// All of it.
    Whole(Box<HostSnapshot>),
    /// What has changed since it last said what it holds.
    Changes(HostChanges),
}

/// The machine of `told` is there no more.
fn gone(changes: &mut HostChanges, told: &Told) {
    changes.machines_gone.push(told.view.id.clone());
    changes.endpoints_gone.extend(told.endpoint.as_ref().map(|endpoint| endpoint.id.clone()));
}

/// A host's snapshot as of some moment, shared.
#[derive(Clone, Debug)]
pub struct Telling {
    /// All of it but endpoints and machines.
    pub(super) rest: Arc<HostSnapshot>,
    pub(super) told: AllTold,
    pub(super) at: Time,
}

impl Telling {
    /// Whose it is.
    pub fn host(&self) -> &HostName {
        &self.rest.host
    }

    /// The life of the manager that tells it.
    pub fn epoch(&self) -> u64 {
        self.rest.epoch
    }

    /// Counts the changes within an epoch.
    pub fn version(&self) -> u64 {
        self.rest.version
    }

    /// As a peer is told it.
    pub fn to_wire(&self) -> HostSnapshot {
        HostSnapshot {
            endpoints: self.told.iter().filter_map(|told| told.endpoint.clone()).collect(),
            machines: self.told.iter().map(|told| self.view(told)).collect(),
            ..(*self.rest).clone()
        }
    }

    /// As a peer is told it that holds `base`.
    pub fn words(&self, base: Option<&Telling>) -> Words {
        match base.and_then(|base| self.changes_from(base)) {
            Some(changes) => Words::Changes(changes),
            None => Words::Whole(Box::new(self.to_wire())),
        }
    }

    /// What makes this of `base`, if that is of the same life and less than half of all.
    fn changes_from(&self, base: &Telling) -> Option<HostChanges> {
        if base.epoch() != self.epoch() || base.version() > self.version() {
            return None;
        }
        let none = HostChanges::none(self.rest.host.clone(), self.epoch(), base.version());
        let mut changes = HostChanges { version: self.version(), ..none };
        if !Arc::ptr_eq(&self.rest, &base.rest) {
            let before = HostSnapshot { version: self.version(), ..(*base.rest).clone() };
            changes.rest = (*self.rest != before).then(|| Box::new((*self.rest).clone()));
        }
        if !Arc::ptr_eq(&self.told, &base.told) {
            self.compare(&base.told, &mut changes);
        }
        (changes.len() <= self.told.len()).then_some(changes)
    }

    /// Notes what is told of machines, and was not in `before`. Both are in the order of the names.
    fn compare(&self, before: &AllTold, changes: &mut HostChanges) {
        let mut before = before.iter().peekable();
        for now in self.told.iter() {
            while let Some(last) = before.next_if(|before| before.view.id < now.view.id) {
                gone(changes, last);
            }
            let known = before.next_if(|before| before.view.id == now.view.id);
            if known.is_some_and(|known| Arc::ptr_eq(known, now) || known.says(now)) {
                continue;
            }
            let endpoint = known.and_then(|known| known.endpoint.as_ref());
            if endpoint != now.endpoint.as_ref() {
                let is_other = |id: &EndpointId| now.endpoint.as_ref().is_none_or(|now| now.id != *id);
                let gone = endpoint.map(|endpoint| &endpoint.id).filter(|id| is_other(id));
                changes.endpoints_gone.extend(gone.cloned());
                changes.endpoints.extend(now.endpoint.clone());
            }
            changes.machines.push(self.view(now));
        }
        before.for_each(|last| gone(changes, last));
    }

    fn view(&self, told: &Told) -> MachineView {
        MachineView { for_ms: millis(self.at.saturating_sub(told.since)), ..told.view.clone() }
    }

    /// Whether `told` and `rest`, whose version does not matter, say what this says.
    pub(super) fn says(&self, rest: &HostSnapshot, told: &AllTold) -> bool {
        let same = |(one, other): (&Arc<Told>, &Arc<Told>)| Arc::ptr_eq(one, other) || one.says(other);
        *self.rest == *rest
            && (Arc::ptr_eq(&self.told, told)
                || (self.told.len() == told.len() && self.told.iter().zip(told.iter()).all(same)))
    }

    /// Whether the endpoints are those of `told`.
    pub(super) fn has_endpoints_of(&self, told: &AllTold) -> bool {
        let same =
            |one: &Arc<Told>, other: &Arc<Told>| Arc::ptr_eq(one, other) || one.endpoint == other.endpoint;
        let reach = |told: &&Arc<Told>| told.endpoint.is_some();
        Arc::ptr_eq(&self.told, told)
            || self.told.iter().filter(reach).count() == told.iter().filter(reach).count()
                && self
                    .told
                    .iter()
                    .filter(reach)
                    .zip(told.iter().filter(reach))
                    .all(|(one, other)| same(one, other))
    }
}
