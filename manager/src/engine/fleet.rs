//! The host's machines, and what is kept beside them so that no plan has to look at all of them.
//!
//! ```text
//!   get_mut ──▶ stale ────▶ settle: by address, booting, draining, what peers are told
//!          └──▶ restless ─▶ plan_machines looks at these, in order, and at those whose time has come
//! ```
//!
//! A machine that nothing was done to, and whose time has not come, would be planned as it was before: that is all
//! there is to it. Who waits for something that is not its own (an address, the brake, the balancers) is looked
//! at in every plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use wire::snapshot::Endpoint;
use wire::{EndpointId, MachineId};

use super::publish::endpoint_of;
use super::shared::{AllTold, Told};
use super::{Life, Machine, Services, Time};

/// All machines of the host.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Machines {
    all: BTreeMap<MachineId, Entry>,
    /// To be looked at by the next plan.
    restless: BTreeSet<MachineId>,
    /// When the others are to be looked at again, and for what.
    timers: BTreeSet<(Time, MachineId)>,
    /// They changed since what follows was last brought up to date.
    stale: BTreeSet<MachineId>,
    addresses: BTreeMap<IpAddr, BTreeSet<MachineId>>,
    booting: usize,
    draining: BTreeSet<MachineId>,
    /// When those that kept dying count as healthy.
    forgiven: BTreeSet<(Time, MachineId)>,
    told: AllTold,
    /// The ids of this host's endpoints.
    ids: BTreeSet<EndpointId>,
    /// Whose endpoints changed since that was last asked, with what they were then.
    changes: BTreeMap<MachineId, Option<Endpoint>>,
    services: Services,
}

#[derive(Clone, Debug)]
struct Entry {
    machine: Machine,
    timer: Option<(Time, &'static str)>,
    noted: Noted,
}

/// What the indexes have of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Noted {
    address: Option<IpAddr>,
    booting: bool,
    draining: bool,
    forgiven: Option<Time>,
}

impl Noted {
    fn of(machine: &Machine, now: Time) -> Self {
        Noted {
            address: Some(machine.slot.address),
            booting: matches!(machine.life, Life::Booting { .. }),
            draining: matches!(machine.life, Life::Draining { stopping: false, .. }),
            forgiven: machine.forgiven_at().filter(|at| *at > now),
        }
    }
}

impl Machines {
    /// None, of these services.
    pub(super) fn new(services: Services) -> Self {
        Machines { services, ..Machines::default() }
    }

    pub(super) fn get(&self, id: &MachineId) -> Option<&Machine> {
        self.all.get(id).map(|entry| &entry.machine)
    }

    pub(super) fn get_mut(&mut self, id: &MachineId) -> Option<&mut Machine> {
        let entry = self.all.get_mut(id)?;
        self.stale.insert(id.clone());
        self.restless.insert(id.clone());
        Some(&mut entry.machine)
    }

    /// The heartbeat of a ready machine: nothing changes but when the next one is due, after `silence` where its service
    /// says nothing else. Returns whether it is one.
    pub(super) fn heard(
        &mut self,
        now: Time,
        id: &MachineId,
        incarnation: wire::Incarnation,
        silence: Duration,
    ) -> bool {
        let Some(entry) = self.all.get_mut(id) else { return false };
        match &mut entry.machine.life {
            Life::Ready { last_beat } if entry.machine.incarnation == incarnation => *last_beat = now,
            _ => return false,
        }
        let silence = self.services.silence(&entry.machine.slot.service, silence);
        // One that is to be looked at anyway gets its timer then.
        if let Some((_, reason)) = entry.timer
            && !self.restless.contains(id)
        {
            self.set_timer(id, Some((now + silence, reason)));
        }
        true
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Machine> {
        self.all.values().map(|entry| &entry.machine)
    }

    /// All of them, to be changed.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Machine> {
        self.touch_all();
        self.all.values_mut().map(|entry| &mut entry.machine)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&MachineId, &Machine)> {
        self.all.iter().map(|(id, entry)| (id, &entry.machine))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn insert(&mut self, id: MachineId, machine: Machine) {
        self.stale.insert(id.clone());
        self.restless.insert(id.clone());
        match self.all.entry(id) {
            std::collections::btree_map::Entry::Occupied(mut known) => known.get_mut().machine = machine,
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(Entry { machine, timer: None, noted: Noted::default() });
            }
        }
    }

    pub(super) fn remove(&mut self, id: &MachineId) {
        let Some(Entry { timer, noted, .. }) = self.all.remove(id) else { return };
        if let Some((at, _)) = timer {
            self.timers.remove(&(at, id.clone()));
        }
        self.restless.remove(id);
        self.stale.remove(id);
        self.note(id, noted, Noted::default());
        if let Ok(place) = self.told.binary_search_by(|told| told.view.id.cmp(id)) {
            let told = Arc::make_mut(&mut self.told).remove(place);
            self.tell_endpoint(id, told.endpoint.clone(), None);
        }
    }

    /// Something that concerns machine `id` changed, though not the machine itself.
    pub(super) fn touch(&mut self, id: &MachineId) {
        if self.all.contains_key(id) {
            self.restless.insert(id.clone());
        }
    }

    /// Something that concerns all of them changed.
    pub(super) fn touch_all(&mut self) {
        self.restless = self.all.keys().cloned().collect();
        self.stale.clone_from(&self.restless);
    }

    /// From now on those are to be looked at whose time has come.
    pub(super) fn wake(&mut self, now: Time) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
            && let Some((_, id)) = self.timers.pop_first()
        {
            if let Some(entry) = self.all.get_mut(&id) {
                entry.timer = None;
            }
            self.restless.insert(id);
        }
    }

    pub(super) fn is_restless(&self, id: &MachineId) -> bool {
        self.restless.contains(id)
    }

    /// The first to be looked at that comes after `before`.
    pub(super) fn next_restless(&self, before: Option<&MachineId>) -> Option<MachineId> {
        let from = before.map_or(Bound::Unbounded, Bound::Excluded);
        self.restless.range::<MachineId, _>((from, Bound::Unbounded)).next().cloned()
    }

    /// Machine `id` is being looked at.
    pub(super) fn looked_at(&mut self, id: &MachineId) {
        self.restless.remove(id);
        self.set_timer(id, None);
    }

    /// Machine `id` is to be looked at again at `timer`, if nothing happens to it before.
    pub(super) fn set_timer(&mut self, id: &MachineId, timer: Option<(Time, &'static str)>) {
        let Some(entry) = self.all.get_mut(id) else { return };
        if entry.timer == timer {
            return;
        }
        if let Some((at, _)) = std::mem::replace(&mut entry.timer, timer) {
            self.timers.remove(&(at, id.clone()));
        }
        if let Some((at, _)) = timer {
            self.timers.insert((at, id.clone()));
        }
    }

    /// When the first of them is to be looked at, and for what.
    pub(super) fn first_timer(&self) -> Option<(Time, &'static str)> {
        let (_, id) = self.timers.first()?;
        self.all.get(id)?.timer
    }

    /// Brings what is kept beside the machines up to date.
    pub(super) fn settle(&mut self, now: Time) {
        while let Some((at, _)) = self.forgiven.first()
            && *at <= now
            && let Some((_, id)) = self.forgiven.pop_first()
        {
            if let Some(entry) = self.all.get_mut(&id) {
                entry.noted.forgiven = None;
            }
            self.stale.insert(id);
        }
        while let Some(id) = self.stale.pop_first() {
            let Some(entry) = self.all.get_mut(&id) else { continue };
            let fresh = Noted::of(&entry.machine, now);
            let before = std::mem::replace(&mut entry.noted, fresh);
            let told = Told {
                view: wire::cluster::MachineView { for_ms: 0, ..entry.machine.view(now) },
                since: entry.machine.since,
                endpoint: endpoint_of(&entry.machine, &self.services),
            };
            self.note(&id, before, fresh);
            self.tell(told);
        }
    }

    fn note(&mut self, id: &MachineId, before: Noted, after: Noted) {
        if before == after {
            return;
        }
        if let Some(address) = before.address
            && let Some(there) = self.addresses.get_mut(&address)
        {
            there.remove(id);
            if there.is_empty() {
                self.addresses.remove(&address);
            }
        }
        if let Some(address) = after.address {
            self.addresses.entry(address).or_default().insert(id.clone());
        }
        self.booting = self.booting + usize::from(after.booting) - usize::from(before.booting);
        match (before.draining, after.draining) {
            (false, true) => _ = self.draining.insert(id.clone()),
            (true, false) => _ = self.draining.remove(id),
            _ => {}
        }
        if let Some(at) = before.forgiven {
            self.forgiven.remove(&(at, id.clone()));
        }
        if let Some(at) = after.forgiven {
            self.forgiven.insert((at, id.clone()));
        }
    }

    fn tell(&mut self, told: Told) {
        match self.told.binary_search_by(|other| other.view.id.cmp(&told.view.id)) {
            Ok(place) => {
                let before = &self.told[place];
                if before.since == told.since && before.says(&told) {
                    return;
                }
                let endpoint = before.endpoint.clone();
                self.tell_endpoint(&told.view.id, endpoint, told.endpoint.as_ref());
                Arc::make_mut(&mut self.told)[place] = Arc::new(told);
            }
            Err(place) => {
                self.tell_endpoint(&told.view.id, None, told.endpoint.as_ref());
                Arc::make_mut(&mut self.told).insert(place, Arc::new(told));
            }
        }
    }

    fn tell_endpoint(&mut self, id: &MachineId, before: Option<Endpoint>, after: Option<&Endpoint>) {
        if before.as_ref() == after {
            return;
        }
        if let Some(endpoint) = &before {
            self.ids.remove(&endpoint.id);
        }
        if let Some(endpoint) = after {
            self.ids.insert(endpoint.id.clone());
        }
        if !self.changes.contains_key(id) {
            self.changes.insert(id.clone(), before);
        }
    }

    /// The endpoints that went and came since this was last asked.
    pub(super) fn take_changes(&mut self) -> impl Iterator<Item = (Option<Endpoint>, Option<Endpoint>)> {
        let told = &self.told;
        std::mem::take(&mut self.changes).into_iter().map(|(id, before)| {
            let place = told.binary_search_by(|told| told.view.id.cmp(&id)).ok();
            (before, place.and_then(|place| told[place].endpoint.clone()))
        })
    }

    /// Where `machine` can be sent requests, if it can.
    pub(super) fn endpoint(&self, machine: &Machine) -> Option<Endpoint> {
        endpoint_of(machine, &self.services)
    }

    /// After how long a silence `machine` is suspected; `by_default` where heartbeats tell.
    pub(super) fn silence(&self, machine: &Machine, by_default: Duration) -> Duration {
        self.services.silence(&machine.slot.service, by_default)
    }

    /// What peers are told; as of the last [`Machines::settle`], as what follows.
    pub(super) fn told(&self) -> &AllTold {
        &self.told
    }

    /// Whether an endpoint of this host has an id from `first` to `last`.
    pub(super) fn has_ids_between(&self, first: &EndpointId, last: &EndpointId) -> bool {
        first <= last && self.ids.range(first..=last).next().is_some()
    }

    /// The machines that have `address`.
    pub(super) fn at(&self, address: IpAddr) -> impl Iterator<Item = &Machine> {
        self.addresses.get(&address).into_iter().flatten().filter_map(|id| self.get(id))
    }

    /// Whether one of them is booting.
    pub(super) fn any_booting(&self) -> bool {
        self.booting > 0
    }

    /// Whether balancers are being told that one of them is to be taken away.
    pub(super) fn any_draining(&self) -> bool {
        !self.draining.is_empty()
    }

    /// Those.
    pub(super) fn draining(&self) -> Vec<MachineId> {
        self.draining.iter().cloned().collect()
    }

    /// They are of these services now: everything kept beside them is made anew.
    pub(super) fn set_services(&mut self, services: Services) {
        self.services.extend(services);
        self.forget_indexes();
    }

    /// Forgets all that is kept beside the machines, so that it is made anew.
    pub(super) fn forget_indexes(&mut self) {
        let Machines { all, services, .. } = std::mem::take(self);
        *self = Machines::new(services);
        for (id, Entry { machine, .. }) in all {
            self.insert(id, machine);
        }
    }
}

impl Serialize for Machines {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}
