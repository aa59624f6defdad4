//! How many machines of what there are to be, and at which addresses: the one thing a manager keeps on
//! disk, because no hypervisor remembers it across a power cut.
//!
//! `replicas` in the configuration is only the initial count. What people add and remove later is
//! recorded here, and lasts until `replicas` itself is changed. Of a service with a `total` it is what this host had
//! when that was last decided (`placing`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use wire::placement::Total;
use wire::{HostName, Incarnation, MachineId, PoolName};

use super::rollout::Rollout;
use crate::config::{Config, LB, Service};

mod found;

/// So many incarnations are reserved with one write.
const INCARNATION_BLOCK: u64 = 1_000;

/// A place for a machine: its name and address stay, however often it is rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot {
    /// The machine's name.
    pub id: MachineId,
    /// The machine's service, or `lb`.
    pub service: PoolName,
    /// The machine's address.
    pub address: IpAddr,
}

/// What is to be on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Counts the lives of the manager.
    pub epoch: u64,
    /// Every incarnation below this may have been used.
    pub incarnations_reserved: Incarnation,
    /// The balancer's address.
    lb: IpAddr,
    /// The services.
    services: BTreeMap<PoolName, ServiceSlots>,
    /// Those of the slots' addresses that are in use: they were asked for on the wire before the first
    /// machine got them, and are ours since. A rebuilt machine gets its own without a question.
    #[serde(default)]
    in_use: BTreeSet<IpAddr>,
    /// The machines that balancers are to send nothing new, by a person's order.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    drained: BTreeSet<MachineId>,
    /// The services whose machines are being built anew.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) rollouts: BTreeMap<PoolName, Rollout>,
    /// The managers that were learned of from others; the configuration does not name them.
    #[serde(default)]
    pub(super) learned_peers: BTreeSet<IpAddr>,
    /// The totals that were decided at run time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) totals: BTreeMap<PoolName, Total>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ServiceSlots {
    /// The `replicas` these slots started from.
    initial: u32,
    /// Whether they are this host's share of a `total`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    placed: bool,
    /// Number and address of each machine.
    slots: BTreeMap<u32, IpAddr>,
    /// The `standbys` that these started from.
    #[serde(default, skip_serializing_if = "is_zero")]
    initial_standbys: u32,
    /// The numbers of those that are standbys.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    standbys: BTreeSet<u32>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl ServiceSlots {
    fn primaries(&self) -> usize {
        self.slots.len() - self.standbys.len()
    }

    /// One less: the last one that is, or is no, standby.
    fn pop(&mut self, standby: bool) {
        let mut numbers = self.slots.keys().rev();
        if let Some(number) = numbers.find(|number| self.standbys.contains(number) == standby).copied() {
            self.slots.remove(&number);
            self.standbys.remove(&number);
        }
    }
}

impl Desired {
    /// Brings what was stored into line with the configuration: addresses outside the pool and
    /// services that are gone are dropped, counts follow `replicas` where that was changed.
    pub fn reconcile(stored: Option<Desired>, config: &Config) -> Self {
        let epoch = stored.as_ref().map_or(0, |stored| stored.epoch) + 1;
        let reserved = stored.as_ref().map_or(0, |stored| stored.incarnations_reserved);
        let lb = stored
            .as_ref()
            .map(|stored| stored.lb)
            .filter(|address| config.pool.contains(*address))
            .or_else(|| config.pool.addresses().first().copied())
            .unwrap_or(IpAddr::from([0; 4]));
        let in_use = stored.as_ref().map(|stored| stored.in_use.clone()).unwrap_or_default();
        let drained = stored.as_ref().map(|stored| stored.drained.clone()).unwrap_or_default();
        let rollouts = stored.as_ref().map(|stored| stored.rollouts.clone()).unwrap_or_default();
        let mut learned_peers =
            stored.as_ref().map(|stored| stored.learned_peers.clone()).unwrap_or_default();
        learned_peers.retain(|peer| config.network.contains(peer) && !config.peers.contains(peer));
        let mut desired = Desired {
            epoch,
            incarnations_reserved: reserved,
            lb,
            services: BTreeMap::new(),
            in_use,
            drained,
            rollouts,
            learned_peers,
            totals: stored.as_ref().map(|stored| stored.totals.clone()).unwrap_or_default(),
        };
        desired.services = stored.map(|stored| stored.services).unwrap_or_default();
        desired.follow(config, &Others::NONE);
        desired
    }

    /// Brings the slots into line with the services of `config`: those of services that are gone are dropped, counts
    /// follow `replicas` where that was changed, and stay where there is a `total` instead. New ones get no name and no
    /// address that one of the `others` has. Returns how many could not be made, for want of addresses.
    pub fn follow(&mut self, config: &Config, others: &Others<'_>) -> usize {
        let mut known = std::mem::take(&mut self.services);
        let mut counts = Vec::new();
        for service in &config.services {
            let mut slots = known.remove(&service.name).unwrap_or_default();
            let is_same = slots.initial == service.replicas && !slots.placed;
            let stays = is_same || service.is_placed();
            let count = if stays { slots.primaries() } else { service.replicas as usize };
            let wanted = service.standbys.count;
            let standbys =
                if slots.initial_standbys == wanted { slots.standbys.len() } else { wanted as usize };
            (slots.initial, slots.placed, slots.initial_standbys) =
                (service.replicas, service.is_placed(), wanted);
            slots.slots.retain(|_, address| config.pool.contains(*address) && *address != self.lb);
            slots.standbys.retain(|number| slots.slots.contains_key(number));
            while slots.primaries() > count {
                slots.pop(false);
            }
            while slots.standbys.len() > standbys {
                slots.pop(true);
            }
            counts.push((&service.name, count, standbys));
            self.services.insert(service.name.clone(), slots);
        }
        // Only now are all kept addresses known, so that filling up takes none of them.
        let mut short = 0;
        for (service, count, _) in &counts {
            while self.count(service) < *count && self.add(&config.name, config, service, others).is_some() {}
            short += count - self.count(service);
        }
        // Where addresses are short, it is standbys that are left out.
        for (service, _, count) in &counts {
            while self.standbys(service) < *count
                && self.add_standby(&config.name, config, service, others).is_some()
            {}
            let made = self.standbys(service);
            short += count - made;
            if made < *count
                && let Some(slots) = self.services.get_mut(*service)
            {
                // The rest is tried again by the next one that follows.
                slots.initial_standbys = made as u32;
            }
        }
        self.forget_unused();
        self.totals.retain(|name, _| self.services.get(name).is_some_and(|slots| slots.placed));
        let slots: BTreeSet<MachineId> = self.slots(&config.name).into_iter().map(|slot| slot.id).collect();
        self.drained.retain(|id| slots.contains(id));
        self.rollouts.retain(|service, _| self.services.contains_key(service));
        short
    }

    /// Whether balancers are to send machine `id` nothing new, by a person's order.
    pub fn is_drained(&self, id: &MachineId) -> bool {
        self.drained.contains(id)
    }

    /// Notes a person's order about machine `id`.
    pub fn set_drained(&mut self, id: &MachineId, on: bool) {
        if on {
            self.drained.insert(id.clone());
        } else {
            self.drained.remove(id);
        }
    }

    /// Reserves the next block of incarnations, to be saved before one of them is used.
    pub fn reserve_incarnations(&mut self) {
        self.incarnations_reserved += INCARNATION_BLOCK;
    }

    /// All slots, the balancer's first.
    pub fn slots(&self, host: &HostName) -> Vec<Slot> {
        let lb = Slot { id: lb_id(host), service: LB.into(), address: self.lb };
        let services = self.services.iter().flat_map(|(service, slots)| {
            slots.slots.iter().map(|(number, address)| Slot {
                id: machine_id(host, service, *number),
                service: service.clone(),
                address: *address,
            })
        });
        std::iter::once(lb).chain(services).collect()
    }

    /// How many machines of `service` there are to be, without standbys.
    pub fn count(&self, service: &PoolName) -> usize {
        self.services.get(service).map_or(0, ServiceSlots::primaries)
    }

    /// How many standbys of `service` there are to be.
    pub fn standbys(&self, service: &PoolName) -> usize {
        self.services.get(service).map_or(0, |slots| slots.standbys.len())
    }

    /// Whether there are fewer standbys of `service` than there would be with a larger pool.
    pub(super) fn lacks_standbys(&self, config: &Config, service: &Service) -> bool {
        self.standbys(&service.name) < service.standbys.count as usize
            && self.free_address(config, &Others::NONE).is_none()
    }

    /// Whether number `number` of `service` is a standby.
    pub(super) fn is_standby(&self, service: &PoolName, number: u32) -> bool {
        self.services.get(service).is_some_and(|slots| slots.standbys.contains(&number))
    }

    /// The machines of `service`, each with whether it is a standby.
    pub(super) fn members(&self, host: &HostName, service: &PoolName) -> Vec<(MachineId, bool)> {
        let slots = self.services.get(service);
        let of = |slots: &ServiceSlots| -> Vec<(MachineId, bool)> {
            let numbers = slots.slots.keys();
            numbers
                .map(|number| (machine_id(host, service, *number), slots.standbys.contains(number)))
                .collect()
        };
        slots.map(of).unwrap_or_default()
    }

    /// How many machines of services with a `total` there are to be.
    pub fn placed(&self) -> usize {
        self.services.values().filter(|slots| slots.placed).map(|slots| slots.slots.len()).sum()
    }

    /// The machines of `service`, the last first.
    pub fn last_first(&self, host: &HostName, service: &PoolName) -> Vec<MachineId> {
        let numbers = self.services.get(service).into_iter().flat_map(|slots| slots.slots.keys().rev());
        numbers.map(|number| machine_id(host, service, *number)).collect()
    }

    /// How many machines of all kinds there are to be.
    pub fn total(&self) -> usize {
        1 + self.services.values().map(|slots| slots.slots.len()).sum::<usize>()
    }

    /// One more machine of `service`, with the first number and address that neither a slot nor one of the
    /// `others` has; none when the pool is used up or the service unknown.
    pub fn add(
        &mut self,
        host: &HostName,
        config: &Config,
        service: &PoolName,
        others: &Others<'_>,
    ) -> Option<Slot> {
        let address = self.free_address(config, others)?;
        let slots = self.services.get_mut(service)?;
        let mut taken = slots.slots.keys().peekable();
        let is_free = |number: &u32| {
            while taken.next_if(|taken| *taken < number).is_some() {}
            taken.peek() != Some(&number)
        };
        let named = |number| (number, machine_id(host, service, number));
        let (number, id) = (1..).filter(is_free).map(named).find(|(_, id)| !(others.has_id)(id))?;
        slots.slots.insert(number, address);
        Some(Slot { id, service: service.clone(), address })
    }

    /// One more standby of `service`, as [`Desired::add`].
    pub(super) fn add_standby(
        &mut self,
        host: &HostName,
        config: &Config,
        service: &PoolName,
        others: &Others<'_>,
    ) -> Option<Slot> {
        let slot = self.add(host, config, service, others)?;
        let (_, number) = self.place(host, &slot.id)?;
        self.services.get_mut(service)?.standbys.insert(number);
        Some(slot)
    }

    /// One machine less: that of `id`. Returns whether there was such a slot.
    pub fn remove(&mut self, host: &HostName, id: &MachineId) -> bool {
        let Some((service, number)) = self.place(host, id) else { return false };
        let Some(slots) = self.services.get_mut(&service) else { return false };
        let Some(address) = slots.slots.remove(&number) else { return false };
        slots.standbys.remove(&number);
        self.drained.remove(id);
        if self.addresses().all(|other| other != address) {
            self.in_use.remove(&address);
        }
        true
    }

    /// The slot of machine `id`.
    pub fn slot(&self, host: &HostName, id: &MachineId) -> Option<Slot> {
        if *id == lb_id(host) {
            return Some(Slot { id: id.clone(), service: LB.into(), address: self.lb });
        }
        let (service, number) = self.place(host, id)?;
        let address = *self.services.get(&service)?.slots.get(&number)?;
        Some(Slot { id: id.clone(), service, address })
    }

    /// The service and the number of machine `id`, if its name is one that this host gives.
    pub(super) fn place(&self, host: &HostName, id: &MachineId) -> Option<(PoolName, u32)> {
        let (rest, number) = id.as_str().rsplit_once('-')?;
        let service: PoolName = rest.strip_prefix(host.as_str())?.strip_prefix('-')?.into();
        let number = number.parse().ok()?;
        (self.services.contains_key(&service) && machine_id(host, &service, number) == *id)
            .then_some((service, number))
    }

    /// The addresses of all slots.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let services = self.services.values().flat_map(|slots| slots.slots.values());
        std::iter::once(&self.lb).chain(services).copied()
    }

    /// The first address of the pool that neither a slot nor one of the `others` has.
    fn free_address(&self, config: &Config, others: &Others<'_>) -> Option<IpAddr> {
        let mut taken: Vec<IpAddr> = self.addresses().collect();
        taken.sort_unstable();
        let mut addresses = config.pool.addresses().iter().copied();
        addresses.find(|address| taken.binary_search(address).is_err() && !(others.has_address)(*address))
    }

    /// Gives the slot of `id` another address, chosen as for [`Desired::add`]; none when there is no
    /// other one or no such slot.
    pub fn relocate(
        &mut self,
        host: &HostName,
        config: &Config,
        id: &MachineId,
        others: &Others<'_>,
    ) -> Option<Slot> {
        let slot = self.slot(host, id)?;
        let address = self.free_address(config, others)?;
        let places = self.services.values_mut().flat_map(|slots| slots.slots.values_mut());
        let place = std::iter::once(&mut self.lb).chain(places).find(|place| **place == slot.address)?;
        *place = address;
        self.forget_unused();
        Some(Slot { address, ..slot })
    }

    /// Whether `address` is in use.
    pub fn uses(&self, address: IpAddr) -> bool {
        self.in_use.contains(&address)
    }

    /// From now on `address` is in use, if a slot has it.
    pub fn take_into_use(&mut self, address: IpAddr) {
        if self.addresses().any(|other| other == address) {
            self.in_use.insert(address);
        }
    }

    fn forget_unused(&mut self) {
        let addresses: BTreeSet<IpAddr> = self.addresses().collect();
        self.in_use.retain(|address| addresses.contains(address));
    }
}

/// What is there besides the slots, and has a name or an address that must not be given away.
pub struct Others<'a> {
    /// Whether one of them has this name.
    pub has_id: &'a dyn Fn(&MachineId) -> bool,
    /// Whether one of them has this address.
    pub has_address: &'a dyn Fn(IpAddr) -> bool,
}

impl Others<'_> {
    /// Nothing.
    pub const NONE: Others<'static> = Others { has_id: &|_| false, has_address: &|_| false };
}

/// The name of the balancer of `host`.
pub fn lb_id(host: &HostName) -> MachineId {
    MachineId(format!("{host}-{LB}"))
}

fn machine_id(host: &HostName, service: &PoolName, number: u32) -> MachineId {
    MachineId(format!("{host}-{service}-{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::config;

    #[test]
    fn counts_that_people_changed_last_until_replicas_changes() {
        let two = config(2);
        let host = two.name.clone();
        let service: PoolName = "stateless".into();
        let mut desired = Desired::reconcile(None, &two);
        assert_eq!(desired.count(&service), 2);
        let third = desired.add(&host, &two, &service, &Others::NONE).expect("there is room");
        assert_eq!(third.id.as_str(), "a-stateless-3");
        assert!(desired.remove(&host, &"a-stateless-1".into()));
        assert!(!desired.remove(&host, &"a-stateless-1".into()));
        let before = desired.slots(&host);

        let again = Desired::reconcile(Some(desired.clone()), &two);
        assert_eq!(again.slots(&host), before);
        assert_eq!(again.epoch, desired.epoch + 1);

        let changed = Desired::reconcile(Some(desired), &config(3));
        assert_eq!(changed.count(&service), 3);
    }

    #[test]
    fn a_number_or_address_that_still_exists_is_not_given_away() {
        let config = config(1);
        let host = config.name.clone();
        let mut desired = Desired::reconcile(None, &config);
        let old = desired.slots(&host)[1].clone();
        assert!(desired.remove(&host, &old.id));
        let others = Others { has_id: &|id| *id == old.id, has_address: &|address| address == old.address };
        let new = desired.add(&host, &config, &"stateless".into(), &others).expect("room");
        assert!(new.id != old.id && new.address != old.address);
    }

    #[test]
    fn a_used_up_pool_gives_no_slot() {
        let config = config(6);
        let mut desired = Desired::reconcile(None, &config);
        assert_eq!(desired.total(), 7);
        let host = config.name.clone();
        assert_eq!(desired.add(&host, &config, &"stateless".into(), &Others::NONE), None);
        assert_eq!(desired.relocate(&host, &config, &lb_id(&host), &Others::NONE), None);
    }

    #[test]
    fn an_address_is_in_use_as_long_as_a_slot_has_it() {
        let config = config(2);
        let host = config.name.clone();
        let mut desired = Desired::reconcile(None, &config);
        let slots = desired.slots(&host);
        for slot in &slots {
            desired.take_into_use(slot.address);
        }
        desired.take_into_use("192.168.10.16".parse().expect("an address"));
        assert_eq!(desired.in_use.len(), 3);
        assert!(desired.remove(&host, &slots[1].id));
        let foreign = Others { has_id: &|_| false, has_address: &|address| address == slots[1].address };
        let moved = desired.relocate(&host, &config, &lb_id(&host), &foreign).expect("there is room");
        assert_eq!(moved.address.to_string(), "192.168.10.13");
        assert_eq!(desired.slots(&host)[0], moved);
        let again = Desired::reconcile(Some(desired), &config);
        assert_eq!(again.in_use, [slots[2].address].into());
    }
}
