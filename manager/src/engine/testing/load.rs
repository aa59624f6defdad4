//! What clients ask of services, and what that costs their machines.

use std::time::Duration;

use wire::autoscale::{MachineTraffic, Milli};
use wire::{EndpointId, PoolName};

use super::guest::Guest;
use super::world::World;
use crate::engine::{ObservedUsage, Outcome, Time};

/// What clients ask of one service, over all of its machines.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// Processors, in thousandths.
    pub(crate) cpus: u64,
    /// The memory that each machine uses, in bytes.
    pub(crate) memory_bytes: u64,
    /// Requests a second.
    pub(crate) requests: u64,
}

/// What a machine has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    cpu: Duration,
    /// Until when that was counted; none of one that has just been made.
    until: Option<Time>,
}

impl World {
    /// From now on clients ask so much of `service`.
    pub(crate) fn ask_of(&mut self, service: &str, load: Load) {
        self.count_usage();
        self.loads.insert(service.into(), load);
    }

    /// Those that answer share what is asked of their service.
    fn share(&self, service: &PoolName) -> Load {
        let load = self.loads.get(service).copied().unwrap_or_default();
        let guests = self.hosts.iter().flat_map(|host| host.guests.values());
        let count =
            guests.filter(|guest| guest.purpose.service == *service && guest.answers()).count() as u64;
        let each = |all: u64| all.checked_div(count).unwrap_or(0);
        Load { cpus: each(load.cpus), requests: each(load.requests), ..load }
    }

    fn count_usage(&mut self) {
        let now = self.now;
        let shares: Vec<_> =
            self.loads.keys().map(|service| (service.clone(), self.share(service))).collect();
        for guest in self.hosts.iter_mut().flat_map(|host| host.guests.values_mut()) {
            let since = guest.spent.until.replace(now).map_or(Duration::ZERO, |until| now - until);
            let share = shares.iter().find(|(service, _)| *service == guest.purpose.service);
            if let (Some((_, share)), true) = (share, guest.answers()) {
                guest.spent.cpu += since * u32::try_from(share.cpus).unwrap_or(u32::MAX) / 1_000;
            }
        }
    }

    /// What the hypervisor of `host` says.
    pub(super) fn used(&mut self, host: usize) -> Outcome {
        self.count_usage();
        let running = self.hosts[host].guests.values().filter(|guest| guest.running);
        let used = running.map(|guest| ObservedUsage {
            machine: guest.purpose.id.clone(),
            incarnation: guest.purpose.incarnation,
            cpu: guest.spent.cpu,
            memory_bytes: self.share(&guest.purpose.service).memory_bytes,
        });
        Outcome::Used(used.collect())
    }

    /// What the balancer of `host` says.
    pub(super) fn traffic(&mut self, host: usize) -> Outcome {
        let Some(lb) = self.hosts[host].guests.values().find(|guest| guest.is_lb() && guest.answers()) else {
            return Outcome::Failed("no answer".to_owned());
        };
        // Who does not hold the address is sent nothing.
        let holds = self.vip_holder().as_ref() == Some(&lb.purpose.id);
        let pools = self.loads.keys().filter(|_| holds).map(|service| {
            let requests_per_s = Milli::whole(self.share(service).requests);
            let sent = MachineTraffic { requests_per_s, in_flight: Milli(0) };
            let guests = self.hosts.iter().flat_map(|host| host.guests.values());
            let those = guests.filter(|guest| guest.purpose.service == *service && guest.answers());
            let id = |guest: &Guest| EndpointId::of(&guest.purpose.id, guest.purpose.incarnation);
            (service.clone(), those.map(|guest| (id(guest), sent)).collect())
        });
        Outcome::Traffic(pools.collect())
    }
}
