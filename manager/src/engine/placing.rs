//! This host's part in placement: it has its share of each service with a `total`, and no more for longer than others
//! need to have theirs.
//!
//! ```text
//!   what hosts tell (room, what they have) ──▶ placement::shares ──▶ this host's share
//!                                                                     │
//!        fewer than that: machines are added at once ◀────────────────┤
//!        more: one at a time is drained, as soon as all that there ◀──┘
//!        are to be take requests without it
//! ```
//!
//! Nobody gives orders: every manager computes all shares alike and acts on its own. A host that is not heard any more has
//! no share, so that the others' grow; when it is back they have too much, and give up what is ready elsewhere. Under
//! a partition each side has the whole `total`: together there are more, and never fewer.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::placement::{Placed, ServicePlacement, Spread, Total};
use wire::{HostName, MachineId, PoolName, Problem};

use super::placement::shares;
use super::{Adoption, Engine, Life, Machine, Peer, Plan, Severity, Time};
use crate::config::Service;
#[cfg(test)]
use crate::sim::bug::Bug;

/// What a host has that was not heard for so long, the others take over. Its machines may live on where only its manager
/// is gone: then there are more than need be until that is back.
pub(crate) const TAKEN_OVER_AFTER: Duration = Duration::from_secs(3);

/// Who has just started, or has just learned of another manager, acts on what it knows after this: by then every host that
/// lives has told what it has.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// There have to be enough machines elsewhere for so long before one is given up: one that has just started may die
/// of what it is asked first.
const GIVEN_BACK_AFTER: Duration = Duration::from_secs(1);

/// What a host has told counts for that only so long: it may have lost what it had.
const FRESH: Duration = Duration::from_millis(1_500);

/// What is remembered between plans.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Placing {
    /// Peers that have told nothing are waited for until then.
    wait_until: Time,
    /// Since when hosts that live have not known a service of this one: it is being defined, or taken away, host by host.
    absent: BTreeMap<PoolName, BTreeMap<HostName, Time>>,
    /// Since when this host could give up a machine.
    enough: BTreeMap<PoolName, Time>,
    /// What was found last.
    found: BTreeMap<PoolName, ServicePlacement>,
    /// Whether it is this host that says what finds no room: one says it for all.
    speaks: bool,
    /// Whether this host has more than its share of something.
    surplus: bool,
}

/// What a host has told.
struct Host {
    name: HostName,
    /// Whether that was just now.
    is_fresh: bool,
    room: Option<u32>,
    placed: BTreeMap<PoolName, Placed>,
}

/// Who has what of a service.
struct Division {
    service: PoolName,
    total: u32,
    /// How many of these there can be.
    goal: u32,
    shares: BTreeMap<HostName, u32>,
}

impl Placing {
    pub(super) fn new(now: Time) -> Self {
        Placing {
            wait_until: now + HEARD_WITHIN,
            absent: BTreeMap::new(),
            enough: BTreeMap::new(),
            found: BTreeMap::new(),
            speaks: false,
            surplus: false,
        }
    }

    /// There is another manager, which has told nothing yet.
    pub(super) fn wait_for_another(&mut self, now: Time) {
        self.wait_until = self.wait_until.max(now + HEARD_WITHIN);
    }

    /// This process stood still for `gap`.
    pub(super) fn excuse(&mut self, gap: Duration) {
        self.wait_until += gap;
        self.absent.values_mut().flat_map(|hosts| hosts.values_mut()).for_each(|since| *since += gap);
        self.enough.clear();
    }

    /// Whether something can be given up as soon as others are known to have it: their word has to be fresh for that.
    pub(super) fn needs_fresh_word(&self) -> bool {
        self.surplus
    }

    pub(super) fn found(&self) -> &BTreeMap<PoolName, ServicePlacement> {
        &self.found
    }

    /// How much is remembered.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let absent: usize = self.absent.values().map(BTreeMap::len).sum();
        absent + self.enough.len() + self.found.len()
    }
}

impl Engine {
    /// How many machines of `service` there are to be over all hosts: what was decided last where that follows the load,
    /// else what its definition says.
    pub fn total_of(&self, service: &Service) -> u32 {
        let decided = self.desired.totals.get(&service.name).filter(|_| service.autoscale.is_some());
        let decided = decided.map(|total| total.count);
        // A `total` of 0 turns a service off, whatever was decided before.
        service.spec.total.filter(|defined| *defined > 0).map_or(0, |defined| decided.unwrap_or(defined))
    }

    /// From now on there are to be `count` machines of the service `name` over all hosts. The others follow as soon as
    /// they hear of it.
    pub fn set_total(&mut self, name: &PoolName, count: u32) {
        let Some(service) = self.service(name).filter(|service| service.autoscale.is_some()) else { return };
        if self.total_of(service) == count {
            return;
        }
        let before = self.desired.totals.get(name).map_or(0, |total| total.generation);
        let generation = before.saturating_add(1).min(wire::MAX_COUNT);
        self.desired.totals.insert(name.clone(), Total { generation, count });
    }

    /// Where the machines of the service `name` are, if it has a `total`.
    pub fn placement_of(&self, name: &PoolName) -> Option<ServicePlacement> {
        let service = self.service(name).filter(|service| service.is_placed())?;
        let total = self.total_of(service);
        let share = u32::try_from(self.desired.count(name)).unwrap_or(u32::MAX);
        let nothing_yet = ServicePlacement { share, ..ServicePlacement::default() };
        Some(ServicePlacement { total, ..self.placing.found.get(name).copied().unwrap_or(nothing_yet) })
    }

    /// What people are told who want a machine more or less of a service with a `total` on this host.
    pub(super) fn refuse_placed(&self, name: &PoolName) -> Result<(), Problem> {
        match self.service(name).and_then(|service| service.spec.total) {
            None => Ok(()),
            Some(_) => Err(Problem::conflict(format!(
                "the managers decide which host has the machines of `{name}`: change its `total` instead, with `manager \
                 service apply`"
            ))),
        }
    }

    /// How many machines of services with a `total` this host has room for, those it has included.
    pub(super) fn room(&self) -> Option<u32> {
        if self.in_maintenance() {
            return None;
        }
        let unfenced = |machine: &&Machine| {
            !machine.wanted && matches!(machine.life, Life::Dead { fence_failed: true, .. })
        };
        let is_lost = if self.has_placed() { self.machines.values().filter(unfenced).count() } else { 0 };
        let others = self.desired.total() - self.desired.placed();
        let room = self.config.pool.addresses().len().saturating_sub(self.foreign.len() + is_lost + others);
        Some(u32::try_from(room).unwrap_or(u32::MAX))
    }

    /// What this host has of each service with a `total`.
    pub(super) fn placed(&self) -> BTreeMap<PoolName, Placed> {
        let services = self.config.services.iter().filter(|service| service.is_placed());
        let mut placed: BTreeMap<PoolName, Placed> = services
            .map(|service| {
                let wanted = u32::try_from(self.desired.count(&service.name)).unwrap_or(u32::MAX);
                (service.name.clone(), Placed { wanted, ready: 0 })
            })
            .collect();
        if !placed.is_empty() {
            for machine in self.machines.values().filter(|machine| serves(machine)) {
                if let Some(placed) = placed.get_mut(&machine.slot.service) {
                    placed.ready += 1;
                }
            }
        }
        placed
    }

    fn has_placed(&self) -> bool {
        self.config.services.iter().any(Service::is_placed)
    }

    /// What a person should know of machines that find no host.
    pub(super) fn placement_warnings(&self) -> impl Iterator<Item = String> {
        let short = |(name, found): (&PoolName, &ServicePlacement)| {
            (self.placing.speaks && found.unplaced > 0).then(|| self.no_room(name, found))
        };
        self.placing.found.iter().filter_map(short)
    }

    fn no_room(&self, name: &PoolName, found: &ServicePlacement) -> String {
        let ServicePlacement { total, unplaced, .. } = found;
        let spread = self.service(name).map(|service| service.spec.spread).unwrap_or_default();
        let remedy = match spread {
            Spread::Hard => {
                "at most one is on each host (`spread = \"hard\"`): add hosts, or ask for a smaller `total`"
            }
            Spread::Soft => "add hosts, enlarge address_pool, or ask for a smaller `total`",
        };
        format!("no host has room for {unplaced} of the {total} machines of `{name}`: {remedy}")
    }

    pub(super) fn plan_placement(&mut self, now: Time, plan: &mut Plan) {
        if self.adoption != Adoption::Settled || self.in_maintenance() {
            return;
        }
        if !self.has_placed() {
            let Placing { absent, enough, found, surplus, .. } = &mut self.placing;
            *surplus = false;
            absent.clear();
            enough.clear();
            found.clear();
            return;
        }
        self.follow_totals(now);
        let is_silent = self.peers.values().any(|peer| peer.told.is_none());
        if is_silent && now < self.placing.wait_until {
            return plan.wake_by(self.placing.wait_until, "hosts should have told what they have");
        }
        let hosts = self.hosts_that_live(now);
        let divisions = self.divisions(now, &hosts);
        self.placing.speaks = hosts.iter().all(|host| host.name >= self.config.name);
        self.placing.found.retain(|name, _| divisions.iter().any(|division| division.service == *name));
        let has_too_much = |division: &Division| {
            self.desired.count(&division.service) > division.share(&self.config.name) as usize
        };
        self.placing.surplus = divisions.iter().any(has_too_much);
        for division in &divisions {
            self.take_note(division, &hosts);
            if self.rolls_with(&division.service, division.share(&self.config.name)) {
                self.placing.enough.remove(&division.service);
                continue;
            }
            self.grow(now, division);
            self.shrink(now, division, &hosts, plan);
        }
        let told = self.peers.values().filter_map(|peer| peer.told);
        let absent = self.placing.absent.values().flat_map(BTreeMap::values).copied();
        for due in told.chain(absent).map(|since| since + TAKEN_OVER_AFTER).filter(|due| *due > now) {
            plan.wake_by(due, "a host's share is taken over");
        }
    }

    /// Of what hosts that live go by, the last decision holds.
    fn follow_totals(&mut self, now: Time) {
        let mut newer: BTreeMap<PoolName, Total> = BTreeMap::new();
        for held in self.peers.values().filter(|peer| peer.tells(now)).filter_map(|peer| peer.held.as_ref()) {
            for (name, total) in &held.totals {
                let known = newer.get(name).or_else(|| self.desired.totals.get(name));
                if known.is_none_or(|known| known < total)
                    && self.service(name).is_some_and(Service::is_placed)
                {
                    newer.insert(name.clone(), *total);
                }
            }
        }
        if !newer.is_empty() {
            self.desired.totals.append(&mut newer);
        }
    }

    /// This host and those whose word is fresh, by name.
    fn hosts_that_live(&self, now: Time) -> Vec<Host> {
        let (room, placed) = (self.room(), self.placed());
        let own = Host { name: self.config.name.clone(), is_fresh: true, room, placed };
        let tells = |peer: &&Peer| {
            #[cfg(test)]
            if self.bug == Some(Bug::NobodyTakesOver) {
                return true;
            }
            peer.tells(now)
        };
        let others = self.peers.values().filter(tells).filter_map(|peer| {
            let held = peer.held.as_ref()?;
            // Not excused: while this process stood still, anything may have happened there.
            let is_fresh = now.saturating_sub(peer.confirmed) < FRESH;
            let (room, placed) = (held.room, held.placed.clone());
            Some(Host { name: held.host.clone(), is_fresh, room, placed })
        });
        let mut hosts: Vec<Host> = std::iter::once(own).chain(others).collect();
        hosts.sort_by(|one, other| one.name.cmp(&other.name));
        hosts
    }

    /// Who is to have what, service by service: each takes of the room what it needs.
    fn divisions(&mut self, now: Time, hosts: &[Host]) -> Vec<Division> {
        let mut rooms: BTreeMap<&HostName, u32> =
            hosts.iter().filter_map(|host| Some((&host.name, host.room?))).collect();
        let placed = self.config.services.iter().filter(|service| service.is_placed());
        let mut services: Vec<(PoolName, u32, Spread, Vec<HostName>)> = placed
            .map(|service| {
                let spec = &service.spec;
                (service.name.clone(), self.total_of(service), spec.spread, spec.hosts.clone())
            })
            .collect();
        services.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        self.placing.absent.retain(|name, _| services.iter().any(|(service, ..)| service == name));
        let mut divisions = Vec::new();
        for (service, total, spread, allowed) in services {
            let may = |host: &&Host| allowed.is_empty() || allowed.contains(&host.name);
            let absent = self.placing.absent.entry(service.clone()).or_default();
            let knows = |host: &Host| host.placed.contains_key(&service);
            let is_absent = |name: &HostName| hosts.iter().any(|host| host.name == *name && !knows(host));
            absent.retain(|name, _| is_absent(name));
            let mut candidates = Vec::new();
            let mut fixed = 0_u32;
            for host in hosts {
                let wanted = host.placed.get(&service).map_or(0, |placed| placed.wanted);
                let Some(room) = rooms.get(&host.name).copied() else {
                    fixed = fixed.saturating_add(wanted);
                    continue;
                };
                let is_known =
                    knows(host) || now < *absent.entry(host.name.clone()).or_insert(now) + TAKEN_OVER_AFTER;
                if is_known && may(&host) {
                    candidates.push((host.name.clone(), room));
                }
            }
            let shares = shares(total.saturating_sub(fixed), &candidates, spread, &service);
            for (host, share) in &shares {
                if let Some(room) = rooms.get_mut(host) {
                    *room -= share;
                }
            }
            let goal = shares.values().fold(fixed, |sum, share| sum.saturating_add(*share)).min(total);
            divisions.push(Division { service, total, goal, shares });
        }
        divisions
    }

    /// Says what has changed.
    fn take_note(&mut self, division: &Division, hosts: &[Host]) {
        let Division { service, total, goal, .. } = division;
        let ready = hosts.iter().filter_map(|host| host.placed.get(service));
        let ready = ready.fold(0_u32, |sum, placed| sum.saturating_add(placed.ready));
        let found = ServicePlacement {
            total: *total,
            share: division.share(&self.config.name),
            ready,
            unplaced: total - goal,
        };
        let before = self.placing.found.insert(service.clone(), found).unwrap_or_default();
        if (before.share, before.total) != (found.share, found.total) {
            let message = format!("{} of {total} machines are this host's share", found.share);
            self.note(Severity::Info, "service.share", service.to_string(), message);
        }
        if self.placing.speaks && before.unplaced != found.unplaced {
            let (severity, message) = match found.unplaced {
                0 => (Severity::Info, "all of its machines have a host again".to_owned()),
                _ => (Severity::Warning, self.no_room(service, &found)),
            };
            self.note(severity, "service.unplaced", service.to_string(), message);
        }
    }

    /// Adds what is missing of this host's share.
    fn grow(&mut self, now: Time, division: &Division) {
        let share = division.share(&self.config.name) as usize;
        while self.desired.count(&division.service) < share {
            // What is being taken away has its address until it is gone; then there is room.
            let Some(slot) = self.add_machine(now, &division.service) else { return };
            let message = format!("of this host's share; it gets {}", slot.address);
            self.note(Severity::Info, "machine.requested", slot.id.to_string(), message);
        }
    }

    /// Gives up one of what is more than this host's share, when it is its turn and the machine is not needed.
    fn shrink(&mut self, now: Time, division: &Division, hosts: &[Host], plan: &mut Plan) {
        let Division { service, total, .. } = division;
        let Some(id) = self.to_give_up(now, division, hosts) else {
            self.placing.enough.remove(service);
            return;
        };
        let due = *self.placing.enough.entry(service.clone()).or_insert(now) + GIVEN_BACK_AFTER;
        if now < due {
            return plan.wake_by(due, "a machine is given up");
        }
        self.placing.enough.remove(service);
        self.desired.remove(&self.config.name, &id);
        let share = division.share(&self.config.name);
        self.dismiss(now, &id, &format!("{share} of {total} machines of `{service}` are this host's share"));
    }

    fn to_give_up(&self, now: Time, division: &Division, hosts: &[Host]) -> Option<MachineId> {
        let Division { service, goal, .. } = division;
        let placed = |host: &Host| host.placed.get(service).copied().unwrap_or_default();
        // The first of those that have too much.
        let has_too_much =
            |host: &&Host| host.room.is_some() && placed(host).wanted > division.share(&host.name);
        let is_our_turn = hosts.iter().find(has_too_much).is_some_and(|host| host.name == self.config.name);
        #[cfg(test)]
        let is_our_turn = is_our_turn
            || (self.bug == Some(Bug::GivesBackOutOfTurn)
                && hosts.iter().filter(has_too_much).any(|host| host.name == self.config.name));
        if !is_our_turn || self.is_giving_up(service) {
            return None;
        }
        // The least useful one, and of these the last.
        let ids = self.desired.last_first(&self.config.name, service);
        let machines = ids.iter().filter_map(|id| self.machines.get(id));
        let victim = machines.min_by_key(|machine| usefulness(machine, now))?;
        #[cfg(test)]
        if self.bug == Some(Bug::GivesBackTooSoon) {
            return Some(victim.slot.id.clone());
        }
        let (mut wanted, mut ready) = (0_u32, 0_u32);
        for host in hosts {
            let Placed { wanted: theirs, ready: serve } = placed(host);
            wanted = wanted.saturating_add(theirs);
            ready = ready.saturating_add(if host.is_fresh { serve } else { 0 });
        }
        let may_go = if serves(victim) {
            ready > *goal
        } else {
            ready >= *goal || (is_hopeless(victim, now) && wanted > *goal)
        };
        may_go.then(|| victim.slot.id.clone())
    }

    /// Whether one of the machines of `service` is being drained for good.
    fn is_giving_up(&self, service: &PoolName) -> bool {
        self.machines.values().any(|machine| {
            machine.slot.service == *service
                && !machine.wanted
                && matches!(machine.life, Life::Draining { .. })
        })
    }
}

impl Division {
    fn share(&self, host: &HostName) -> u32 {
        self.shares.get(host).copied().unwrap_or_default()
    }
}

/// Whether balancers send it requests.
fn serves(machine: &Machine) -> bool {
    machine.wanted && machine.can_serve() && !machine.drained
}

/// Whether it is not to be expected that it will serve anybody soon.
fn is_hopeless(machine: &Machine, now: Time) -> bool {
    machine.crash_looping(now) || matches!(machine.life, Life::Waiting { .. })
}

fn usefulness(machine: &Machine, now: Time) -> u8 {
    match machine.life {
        _ if is_hopeless(machine, now) => 0,
        Life::Dead { .. } | Life::Waiting { .. } => 1,
        Life::Booting { .. } | Life::Draining { .. } => 2,
        Life::Suspect { .. } => 3,
        Life::Ready { .. } if !serves(machine) => 4,
        Life::Ready { .. } => 5,
    }
}
