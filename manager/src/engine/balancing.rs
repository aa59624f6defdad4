//! Tells the host's balancer what to send requests to, and asks it for its part in the VIPs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::hand_over::HandOverOrder;
use wire::proxy_config::ProxyConfig;

use super::checkers::without_verdicts;
use super::shared::{SharedPools, SharedSet};
use super::{Adoption, Command, Engine, Job, Life, Outcome, Plan, Severity, Time, lb_id};
use crate::config::service::{routes_of, tcp_of};
#[cfg(test)]
use crate::sim::bug::Bug;

/// The balancer is asked for its part in the VIPs this often.
const READ_LB_EVERY: Duration = Duration::from_millis(250);

/// While it hands its VIPs over, this often.
const READ_LB_EVERY_HANDING_OVER: Duration = Duration::from_millis(25);

/// What failed between manager and balancer is tried again after this.
const LB_AGAIN: Duration = Duration::from_millis(100);

impl Engine {
    /// Every upstream of every host, as far as known, and as the balancer of this one is told of it.
    pub(super) fn pools(&mut self, now: Time) -> SharedPools {
        let pools = self.known_pools(now);
        self.shared_out(now, pools)
    }

    /// Every upstream of every host, as far as known, as its manager says it.
    pub(super) fn known_pools(&mut self, now: Time) -> SharedPools {
        self.settle(now);
        #[cfg(test)]
        if self.bug == Some(Bug::LostPeerIsDropped)
            && self.peers.values().all(|peer| !peer.is_alive(self.last_look.unwrap_or_default()))
        {
            return self.upstreams.pools().without_peers();
        }
        self.upstreams.pools().clone()
    }

    /// All that the balancer is told but its upstreams.
    pub(super) fn proxy_config(&self) -> ProxyConfig {
        let mut config = self.routing();
        self.shown.add_to(&mut config);
        config
    }

    /// What the services answer for and how their pools are treated.
    fn routing(&self) -> ProxyConfig {
        let services = &self.config.services;
        let policies =
            services.iter().filter_map(|service| Some((service.name.clone(), service.pool_policy()?)));
        ProxyConfig {
            routes: routes_of(services),
            pools: policies.collect(),
            tcp: tcp_of(services),
            primaries: self.balancer.named.clone(),
            ..ProxyConfig::default()
        }
    }

    /// The address of the host's balancer, if its heartbeats arrive.
    pub(crate) fn ready_lb(&self) -> Option<IpAddr> {
        let machine = self.machines.get(&lb_id(&self.config.name))?;
        machine.is_ready().then_some(machine.slot.address)
    }

    /// Whether the host's balancer may be sending requests, with whatever set it was last given. One
    /// that is starting has its set from the seed, one that is suspected may only be slow to answer us.
    pub(super) fn lb_may_serve(&self) -> bool {
        self.machines
            .get(&lb_id(&self.config.name))
            .is_some_and(|machine| !matches!(machine.life, Life::Waiting { .. } | Life::Dead { .. }))
    }

    pub(super) fn plan_balancer(&mut self, now: Time, plan: &mut Plan) {
        let pools = self.pools(now);
        let lb = self.ready_lb();
        let uses = self.balancer.uses(&pools);
        if !self.lb_may_serve() || uses {
            for peer in self.peers.values_mut() {
                peer.using = peer.held.as_ref().map_or(0, |snapshot| snapshot.version);
            }
        }
        let Some(lb) = lb else { return };
        let documents = self.balancer.confirmed.is_none();
        if now >= self.balancer.read_at {
            let pools = self.asks_for_pools();
            self.start(now, Job::ReadLb, Command::ReadLb { lb, documents, pools }, plan);
        } else {
            plan.wake_by(self.balancer.read_at, "ask the balancer");
        }
        if documents || self.adoption != Adoption::Settled {
            return;
        }
        self.plan_ranks(now, lb, plan);
        if !uses && !self.flights.contains_key(&Job::Push) {
            if now >= self.balancer.push_at {
                let set = self.balancer.next_set(pools);
                self.start(now, Job::Push, Command::Push { lb, set }, plan);
            } else {
                plan.wake_by(self.balancer.push_at, "push again");
            }
        }
        self.name_primaries(now);
        let routing = self.routing();
        let known = self.balancer.confirmed_front == Some(self.shown.version)
            && self.balancer.confirmed_config.as_ref() == Some(&routing);
        if !known && !self.flights.contains_key(&Job::Configure) {
            if now >= self.balancer.configure_at {
                let config = self.proxy_config();
                let config = self.balancer.next_config(config);
                self.balancer.pushed_front = self.shown.version;
                self.balancer.pushed_config = Some(routing);
                self.start(now, Job::Configure, Command::Configure { lb, config: Box::new(config) }, plan);
            } else {
                plan.wake_by(self.balancer.configure_at, "configure again");
            }
        }
    }

    pub(super) fn lb_read(&mut self, now: Time, outcome: Outcome) {
        let handing_over = self.lb_is_draining() || self.is_switching();
        self.balancer.read_at = now + if handing_over { READ_LB_EVERY_HANDING_OVER } else { READ_LB_EVERY };
        // A balancer that died meanwhile is not known any more by what it said before.
        if self.ready_lb().is_none() && !self.lb_is_draining() {
            return;
        }
        let Outcome::LbRead(reading) = outcome else {
            self.balancer.read_at = now + LB_AGAIN;
            return;
        };
        self.note_vip_changes(&reading.vip);
        self.balancer.vip = Some(reading.vip);
        self.lb_said_ranks();
        if let Some(pools) = reading.pools {
            self.balancer.pools = pools;
        }
        if let Some(generation) = reading.config_generation {
            self.balancer.config_generation = self.balancer.config_generation.max(generation);
        }
        if let Some(set) = reading.upstreams {
            self.balancer.generation = self.balancer.generation.max(set.generation);
            // The first that is read was given by the life before this one, however late it answers.
            let confirmed = SharedSet::of(&set);
            self.inherited.get_or_insert_with(|| Arc::new(without_verdicts(set.pools)));
            self.balancer.confirmed = Some(confirmed);
        }
    }

    pub(super) fn lb_is_draining(&self) -> bool {
        let lb = self.machines.get(&lb_id(&self.config.name));
        lb.is_some_and(|machine| matches!(machine.life, Life::Draining { stopping: false, .. }))
    }

    /// The balancer at `lb` is to be stopped at `until` at the latest: before that another one holds its
    /// VIPs, so that there is no moment at which nobody answers for them.
    pub(super) fn plan_hand_over(&mut self, now: Time, lb: IpAddr, until: Time, plan: &mut Plan) {
        if !self.balancer.holds_vip() {
            return;
        }
        if !self.balancer.handed_over && !self.flights.contains_key(&Job::HandOver) {
            if self.switch_before_stop(now, until) {
                return self.plan_switchover(now, plan);
            }
            // No manager knows of one that could take them, but somebody else on the network may.
            let (idle_ms, finish_ms) = if self.peers.is_empty() { (0, 0) } else { (500, 2_000) };
            let order = HandOverOrder { idle_ms, finish_ms, ..HandOverOrder::default() };
            return self.start(now, Job::HandOver, Command::HandOver { lb, order }, plan);
        }
        if now >= self.balancer.read_at {
            self.start(now, Job::ReadLb, Command::ReadLb { lb, documents: false, pools: false }, plan);
        } else {
            plan.wake_by(self.balancer.read_at, "ask whether the balancer has handed over");
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

    pub(super) fn push_finished(&mut self, now: Time, set: SharedSet, outcome: Outcome) {
        match outcome {
            Outcome::Stale(held) => self.balancer.generation = self.balancer.generation.max(held),
            Outcome::Failed(reason) => {
                self.balancer.unsure = true;
                self.balancer.push_at = now + LB_AGAIN;
                let lb = lb_id(&self.config.name).to_string();
                self.trouble(now, "lb.push-failed", lb, format!("cannot push the upstream set: {reason}"));
            }
            // One that died meanwhile has forgotten what it confirmed.
            _ if self.ready_lb().is_some() && self.balancer.confirmed.is_some() => {
                self.balancer.confirmed = Some(set);
                self.balancer.unsure = false;
            }
            _ => {}
        }
    }

    pub(super) fn configure_finished(&mut self, now: Time, outcome: Outcome) {
        match outcome {
            Outcome::Stale(held) => {
                self.balancer.config_generation = self.balancer.config_generation.max(held)
            }
            Outcome::Failed(reason) => {
                self.balancer.configure_at = now + LB_AGAIN;
                let lb = lb_id(&self.config.name).to_string();
                self.trouble(
                    now,
                    "lb.configure-failed",
                    lb,
                    format!("cannot push the configuration: {reason}"),
                );
            }
            // Services may have changed while it was on its way.
            _ if self.ready_lb().is_some() => {
                self.balancer.confirmed_config = self.balancer.pushed_config.take();
                self.balancer.confirmed_front = Some(self.balancer.pushed_front);
            }
            _ => {}
        }
    }
}
