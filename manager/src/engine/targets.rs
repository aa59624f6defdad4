//! Where metrics are: every program of every host that this manager knows of, the dead ones too, so that whoever
//! watches sees them down instead of not at all.
//!
//! Two managers say the same of a host that both have heard: nothing here depends on who tells it.

use std::net::{IpAddr, SocketAddr};

use wire::snapshot::HostSnapshot;
use wire::{HostName, MachineId, PoolName};

use super::{Engine, Time};
use crate::config::{LB, LB_ADMIN_PORT};

/// Something that has metrics, or had while it lived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where they are.
    pub at: SocketAddr,
    /// The host it is on; the address of its manager where that has not been heard yet.
    pub host: HostName,
    /// The machine and what it is for; none for a manager.
    pub machine: Option<(MachineId, PoolName)>,
}

impl Engine {
    /// Managers first, host by host in the order of their names.
    pub fn targets(&self, now: Time) -> Vec<Target> {
        let own = self.host_snapshot(now);
        let told = std::iter::once(&own).chain(self.peers.values().filter_map(|peer| peer.held.as_deref()));
        let mut hosts: Vec<&HostSnapshot> = told.collect();
        hosts.sort_by(|one, other| one.host.cmp(&other.host));
        let manager = |host: HostName, address: IpAddr| Target {
            at: SocketAddr::new(address, self.config.api_port),
            host,
            machine: None,
        };
        let unheard = self.peers.values().filter(|peer| peer.held.is_none());
        let unheard = unheard.map(|peer| manager(peer.address.to_string().into(), peer.address));
        let mut targets: Vec<Target> =
            hosts.iter().map(|host| manager(host.host.clone(), host.address)).chain(unheard).collect();
        for host in hosts {
            targets.extend(host.machines.iter().map(|machine| Target {
                at: SocketAddr::new(machine.address, self.port(host, &machine.id, &machine.service)),
                host: host.host.clone(),
                machine: Some((machine.id.clone(), machine.service.clone())),
            }));
        }
        targets
    }

    /// Where a machine of `host` answers. While it is not there nobody says; then it is where its like answer.
    fn port(&self, host: &HostSnapshot, machine: &MachineId, service: &PoolName) -> u16 {
        if service.as_str() == LB {
            return LB_ADMIN_PORT;
        }
        let alike = || host.endpoints.iter().filter(|endpoint| endpoint.service == *service);
        let its = alike().find(|endpoint| endpoint.id.machine() == machine.as_str());
        let told = its.or_else(|| alike().next()).map(|endpoint| endpoint.port);
        let configured = || self.service(service).map(|known| known.port);
        told.or_else(configured).unwrap_or(LB_ADMIN_PORT)
    }
}
