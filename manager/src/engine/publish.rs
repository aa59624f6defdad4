//! Tells the peers what is here, and finds out from their answers who knows it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::cluster::{LbView, LbVipView};
use wire::snapshot::{Endpoint, HostSnapshot, SnapshotAck};
use wire::upstreams::UpstreamState;
use wire::{EndpointId, MAX_COUNT, MachineId};

use super::{
    Adoption, Command, Engine, Job, Life, Machine, Outcome, Peer, Plan, Readiness, Services, Telling, Time,
    lb_id,
};
use crate::address_pool::bits;
use crate::config::LB;
#[cfg(test)]
use crate::sim::bug::Bug;

/// A peer that knows everything is told again this often, so that it sees we live.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Where hosts gossip about who lives, it is told so often all the same: what is lost is found.
const TELL_SELDOM: Duration = Duration::from_secs(20);

/// There, what changes in a short time is told together.
const TELL_TOGETHER: Duration = Duration::from_millis(100);

/// It is told all of it this often, even if it says that it has that.
const WHOLE_EVERY: Duration = Duration::from_secs(60);

/// Where hosts gossip, what is told seldom is told to each peer at a time of its own, so much apart …
const APART: Duration = Duration::from_millis(125);

/// … in as many places.
const PLACES: u32 = 64;

/// While a machine waits for its endpoint to be known as draining, peers are asked this often.
const TELL_EVERY_DRAINING: Duration = Duration::from_millis(50);

/// The pause after telling failed; doubled with each failure in a row …
const TELL_AGAIN: Duration = Duration::from_millis(100);

/// … up to this.
const TELL_AGAIN_MAX: Duration = Duration::from_secs(2);

impl Engine {
    /// The endpoints of this host.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.machines.values().filter_map(|machine| self.machines.endpoint(machine)).collect()
    }

    /// Everything about this host.
    pub(super) fn host_snapshot(&self, now: Time) -> HostSnapshot {
        HostSnapshot {
            endpoints: self.endpoints(),
            machines: self.machines.values().map(|machine| machine.view(now)).collect(),
            ..self.rest_of_snapshot(now)
        }
    }

    /// The balancer of this host.
    pub(super) fn lb_view(&self) -> Option<LbView> {
        self.machines.get(&lb_id(&self.config.name)).map(|machine| LbView {
            id: machine.slot.id.clone(),
            address: machine.slot.address,
            generation: self.told_generation(),
            vips: self.balancer.vip.iter().flat_map(|vip| &vip.routers).map(lb_vip_view).collect(),
            decides: self.balancer.pools.decides,
            primaries: self.primaries_here(),
        })
    }

    /// The same without endpoints and machines.
    fn rest_of_snapshot(&self, now: Time) -> HostSnapshot {
        HostSnapshot {
            host: self.config.name.clone(),
            address: self.config.address,
            address_pool: self.config.pool.to_texts(),
            epoch: self.desired.epoch,
            version: self.version,
            endpoints: Vec::new(),
            machines: Vec::new(),
            driver: self.driver.clone(),
            desired: u32::try_from(self.desired.total()).unwrap_or(u32::MAX),
            room: self.room(),
            placed: self.placed(),
            totals: self.desired.totals.clone(),
            lb: self.lb_view(),
            warnings: self.warnings(),
            peers: self.heard_peers(now),
            scaling: self.scaling_told(now),
            checks: self.checks_told(),
        }
    }

    /// The generation that the balancer uses, as peers are told it. It changes with each change of each host: where there are
    /// many, it is told along with something else.
    fn told_generation(&self) -> u64 {
        let told = self.published.as_ref().and_then(|told| told.rest.lb.as_ref());
        told.filter(|_| self.in_circle()).map_or_else(|| self.used_generation(), |lb| lb.generation)
    }

    /// The generation that the balancer uses; 0 for none.
    pub(super) fn used_generation(&self) -> u64 {
        self.balancer.confirmed.as_ref().map_or(0, |set| set.generation)
    }

    /// Takes the next version if anything changed since the last.
    fn publish(&mut self, now: Time) {
        self.settle(now);
        let mut rest = self.rest_of_snapshot(now);
        let told = self.machines.told();
        if self.published.as_ref().is_some_and(|before| before.says(&rest, told)) {
            return;
        }
        let generation = self.used_generation();
        if let Some(lb) = &mut rest.lb {
            lb.generation = generation;
        }
        self.version += 1;
        if self.published.as_ref().is_none_or(|before| !before.has_endpoints_of(told)) {
            self.endpoints_version = self.version;
        }
        rest.version = self.version;
        self.published = Some(Telling { rest: Arc::new(rest), told: Arc::clone(told), at: now });
        for id in self.machines.draining() {
            if let Some(machine) = self.machines.get_mut(&id)
                && let Life::Draining { told_in: told_in @ None, .. } = &mut machine.life
            {
                *told_in = Some(self.version);
            }
        }
    }

    pub(super) fn plan_peers(&mut self, now: Time, plan: &mut Plan) {
        if self.adoption != Adoption::Settled {
            return;
        }
        #[cfg(test)]
        if self.bug == Some(Bug::LostPeerKills)
            && self.peers.values().any(|peer| peer.heard.is_some() && !peer.is_alive(now))
        {
            let ready = self.machines.values().find(|machine| machine.is_ready());
            if let Some(id) = ready.map(|machine| machine.slot.id.clone()) {
                self.died(now, &id, "a peer is lost");
            }
        }
        self.publish(now);
        let current = (self.desired.epoch, self.version);
        let due: Vec<IpAddr> = self
            .peers
            .values()
            .filter(|peer| now >= self.due_at(peer, current))
            .map(|peer| peer.address)
            .filter(|peer| !self.flights.contains_key(&Job::Tell(*peer)))
            .collect();
        if let Some(snapshot) = self.published.clone().filter(|_| !due.is_empty()) {
            let told = Arc::clone(self.machines.told());
            let snapshot = Telling { told, at: now, ..snapshot };
            for peer in due {
                let base = self.peers.get(&peer).filter(|peer| now < self.whole_at(peer, current));
                let (base, snapshot) = (base.and_then(|peer| peer.base.clone()), snapshot.clone());
                self.start(now, Job::Tell(peer), Command::Tell { peer, snapshot, base }, plan);
            }
        }
        for peer in self.peers.values() {
            let due = self.due_at(peer, current);
            if due > now {
                plan.wake_by(due, "tell a peer");
            }
            if let Some(lost_at) = peer.lost_at().filter(|lost_at| *lost_at > now) {
                plan.wake_by(lost_at, "a peer is due");
            }
        }
    }

    /// When `peer` is told all of it again. That can wait while there is something to tell.
    fn whole_at(&self, peer: &Peer, current: (u64, u64)) -> Time {
        if peer.acknowledged == Some(current) { peer.whole_at } else { peer.whole_at + WHOLE_EVERY }
    }

    /// When `peer` is told again; `current` is what there is to tell.
    fn due_at(&self, peer: &Peer, current: (u64, u64)) -> Time {
        let circle = self.in_circle();
        if peer.failures > 0 {
            return peer.tell_at;
        }
        if peer.acknowledged != Some(current) {
            return if circle { peer.told_at + TELL_TOGETHER } else { Time::ZERO };
        }
        let uses_all = peer.applied >= self.endpoints_version;
        let pace = if self.machines.any_draining() && !(circle && uses_all) {
            TELL_EVERY_DRAINING
        } else if circle && uses_all && peer.member == Some(true) && !self.placing.needs_fresh_word() {
            TELL_SELDOM + apart(peer.address)
        } else {
            TELL_EVERY
        };
        peer.told_at + pace
    }

    /// The peer at `address` was told, `as_changes` or all of it.
    pub(super) fn tell_finished(
        &mut self,
        now: Time,
        address: IpAddr,
        told: &Telling,
        as_changes: bool,
        outcome: Outcome,
    ) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        match outcome {
            Outcome::Told(SnapshotAck { epoch, version, applied, own })
                if (epoch, version) == (told.epoch(), told.version()) =>
            {
                peer.failures = 0;
                peer.heard = Some(now);
                peer.told_at = now;
                peer.acknowledged = Some((epoch, version));
                peer.applied = applied;
                peer.base = Some(told.clone());
                if !as_changes {
                    peer.whole_at = now + WHOLE_EVERY + apart(address);
                }
                if let Some(own) = own {
                    peer.says_it_is_at(now, own);
                }
            }
            // It holds something newer, which an earlier life of ours told it: one whose disk was lost,
            // or that ended before its epoch was stored.
            Outcome::Stale(held) => self.go_on_above(now, address, held),
            Outcome::Told(SnapshotAck { epoch, version, .. })
                if (epoch, version) > (told.epoch(), told.version()) =>
            {
                self.go_on_above(now, address, epoch);
            }
            // It does not hold what the changes are of: it has started anew, or something was lost.
            Outcome::Told(_) if as_changes => {
                peer.failures = 0;
                peer.heard = Some(now);
                peer.acknowledged = None;
                peer.base = None;
                peer.told_at = Time::ZERO;
            }
            _ => {
                peer.base = None;
                let pause = TELL_AGAIN.saturating_mul(1 << peer.failures.min(8)).min(TELL_AGAIN_MAX);
                peer.failures += 1;
                peer.tell_at = now + pause;
            }
        }
    }

    /// The peer at `address` holds a snapshot of ours of the epoch `held` that we do not know of.
    fn go_on_above(&mut self, now: Time, address: IpAddr, held: u64) {
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.heard = Some(now);
            peer.failures = 0;
            peer.acknowledged = None;
            peer.base = None;
        }
        // Another peer may have said the same before: then only the telling is to be repeated. What no host
        // can have reached is not followed either.
        if held < self.desired.epoch || held >= MAX_COUNT {
            return;
        }
        self.desired.epoch = held + 1;
        self.version = 0;
        self.published = None;
        // All that drain, those that are being stopped among them.
        for machine in self.machines.values_mut() {
            if let Life::Draining { told_in, .. } = &mut machine.life {
                *told_in = None;
            }
        }
    }

    /// Whether every balancer that can be reached knows that machine `id` is draining; if it is a balancer
    /// itself, whether it holds no VIP any more.
    pub(super) fn all_told(&self, now: Time, id: &MachineId, told_in: Option<u64>) -> bool {
        let Some(machine) = self.machines.get(id) else { return true };
        if machine.slot.service.as_str() == LB {
            let given_up = self.balancer.handed_over && !self.is_switching();
            return given_up || !self.balancer.holds_vip();
        }
        let endpoint = EndpointId::of(id, machine.incarnation);
        let own = !self.lb_may_serve()
            || self.balancer.confirmed.as_ref().is_some_and(|set| {
                set.pools
                    .upstreams()
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

/// How much later than others the peer at `address` is told what is told seldom.
fn apart(address: IpAddr) -> Duration {
    let spread = (bits(address) as u32).wrapping_mul(2_654_435_761) >> 16; // Knuth's multiplicative hash
    APART * (spread % PLACES)
}

/// Where a machine can be sent requests, if it can.
pub(super) fn endpoint_of(machine: &Machine, services: &Services) -> Option<Endpoint> {
    let port = services.port(&machine.slot.service)?;
    if machine.readiness == Readiness::NotYet {
        return None;
    }
    let state = match machine.life {
        Life::Ready { .. } if machine.drained || machine.readiness == Readiness::NoLonger => {
            UpstreamState::Draining
        }
        Life::Ready { .. } => UpstreamState::Ready,
        Life::Suspect { .. } => UpstreamState::Suspect,
        Life::Draining { .. } => UpstreamState::Draining,
        Life::Waiting { .. } | Life::Booting { .. } | Life::Dead { .. } => return None,
    };
    Some(Endpoint {
        id: EndpointId::of(&machine.slot.id, machine.incarnation),
        service: machine.slot.service.clone(),
        address: machine.slot.address,
        port,
        state,
        backup: machine.duty.is_backup(),
    })
}

fn lb_vip_view(router: &wire::vip::RouterStatus) -> LbVipView {
    LbVipView { address: router.address, state: router.state, priority: router.priority, base: router.base }
}
