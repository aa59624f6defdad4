//! The simulated hypervisor and disk: what a manager asks its host for, with the host's troubles.

use std::time::Duration;

use wire::MachineId;
use wire::cluster::Condition;

use super::checks::Checker;
use super::guest::{Fate, Guest};
use super::host::Work;
use super::world::{Happening, World};
use crate::address_pool::mac_of;
use crate::engine::{Action, Command, Event, MachineSpec, ObservedMachine, Outcome};

/// The prefix of an outcome of something that was done all the same.
const DONE_ALL_THE_SAME: &str = "the connection broke off";

impl World {
    /// Begins what the manager of `host` asks for.
    pub(super) fn operate(&mut self, host: usize, action: Action) {
        let Some(work) = Work::of(&action.command) else { return };
        let (now, life) = (self.now, self.hosts[host].life);
        let (mut delay, outcome) = self.prospects(host, work, &action.command);
        if let (Work::Stop, Command::Stop(machine), None) = (work, &action.command, &outcome) {
            delay = self.asked_to_end(host, machine, delay);
        }
        let Some(manager) = self.hosts[host].manager.as_mut() else { return };
        manager.begun.insert(action.id, action.command.clone());
        let mut end = now + delay;
        if let Some(machine) = machine_of(&action.command) {
            let busy = manager.busy.entry(machine.clone()).or_insert(now);
            end = (*busy).max(now) + delay;
            *busy = end;
        }
        if let Command::Fence(machine) = &action.command {
            manager.watches.remove(machine);
        }
        self.at(end, Happening::Over { host, life, action, outcome });
    }

    /// How long something takes, and how it ends where that is known before.
    fn prospects(&mut self, host: usize, work: Work, command: &Command) -> (Duration, Option<Outcome>) {
        let now = self.now;
        let picture = work == Work::List && self.dice.chance(50);
        let troubles = &mut self.hosts[host].troubles;
        let delay = troubles.slow.get(&work).copied().unwrap_or(work.usual());
        let failed = |reason: &str| Some(Outcome::Failed(reason.to_owned()));
        let on_daemon = !matches!(work, Work::Save | Work::Probe | Work::TakeBack);
        if on_daemon && now < troubles.down_until {
            let reason = "the daemon cannot be reached".to_owned();
            let outcome = match work {
                Work::Create => Outcome::Prevented(Condition::HypervisorDown, reason),
                _ => Outcome::Failed(reason),
            };
            return (Duration::from_millis(2), Some(outcome));
        }
        if matches!(command, Command::Fence(_)) && now < troubles.unfenced_until {
            return (delay, failed("not everything of the machine is gone"));
        }
        if work == Work::Save && now < troubles.full_until {
            return (delay, failed("no space left on device"));
        }
        if let Some((left, afterwards)) = troubles.failing.get_mut(&work).filter(|(left, _)| *left > 0) {
            *left -= 1;
            let reason = if *afterwards { DONE_ALL_THE_SAME } else { "it failed" };
            return (delay, failed(reason));
        }
        (delay, picture.then(|| self.listed(host)))
    }

    /// The end of what a manager began on its host.
    pub(super) fn over(&mut self, host: usize, life: u64, action: Action, outcome: Option<Outcome>) {
        if self.hosts[host].life != life || self.hosts[host].manager.is_none() {
            return;
        }
        let outcome = match outcome {
            None => self.effect(host, &action.command),
            Some(Outcome::Failed(reason)) if reason == DONE_ALL_THE_SAME => {
                self.effect(host, &action.command);
                Outcome::Failed(reason)
            }
            Some(outcome) => outcome,
        };
        self.told(host, life, Event::Finished { id: action.id, outcome });
    }

    /// Carries out `command` on its host.
    pub(super) fn effect(&mut self, host: usize, command: &Command) -> Outcome {
        match command {
            Command::Save(desired) => {
                self.hosts[host].disk = Some((**desired).clone());
                if self.hosts[host].rolled {
                    // A name that has no place any more may come back elsewhere.
                    let name = self.hosts[host].config.name.clone();
                    let is_here = |id: &MachineId| id.as_str().starts_with(&format!("{name}-"));
                    self.checks.addresses.retain(|id, _| !is_here(id) || desired.slot(&name, id).is_some());
                }
                Outcome::Done
            }
            Command::List => self.listed(host),
            Command::Create(spec) => self.make(host, spec),
            Command::Stop(machine) => {
                let frozen = |guest: &Guest| guest.frozen.is_some();
                if self.hosts[host].guests.get(machine).is_some_and(frozen) {
                    return Outcome::Failed("it does not end".to_owned());
                }
                let ended = self.end_machine(host, machine, "it was asked to");
                if ended { Outcome::Done } else { Outcome::Failed("no such machine runs".to_owned()) }
            }
            Command::Fence(machine) => {
                self.end_machine(host, machine, "it was destroyed");
                self.hosts[host].guests.remove(machine);
                Outcome::Done
            }
            // Definitions do not change here.
            Command::TakeBack(_) => Outcome::Failed("there is nothing to go back to".to_owned()),
            Command::Probe(address) => {
                let mut guests = self.hosts.iter().flat_map(|host| host.guests.values());
                let answers = |guest: &Guest| guest.is_alive() && guest.address() == *address;
                if guests.any(answers) { Outcome::Taken(mac_of(*address)) } else { Outcome::Done }
            }
            _ => Outcome::Done,
        }
    }

    fn listed(&self, host: usize) -> Outcome {
        let machines = self.hosts[host].guests.values().map(|guest| ObservedMachine {
            purpose: guest.purpose.clone(),
            running: guest.running,
            booted: guest.up,
        });
        Outcome::Listed { machines: machines.collect(), driver: "simulated".to_owned() }
    }

    fn make(&mut self, host: usize, spec: &MachineSpec) -> Outcome {
        let machine = &spec.purpose.id;
        if self.hosts[host].guests.contains_key(machine) {
            return Outcome::Failed("a machine of this name exists".to_owned());
        }
        self.check_made(host, spec);
        self.made += 1;
        let uid = self.made;
        self.hosts[host].dismissed.remove(machine);
        self.hosts[host].guests.insert(machine.clone(), Guest::new(uid, spec));
        let usual = Fate::Boots(self.dice.ms(80, 300));
        let machine = machine.clone();
        match self.hosts[host].troubles.fates.get(&machine).copied().unwrap_or(usual) {
            Fate::Boots(after) => self.after(after, Happening::Boots { host, machine, uid }),
            Fate::Crashes(after) => {
                self.after(after, Happening::Dies { host, machine, uid, why: "it crashed" });
            }
            Fate::Hangs => {}
        }
        Outcome::Done
    }

    /// Whether nobody's machine has this address.
    pub(super) fn check_free(&mut self, spec: &MachineSpec, when: &str) {
        let address = spec.purpose.address;
        let mut others = self.hosts.iter().flat_map(|host| host.guests.values());
        if let Some(other) = others.find(|guest| guest.address() == address) {
            let other = other.purpose.id.clone();
            self.violated(Checker::Addresses, || {
                format!("{} gets {address} ({when}), which {other} has", spec.purpose.id)
            });
        }
    }
}

fn machine_of(command: &Command) -> Option<&MachineId> {
    match command {
        Command::Create(spec) => Some(&spec.purpose.id),
        Command::Stop(machine) | Command::Fence(machine) => Some(machine),
        _ => None,
    }
}
