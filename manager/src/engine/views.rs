//! The engine's state as data: for people, for tools, and for a bug report.

use std::collections::BTreeMap;
use std::net::IpAddr;

use wire::cluster::{
    AddressState, AddressView, ClusterView, Condition, HostView, MachineView, Phase, VipView,
};
use wire::snapshot::HostSnapshot;
use wire::vip::RouterState;

use super::{Engine, Life, Machine, Peer, Time, millis};
use crate::address_pool::mac_text;
use crate::config::Vip;

impl Engine {
    /// The whole cluster, as this manager sees it.
    pub fn cluster(&self, now: Time) -> ClusterView {
        let mut hosts = vec![self.own_host(now)];
        hosts.extend(self.peers.values().map(|peer| self.peer_host(now, peer)));
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        let should = self.should_hold(now);
        let view = |vip: &Vip| VipView {
            address: vip.address,
            holders: self.holders(&hosts, vip.address),
            order: self.order_of(vip.address),
            should: should.get(&vip.address).cloned(),
        };
        let vips: Vec<VipView> = self.config.vips.iter().map(view).collect();
        let mut missing = missing(&hosts, &vips);
        missing.extend(self.pool_overlaps());
        let agreed = self.agreed.clone();
        ClusterView {
            host: self.config.name.clone(),
            whole: missing.is_empty(),
            missing,
            hosts,
            vips,
            agreed,
        }
    }

    /// The machines of this host.
    pub fn machines(&self, now: Time) -> Vec<MachineView> {
        self.machines.values().map(|machine| machine.view(now)).collect()
    }

    /// What each address of the pool is used for.
    pub fn addresses(&self) -> Vec<AddressView> {
        let mut machines: BTreeMap<IpAddr, &Machine> = BTreeMap::new();
        for machine in self.machines.values() {
            machines.entry(machine.slot.address).or_insert(machine);
        }
        let addresses = self.config.pool.addresses().iter();
        addresses.map(|address| self.address(*address, machines.get(address).copied())).collect()
    }

    fn address(&self, address: IpAddr, machine: Option<&Machine>) -> AddressView {
        if let Some(foreign) = self.foreign.get(&address) {
            let mac = Some(mac_text(foreign.mac));
            return AddressView { address, state: AddressState::Foreign, machine: None, mac };
        }
        let state = match machine.map(|machine| &machine.life) {
            None => AddressState::Free,
            Some(Life::Dead { fence_failed: true, .. }) => AddressState::Unfenced,
            Some(_) => AddressState::Used,
        };
        AddressView { address, state, machine: machine.map(|machine| machine.slot.id.clone()), mac: None }
    }

    /// Everything, as JSON.
    pub fn snapshot(&self, now: Time) -> serde_json::Value {
        let flights: Vec<serde_json::Value> = self
            .flights
            .iter()
            .map(|(job, flight)| {
                serde_json::json!({
                    "job": job,
                    "id": flight.id,
                    "for_ms": millis(now.saturating_sub(flight.started)),
                    "given_up_in_ms": flight.deadline.map(|deadline| millis(deadline.saturating_sub(now))),
                })
            })
            .collect();
        serde_json::json!({
            "now_ms": millis(now),
            "host": self.config.name,
            "adoption": self.adoption,
            "desired": *self.desired,
            "desired_is_saved": self.saved.as_deref() == Some(&*self.desired),
            "next_incarnation": self.next_incarnation,
            "version": self.version,
            "maintenance": self.maintenance,
            "store_failed": self.store_failed,
            "braked": now < self.brake_until,
            "machines": self.machines,
            "foreign": self.foreign,
            "placement": self.placing.found(),
            "peers": self.peers.values().collect::<Vec<_>>(),
            "balancer": self.balancer,
            "switchover": self.switching,
            "spreading": self.spreading,
            "uplink": self.uplink,
            "meter": self.meter,
            "scaling": self.scaling,
            "in_flight": flights,
        })
    }

    /// What a person should know about this host.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.maintenance_warning().into_iter().collect();
        warnings.extend(self.store_failed.as_ref().map(|reason| {
            format!("the desired state cannot be stored ({reason}): no machine is made until it can be")
        }));
        warnings.extend(self.agreed_warnings());
        warnings.extend(self.foreign_warnings());
        warnings.extend(self.placement_warnings());
        warnings.extend(self.standby_warnings());
        warnings.extend(self.uplink_warning());
        warnings.extend(self.pool_warnings());
        warnings.extend(self.shown.warnings());
        warnings
    }

    /// Who says that it holds `vip`. Where nobody who can be asked does, the one whose adverts our own balancer hears:
    /// a balancer goes on when its manager is gone.
    fn holders(&self, hosts: &[HostView], vip: IpAddr) -> Vec<wire::MachineId> {
        let said = holders(hosts, vip);
        if !said.is_empty() {
            return said;
        }
        let routers = self.balancer.vip.iter().flat_map(|told| &told.routers);
        let heard = routers
            .filter(|router| router.address == vip && router.state == RouterState::Backup)
            .find_map(|router| router.holder);
        let balancers = hosts.iter().filter_map(|host| host.lb.as_ref());
        balancers.filter(|lb| Some(lb.address) == heard).map(|lb| lb.id.clone()).collect()
    }

    fn own_host(&self, now: Time) -> HostView {
        let mut own = host_view(self.host_snapshot(now), 0);
        own.warnings.extend(self.pool_overlaps());
        if let Some(lb) = &mut own.lb {
            lb.generation = self.used_generation();
        }
        HostView { alive: true, heard_ms_ago: Some(0), ..own }
    }

    fn peer_host(&self, now: Time, peer: &Peer) -> HostView {
        let mut told = match &peer.held {
            Some(snapshot) => {
                host_view(HostSnapshot::clone(snapshot), millis(now.saturating_sub(peer.held_since)))
            }
            None => unheard_host(peer.address),
        };
        told.warnings.extend(self.pool_overlap(peer.address));
        HostView {
            // One that only answered so far has not said what it has.
            alive: peer.is_alive(now) && peer.held.is_some(),
            heard_ms_ago: peer.heard_by(now).map(|heard| millis(now.saturating_sub(heard))),
            ..told
        }
    }
}

/// A host as it was told `age_ms` ago.
fn host_view(snapshot: HostSnapshot, age_ms: u64) -> HostView {
    let HostSnapshot {
        host,
        address,
        address_pool: _,
        epoch,
        version: _,
        endpoints: _,
        machines,
        driver,
        desired,
        room: _,
        placed: _,
        totals: _,
        lb,
        warnings,
        peers: _,
        scaling: _,
        checks: _,
    } = snapshot;
    let older =
        |machine: MachineView| MachineView { for_ms: machine.for_ms.saturating_add(age_ms), ..machine };
    HostView {
        name: host,
        address,
        epoch,
        driver,
        desired,
        machines: machines.into_iter().map(older).collect(),
        lb,
        warnings,
        ..unheard_host(IpAddr::from([0; 4]))
    }
}

/// A host of which nothing is known but where its manager should be.
fn unheard_host(address: IpAddr) -> HostView {
    HostView {
        name: address.to_string().into(),
        address,
        alive: false,
        heard_ms_ago: None,
        epoch: 0,
        driver: String::new(),
        desired: 0,
        machines: Vec::new(),
        lb: None,
        warnings: Vec::new(),
    }
}

fn holders(hosts: &[HostView], vip: IpAddr) -> Vec<wire::MachineId> {
    hosts
        .iter()
        .filter(|host| host.alive)
        .filter_map(|host| host.lb.as_ref())
        .filter(|lb| lb.vips.iter().any(|held| held.address == vip && held.state == RouterState::Master))
        .map(|lb| lb.id.clone())
        .collect()
}

fn missing(hosts: &[HostView], vips: &[VipView]) -> Vec<String> {
    let mut missing = Vec::new();
    for host in hosts {
        if !host.alive {
            missing.push(format!("host {}: its manager is not heard", host.name));
            continue;
        }
        let ready = host.machines.iter().filter(|machine| is_as_it_should_be(machine)).count();
        if ready < host.desired as usize {
            missing.push(format!("host {}: {ready} of {} machines are ready", host.name, host.desired));
        }
        for machine in host.machines.iter().filter(|machine| !is_as_it_should_be(machine)) {
            missing.push(format!("{}: {}: {}", machine.id, machine.phase, machine.reason));
        }
        let unready = |machine: &&MachineView| {
            machine.phase == Phase::Ready && machine.condition == Some(Condition::NotReady)
        };
        for machine in host.machines.iter().filter(unready) {
            missing.push(format!("{}: its readiness probe fails", machine.id));
        }
    }
    for vip in vips.iter().filter(|vip| vip.holders.len() != 1) {
        let holders: Vec<&str> = vip.holders.iter().map(wire::MachineId::as_str).collect();
        missing.push(match holders.as_slice() {
            [] => format!("VIP {}: no balancer holds it", vip.address),
            several => format!("VIP {}: held by {}", vip.address, several.join(" and ")),
        });
    }
    missing
}

/// Whether nobody misses a machine: it is ready, or a standby that is not needed.
fn is_as_it_should_be(machine: &MachineView) -> bool {
    match machine.phase {
        Phase::Ready | Phase::Standby => true,
        Phase::Draining => machine.standby,
        Phase::Booting | Phase::Suspect | Phase::Dead => false,
    }
}
