//! A service that runs over all hosts: what must hold of it, and runs in which nothing but hosts comes and goes.

use std::time::Duration;

use wire::{MachineId, PoolName};

use super::bug::Bug;
use super::checks::Checker;
use super::dice::Dice;
use super::guest::Fate;
use super::host::Host;
use super::network::Link;
use super::run::{Report, finish, run};
use super::world::{Happening, Options, World};
use crate::config::Config;
use crate::engine::testing::parse;

/// The service.
const NAME: &str = "web";

/// A machine is given up by the word of other hosts, which is so old at most.
const WORD: Duration = Duration::from_secs(4);

/// After the last harm to hosts, all of its machines serve within this: a lost host is noticed after 3 s, a manager that
/// starts waits 5 s for the others, and a machine takes up to 8 s to boot.
const TAKEN_OVER: Duration = Duration::from_secs(20);

/// Before the first harm, all hosts get ready.
const START: Duration = Duration::from_secs(10);

/// So often hosts are harmed in a run.
const HARMS: u32 = 10;

/// Gives each host the service over all hosts, and sometimes room for all of its machines.
pub(super) fn add_to(configs: &mut [Config], dice: &mut Dice) {
    let total = dice.below(7);
    let hard = dice.chance(20);
    let last = if dice.chance(50) { 15 } else { 29 };
    for (index, config) in configs.iter_mut().enumerate() {
        *config = with(config, index, total, hard, last);
    }
}

fn with(config: &Config, index: usize, total: u64, hard: bool, last: u8) -> Config {
    let count = config.peers.len() + 1;
    let replicas = config.services.first().map_or(1, |service| service.replicas);
    let spread = if hard { "hard" } else { "soft" };
    let service = format!("[[service]]\nname = \"{NAME}\"\ntotal = {total}\nspread = \"{spread}\"\n");
    let text = super::run::text(index, count, replicas, "").replace(".15\"]", &format!(".{last}\"]"));
    parse(&format!("{text}{service}"))
}

fn service() -> PoolName {
    NAME.into()
}

impl World {
    fn total(&self) -> u32 {
        let config = &self.hosts[0].config;
        let service = config.services.iter().find(|service| service.name.as_str() == NAME);
        service.and_then(|service| service.spec.total).unwrap_or_default()
    }

    /// How many of its machines serve, and are to.
    fn kept(&self) -> u32 {
        let stays = |host: &Host, machine: &MachineId| match &host.manager {
            Some(manager) => manager.engine.has_slot(machine),
            // Nobody is there to take it away.
            None => true,
        };
        let guests = self.hosts.iter().flat_map(|host| host.guests.values().map(move |guest| (host, guest)));
        let kept = guests.filter(|(host, guest)| {
            guest.purpose.service.as_str() == NAME && guest.serves() && stays(host, &guest.purpose.id)
        });
        kept.count() as u32
    }

    /// Whether every host has room for all of its machines, so that nothing but a lost host excuses a missing one.
    fn has_room_for_all(&self) -> bool {
        let total = self.total() as usize;
        let is_soft = |host: &Host| {
            host.config.services.iter().all(|service| service.spec.spread == wire::placement::Spread::Soft)
        };
        self.hosts.iter().all(|host| is_soft(host) && host.config.pool.addresses().len() > total + 8)
    }

    /// A machine ended.
    pub(super) fn lost(&mut self, host: usize, machine: &MachineId) {
        if self.options.placed && !self.hosts[host].dismissed.contains(machine) {
            self.checks.lost_at = self.now;
            self.checks.harmed(self.now);
        }
    }

    /// The manager of `host` says that it drains a machine; perhaps because others have what it was for.
    pub(super) fn given_up(&mut self, host: usize, machine: &MachineId) {
        let this = &mut self.hosts[host];
        let has_slot = this.manager.as_ref().is_some_and(|manager| manager.engine.has_slot(machine));
        let of_it = machine.as_str().strip_prefix(this.config.name.as_str());
        if has_slot || !of_it.is_some_and(|rest| rest.starts_with(&format!("-{NAME}-"))) {
            return;
        }
        // One that did not get as far, because nothing can be stored or made there, is missed by nobody.
        let served = this.guests.get(machine).is_some_and(super::guest::Guest::serves);
        this.dismissed.insert(machine.clone());
        self.checks.addresses.remove(machine);
        self.reached.given_up += 1;
        let (kept, total) = (self.kept(), self.total());
        let is_known = self.now > self.checks.lost_at + WORD;
        if served && self.has_room_for_all() && is_known && kept < total {
            self.violated(Checker::Placement, || {
                format!("{machine} is given up, and {kept} of {total} machines are left")
            });
        }
    }

    /// After every step: what was lost is made elsewhere in time.
    pub(super) fn check_placed(&mut self) {
        if !self.options.placed || self.now < self.checks.harmed_at + TAKEN_OVER || !self.has_room_for_all() {
            return;
        }
        let (kept, total) = (self.kept(), self.total());
        if kept < total && self.hosts.iter().any(|host| host.manager.is_some()) {
            self.violated(Checker::Placement, || {
                format!("{kept} of {total} machines serve, {TAKEN_OVER:?} after the last harm")
            });
        }
    }

    /// What is not where it should be in the end, in the eyes of the manager of `host`.
    pub(super) fn misplaced(&self, host: usize) -> Option<String> {
        if !self.options.placed {
            return None;
        }
        let engine = &self.hosts[host].manager.as_ref()?.engine;
        let found = engine.placement_of(&service())?;
        let has = engine.desired_of(&service());
        if has != found.share as usize {
            return Some(format!("host {host} has {has} machines, and its share is {}", found.share));
        }
        let managers = self.hosts.iter().filter_map(|host| host.manager.as_ref());
        let all: usize = managers.map(|manager| manager.engine.desired_of(&service())).sum();
        let goal = found.total - found.unplaced;
        (all != goal as usize).then(|| format!("all hosts have {all} machines, and there are to be {goal}"))
    }

    /// A host is lost or cut off, or its manager is, for a while.
    fn harm_host(&mut self) {
        let (host, count) = (self.dice.index(self.hosts.len()), self.hosts.len());
        let end = self.dice.ms(1_000, 16_000);
        self.checks.harmed(self.now);
        match self.dice.below(6) {
            0 | 1 => {
                let slow = self.dice.chance(70);
                let machines: Vec<MachineId> = self.hosts[host].guests.keys().cloned().collect();
                for machine in machines.into_iter().filter(|machine| machine.as_str().contains(NAME)) {
                    let boots = if slow { self.dice.ms(2_000, 8_000) } else { self.dice.ms(80, 300) };
                    self.hosts[host].troubles.fates.insert(machine, Fate::Boots(boots));
                }
                // For so long that it has to be taken over, and is found out if it is not.
                let back = self.now + 3 * end;
                self.lose_host(host, back);
            }
            2 | 3 => {
                for other in (0..count).filter(|other| *other != host) {
                    for (from, to) in [(host, other), (other, host)] {
                        *self.network.link_mut(from, to) = Link { cut: true, ..Link::default() };
                        self.after(end, Happening::Heals { from, to });
                    }
                }
            }
            4 => {
                let to = (host + 1) % count;
                *self.network.link_mut(host, to) = Link { cut: true, ..Link::default() };
                self.after(end, Happening::Heals { from: host, to });
            }
            _ => {
                self.kill_manager(host);
                self.after(end, Happening::Starts { host });
            }
        }
        self.checks.disturbed(self.now + end);
    }
}

/// Nothing but hosts comes and goes, with room on each for all.
pub(super) fn hosts_come_and_go(options: Options) -> Report {
    let mut dice = Dice::new(options.seed ^ 0x9_1ace);
    let (count, total) = (2 + dice.index(3), 1 + dice.below(6));
    let plain = |index| super::run::config(index, count, 1);
    let configs = (0..count).map(|index| with(&plain(index), index, total, false, 29)).collect();
    let mut world = World::of(Options { placed: true, faults: 0, ..options }, configs);
    world.run_for(START);
    for _ in 0..HARMS {
        if world.checks.violation.is_some() {
            break;
        }
        world.harm_host();
        let often = world.dice.chance(50);
        let pause = if often { world.dice.ms(100, 6_000) } else { world.dice.ms(10_000, 45_000) };
        world.run_for(pause);
    }
    finish(world)
}

/// So many seeds are run, unless SIM_SEEDS says otherwise.
const FEW: u64 = 8;

/// A mistake is found within so many.
const FOUND: u64 = 80;

fn seeds() -> std::ops::RangeInclusive<u64> {
    1..=super::suite::number("SIM_SEEDS").unwrap_or(FEW)
}

#[test]
fn a_lost_host_is_replaced_and_gets_its_share_back_without_a_gap() {
    let mut given_up = 0;
    for seed in seeds() {
        let report = hosts_come_and_go(Options::of(seed));
        if let Some(violation) = report.violation {
            let told = hosts_come_and_go(Options { traced: true, ..Options::of(seed) }).trace;
            println!("{}", told[told.len().saturating_sub(200)..].join("\n"));
            panic!("seed {seed}: {violation}");
        }
        given_up += report.reached.given_up;
    }
    assert!(given_up > *seeds().end(), "only {given_up} machines were given back");
}

#[test]
fn every_promise_is_kept_under_all_faults_with_a_service_over_all_hosts() {
    for seed in seeds() {
        let options = Options { placed: true, ..Options::of(seed) };
        if let Some(violation) = run(options).violation {
            let told = run(Options { traced: true, ..options }).trace;
            println!("{}", told[told.len().saturating_sub(200)..].join("\n"));
            panic!("seed {seed}: {violation}");
        }
    }
}

/// Whether a mistake in placement is found.
fn is_found(bug: Bug) {
    let found = (1..=FOUND).any(|seed| {
        let report = hosts_come_and_go(Options { bug: Some(bug), ..Options::of(seed) });
        report.violation.is_some_and(|violation| violation.checker == Checker::Placement)
    });
    assert!(found, "{bug:?} is not found");
}

#[test]
fn a_machine_given_up_before_others_are_ready() {
    is_found(Bug::GivesBackTooSoon);
}

#[test]
fn machines_given_up_by_all_at_once() {
    is_found(Bug::GivesBackOutOfTurn);
}

#[test]
fn a_lost_share_that_nobody_takes_over() {
    is_found(Bug::NobodyTakesOver);
}
