//! Tells the others: the host's balancer what to send requests to, and the peers what is here.

use std::net::Ipv4Addr;
use std::time::Duration;

use wire::cluster::{LbView, LbVipView};
use wire::proxy_config::{ProxyConfig, Route};
use wire::snapshot::{Endpoint, HostSnapshot, SnapshotAck};
use wire::upstreams::{Upstream, UpstreamSet, UpstreamState};
use wire::{EndpointId, MachineId};

use super::{Adoption, Command, Engine, Job, Life, Machine, Outcome, Plan, Pools, Severity, Time, lb_id};
use crate::config::LB;

/// The balancer is asked for its part in the VIPs this often.
const READ_LB_EVERY: Duration = Duration::from_millis(250);

/// What failed between manager and balancer is tried again after this.
const LB_AGAIN: Duration = Duration::from_millis(100);

/// A peer that knows everything is told again this often, so that it sees we live.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// While a machine waits for its endpoint to be known as draining, peers are asked this often.
const TELL_EVERY_DRAINING: Duration = Duration::from_millis(50);

/// The pause after telling failed; doubled with each failure in a row …
const TELL_AGAIN: Duration = Duration::from_millis(100);

/// … up to this.
const TELL_AGAIN_MAX: Duration = Duration::from_secs(2);

impl Engine {
    /// Every upstream of every host, as far as known.
    pub(super) fn pools(&self) -> Pools {
        let mut pools: Pools =
            self.config.services.iter().map(|service| (service.name.clone(), Vec::new())).collect();
        for endpoint in self.endpoints() {
            pools
                .entry(endpoint.service.clone())
                .or_default()
                .push(upstream(&endpoint, self.config.name.clone()));
        }
        for snapshot in self.peers.values().filter_map(|peer| peer.held.as_ref()) {
            for endpoint in &snapshot.endpoints {
                pools
                    .entry(endpoint.service.clone())
                    .or_default()
                    .push(upstream(endpoint, snapshot.host.clone()));
            }
        }
        // What the balancer knew of a host that has not been heard since this manager started stays.
        for (pool, upstreams) in &self.inherited {
            let unheard = upstreams.iter().filter(|upstream| !self.is_heard(&upstream.zone)).cloned();
            pools.entry(pool.clone()).or_default().extend(unheard);
        }
        for upstreams in pools.values_mut() {
            upstreams.sort_by(|a, b| (a.address, a.port, &a.id).cmp(&(b.address, b.port, &b.id)));
        }
        pools
    }

    fn is_heard(&self, host: &wire::HostName) -> bool {
        *host == self.config.name
            || self
                .peers
                .values()
                .filter_map(|peer| peer.held.as_ref())
                .any(|snapshot| snapshot.host == *host)
    }

    /// The endpoints of this host.
    fn endpoints(&self) -> Vec<Endpoint> {
        self.machines.values().filter_map(|machine| self.endpoint(machine)).collect()
    }

    fn endpoint(&self, machine: &Machine) -> Option<Endpoint> {
        let service = self.config.services.iter().find(|service| service.name == machine.slot.service)?;
        let state = match machine.life {
            Life::Ready { .. } => UpstreamState::Ready,
            Life::Suspect { .. } => UpstreamState::Suspect,
            Life::Draining { .. } => UpstreamState::Draining,
            Life::Waiting { .. } | Life::Booting { .. } | Life::Dead { .. } => return None,
        };
        Some(Endpoint {
            id: EndpointId::of(&machine.slot.id, machine.incarnation),
            service: service.name.clone(),
            address: machine.slot.address.into(),
            port: service.port,
            state,
        })
    }

    /// One route: everything goes to the first service. Without a service there is none.
    pub(super) fn proxy_config(&self) -> ProxyConfig {
        let route = self.config.services.first().map(|service| Route {
            name: service.name.to_string(),
            hosts: Vec::new(),
            path: "/".to_owned(),
            pool: service.name.clone(),
        });
        ProxyConfig { generation: 0, routes: route.into_iter().collect(), ..ProxyConfig::default() }
    }

    /// The address of the host's balancer, if its heartbeats arrive.
    pub(super) fn ready_lb(&self) -> Option<Ipv4Addr> {
        let machine = self.machines.get(&lb_id(&self.config.name))?;
        machine.is_ready().then_some(machine.slot.address)
    }

    pub(super) fn plan_balancer(&mut self, now: Time, plan: &mut Plan) {
        let pools = self.pools();
        let lb = self.ready_lb();
        if lb.is_none() || self.balancer.uses(&pools) {
            for peer in self.peers.values_mut() {
                peer.using = peer.held.as_ref().map_or(0, |snapshot| snapshot.version);
            }
        }
        let Some(lb) = lb else { return };
        let documents = self.balancer.confirmed.is_none();
        if documents || now >= self.balancer.read_at {
            if now >= self.balancer.read_at {
                self.start(now, Job::ReadLb, Command::ReadLb { lb, documents }, plan);
            }
        }
        plan.wake_by(self.balancer.read_at.max(now + Duration::from_millis(1)), "ask the balancer");
        if documents || self.adoption != Adoption::Settled {
            return;
        }
        if !self.balancer.uses(&pools) && !self.flights.contains_key(&Job::Push) {
            if now >= self.balancer.push_at {
                let set = self.balancer.next_set(pools);
                self.start(now, Job::Push, Command::Push { lb, set }, plan);
            } else {
                plan.wake_by(self.balancer.push_at, "push again");
            }
        }
        let mut config = self.proxy_config();
        let known = self.balancer.confirmed_config.as_ref().is_some_and(|confirmed| {
            config.generation = confirmed.generation;
            &config == confirmed
        });
        if !known && !self.flights.contains_key(&Job::Configure) {
            if now >= self.balancer.configure_at {
                let config = self.balancer.next_config(config);
                self.start(now, Job::Configure, Command::Configure { lb, config }, plan);
            } else {
                plan.wake_by(self.balancer.configure_at, "configure again");
            }
        }
    }

    pub(super) fn lb_read(&mut self, now: Time, outcome: Outcome) {
        self.balancer.read_at = now + READ_LB_EVERY;
        // A balancer that died meanwhile is not known any more by what it said before.
        if self.ready_lb().is_none() {
            return;
        }
        let Outcome::LbRead(reading) = outcome else {
            self.balancer.read_at = now + LB_AGAIN;
            return;
        };
        self.note_vip_changes(&reading.vip);
        self.balancer.vip = Some(reading.vip);
        if let Some(generation) = reading.config_generation {
            self.balancer.config_generation = self.balancer.config_generation.max(generation);
        }
        if let Some(set) = reading.upstreams {
            self.balancer.generation = self.balancer.generation.max(set.generation);
            if self.adoption != Adoption::Settled {
                self.inherited.clone_from(&set.pools);
            }
            self.balancer.confirmed = Some(set);
        }
    }

    fn note_vip_changes(&mut self, new: &wire::vip::VipStatus) {
        for router in &new.routers {
            let old =
                self.balancer.vip.as_ref().and_then(|vip| {
                    vip.routers.iter().find(|old| old.vrid == router.vrid).map(|old| old.state)
                });
            if old.is_some_and(|old| old != router.state) {
                let message = format!("the balancer here is now {:?}: {}", router.state, router.reason);
                self.note(Severity::Info, "vip.changed", router.address.to_string(), message.to_lowercase());
            }
        }
    }

    pub(super) fn push_finished(&mut self, now: Time, set: UpstreamSet, outcome: Outcome) {
        match outcome {
            Outcome::Stale(held) => self.balancer.generation = self.balancer.generation.max(held),
            Outcome::Failed(reason) => {
                self.balancer.push_at = now + LB_AGAIN;
                let message = format!("cannot push upstream set {}: {reason}", set.generation);
                self.note(Severity::Warning, "lb.push-failed", lb_id(&self.config.name).to_string(), message);
            }
            // One that died meanwhile has forgotten what it confirmed.
            _ if self.ready_lb().is_some() && self.balancer.confirmed.is_some() => {
                self.balancer.confirmed = Some(set);
            }
            _ => {}
        }
    }

    pub(super) fn configure_finished(&mut self, now: Time, config: ProxyConfig, outcome: Outcome) {
        match outcome {
            Outcome::Stale(held) => {
                self.balancer.config_generation = self.balancer.config_generation.max(held)
            }
            Outcome::Failed(reason) => {
                self.balancer.configure_at = now + LB_AGAIN;
                let message = format!("cannot push configuration {}: {reason}", config.generation);
                self.note(Severity::Warning, "lb.push-failed", lb_id(&self.config.name).to_string(), message);
            }
            _ if self.ready_lb().is_some() => self.balancer.confirmed_config = Some(config),
            _ => {}
        }
    }

    /// Everything about this host. Times are left out: they change without anything happening.
    pub(super) fn host_snapshot(&self, now: Time) -> HostSnapshot {
        let lb = self.machines.get(&lb_id(&self.config.name)).map(|machine| LbView {
            id: machine.slot.id.clone(),
            address: machine.slot.address.into(),
            generation: self.balancer.confirmed.as_ref().map_or(0, |set| set.generation),
            vips: self.balancer.vip.iter().flat_map(|vip| &vip.routers).map(lb_vip_view).collect(),
        });
        HostSnapshot {
            host: self.config.name.clone(),
            address: self.config.address.into(),
            address_pool: self.config.pool.to_texts(),
            epoch: self.desired.epoch,
            version: self.version,
            endpoints: self.endpoints(),
            machines: self.machines.values().map(|machine| machine.view(now)).collect(),
            desired: u32::try_from(self.desired.total()).unwrap_or(u32::MAX),
            lb,
        }
    }

    /// Takes the next version if anything changed since the last.
    fn publish(&mut self, now: Time) {
        let mut fresh = self.host_snapshot(now);
        for machine in &mut fresh.machines {
            machine.for_ms = 0;
        }
        if self.published.as_ref() == Some(&fresh) {
            return;
        }
        self.version += 1;
        fresh.version = self.version;
        self.published = Some(fresh);
        for machine in self.machines.values_mut() {
            if let Life::Draining { told_in: told_in @ None, .. } = &mut machine.life {
                *told_in = Some(self.version);
            }
        }
    }

    pub(super) fn plan_peers(&mut self, now: Time, plan: &mut Plan) {
        if self.adoption != Adoption::Settled {
            return;
        }
        self.publish(now);
        let current = (self.desired.epoch, self.version);
        let due: Vec<Ipv4Addr> = self
            .peers
            .values()
            .filter(|peer| now >= peer.tell_at || (peer.failures == 0 && peer.acknowledged != Some(current)))
            .map(|peer| peer.address)
            .collect();
        for peer in due {
            let snapshot = Box::new(self.host_snapshot(now));
            self.start(now, Job::Tell(peer), Command::Tell { peer, snapshot }, plan);
        }
        for peer in self.peers.values() {
            if peer.tell_at > now {
                plan.wake_by(peer.tell_at, "tell a peer");
            }
            if let Some(lost_at) = peer.lost_at().filter(|lost_at| *lost_at > now) {
                plan.wake_by(lost_at, "a peer is due");
            }
        }
    }

    pub(super) fn tell_finished(&mut self, now: Time, peer: Ipv4Addr, told: &HostSnapshot, outcome: Outcome) {
        let draining = self
            .machines
            .values()
            .any(|machine| matches!(machine.life, Life::Draining { stopping: false, .. }));
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        match outcome {
            Outcome::Told(SnapshotAck { epoch, version, applied }) => {
                peer.failures = 0;
                peer.heard = Some(now);
                peer.tell_at = now + if draining { TELL_EVERY_DRAINING } else { TELL_EVERY };
                if epoch == told.epoch {
                    peer.acknowledged = Some((epoch, version));
                    peer.applied = applied;
                }
            }
            Outcome::Stale(held) => {
                peer.heard = Some(now);
                self.desired.epoch = self.desired.epoch.max(held + 1);
                self.version = 0;
                self.published = None;
                for machine in self.machines.values_mut() {
                    if let Life::Draining { told_in, .. } = &mut machine.life {
                        *told_in = None;
                    }
                }
            }
            _ => {
                let pause = TELL_AGAIN.saturating_mul(1 << peer.failures.min(8)).min(TELL_AGAIN_MAX);
                peer.failures += 1;
                peer.tell_at = now + pause;
            }
        }
    }

    /// Whether every balancer that can be reached knows that machine `id` is draining.
    pub(super) fn all_told(&self, now: Time, id: &MachineId, told_in: Option<u64>) -> bool {
        let Some(machine) = self.machines.get(id) else { return true };
        if machine.slot.service.as_str() == LB {
            return true;
        }
        let endpoint = EndpointId::of(id, machine.incarnation);
        let own = self.ready_lb().is_none()
            || self.balancer.confirmed.as_ref().is_some_and(|set| {
                set.pools
                    .values()
                    .flatten()
                    .all(|upstream| upstream.id != endpoint || upstream.state == UpstreamState::Draining)
            });
        let peers = told_in.is_some_and(|told_in| {
            self.peers.values().filter(|peer| peer.is_alive(now)).all(|peer| {
                peer.acknowledged.is_some_and(|(epoch, _)| epoch == self.desired.epoch)
                    && peer.applied >= told_in
            })
        });
        own && (peers || self.peers.is_empty())
    }
}

fn upstream(endpoint: &Endpoint, zone: wire::HostName) -> Upstream {
    Upstream {
        id: endpoint.id.clone(),
        address: endpoint.address,
        port: endpoint.port,
        weight: 1,
        zone,
        backup: false,
        state: endpoint.state,
    }
}

fn lb_vip_view(router: &wire::vip::RouterStatus) -> LbVipView {
    LbVipView { address: router.address, state: router.state, priority: router.priority }
}
