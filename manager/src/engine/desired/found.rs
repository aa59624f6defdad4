//! What is wanted, learned from what is there: for a manager whose own record of it was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use wire::PoolName;

use super::{Desired, Others, lb_id, machine_id};
use crate::config::{Config, LB};
use crate::engine::MachinePurpose;

impl Desired {
    /// Brings the slots into line with the machines that were `found`: each of a known service, in the pool and
    /// named as this host names its own, keeps its number and address. Counts are those of the configuration,
    /// or of what is there where that is more: a machine too many can be deleted, one that was taken away
    /// serves nobody.
    pub(in crate::engine) fn want(&mut self, config: &Config, found: &[&MachinePurpose]) {
        let host = &config.name;
        let in_pool = |purpose: &&&MachinePurpose| config.pool.contains(purpose.address);
        let is_lb = |purpose: &&&MachinePurpose| purpose.service.as_str() == LB && purpose.id == lb_id(host);
        let lb = found.iter().filter(in_pool).find(is_lb);
        let mut taken = BTreeSet::new();
        if let Some(purpose) = lb {
            self.lb = purpose.address;
            taken.insert(purpose.address);
        }
        let mut kept: BTreeMap<PoolName, BTreeMap<u32, IpAddr>> = BTreeMap::new();
        for purpose in found.iter().filter(in_pool) {
            let Some(number) = number_of(host, purpose) else { continue };
            if self.services.contains_key(&purpose.service) && taken.insert(purpose.address) {
                kept.entry(purpose.service.clone()).or_default().insert(number, purpose.address);
            }
        }
        let mut counts = Vec::new();
        for (service, slots) in &mut self.services {
            let count = slots.slots.len();
            let mut places = kept.remove(service).unwrap_or_default();
            for (number, address) in std::mem::take(&mut slots.slots) {
                if places.len() < count && !places.contains_key(&number) && taken.insert(address) {
                    places.insert(number, address);
                }
            }
            slots.slots = places;
            counts.push((service.clone(), count, std::mem::take(&mut slots.standbys).len()));
        }
        // Somebody runs where it would be made.
        if lb.is_none()
            && taken.contains(&self.lb)
            && let Some(free) = self.free_address(config, &Others::NONE)
        {
            self.lb = free;
        }
        for (service, count, standbys) in counts {
            while self.count(&service) < count && self.add(host, config, &service, &Others::NONE).is_some() {}
            // No machine says which it was; those with the highest numbers were made as standbys.
            if let Some(slots) = self.services.get_mut(&service) {
                slots.standbys = slots.slots.keys().rev().take(standbys).copied().collect();
            }
        }
        self.forget_unused();
    }
}

/// The number in a machine's name, if this host names it so.
fn number_of(host: &wire::HostName, purpose: &MachinePurpose) -> Option<u32> {
    let (_, number) = purpose.id.as_str().rsplit_once('-')?;
    let number = number.parse().ok()?;
    (number > 0 && machine_id(host, &purpose.service, number) == purpose.id).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::config;

    fn purpose(id: &str, service: &str, address: &str) -> MachinePurpose {
        let address = address.parse().expect("an address");
        MachinePurpose { id: id.into(), service: service.into(), incarnation: 7, address, image: None }
    }

    fn wanted(replicas: u32, found: &[MachinePurpose]) -> Vec<String> {
        let config = config(replicas);
        let mut desired = Desired::reconcile(None, &config);
        desired.want(&config, &found.iter().collect::<Vec<_>>());
        let slots = desired.slots(&config.name);
        let addresses: BTreeSet<IpAddr> = slots.iter().map(|slot| slot.address).collect();
        assert_eq!(addresses.len(), slots.len(), "one address each: {slots:?}");
        slots.iter().map(|slot| format!("{} {}", slot.id, slot.address)).collect()
    }

    #[test]
    fn what_is_found_keeps_its_number_and_address() {
        let found = [
            purpose("a-lb", "lb", "192.168.10.12"),
            purpose("a-stateless-3", "stateless", "192.168.10.11"),
            purpose("a-stateless-2", "stateless", "192.168.10.16"),
            purpose("a-stateless-5", "stateless", "192.168.10.10"),
        ];
        let all = [
            "a-lb 192.168.10.12",
            "a-stateless-2 192.168.10.16",
            "a-stateless-3 192.168.10.11",
            "a-stateless-5 192.168.10.10",
        ];
        assert_eq!(wanted(2, &found), all);
        // Less than configured: the rest is made where there is room.
        let rest = ["a-lb 192.168.10.12", "a-stateless-1 192.168.10.11", "a-stateless-2 192.168.10.16"];
        assert_eq!(wanted(2, &[found[0].clone(), found[2].clone()]), rest);
        // One that runs where the balancer would be stays, and the balancer goes elsewhere.
        let beside = ["a-lb 192.168.10.11", "a-stateless-5 192.168.10.10"];
        assert_eq!(wanted(1, &found[3..]), beside);
    }

    #[test]
    fn what_is_not_ours_to_keep_is_not_wanted() {
        let found = [
            purpose("b-stateless-9", "stateless", "192.168.10.14"),
            purpose("a-stateless-9", "stateless", "192.168.10.99"),
            purpose("a-web-1", "web", "192.168.10.14"),
            purpose("a-stateless-0", "stateless", "192.168.10.14"),
            purpose("a-stateless-09", "stateless", "192.168.10.14"),
            purpose("a-lb", "stateless", "192.168.10.14"),
        ];
        assert_eq!(wanted(1, &found), ["a-lb 192.168.10.10", "a-stateless-1 192.168.10.11"]);
    }
}
