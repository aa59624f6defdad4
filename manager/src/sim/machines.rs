//! The simulated hypervisor and disk: what a manager asks its host for, with the host's troubles.

use std::time::Duration;

use wire::MachineId;
use wire::cluster::Condition;

use super::checks::Checker;
use super::guest::{Fate, Frozen, Guest};
use super::host::{News, Work};
use super::speaker::{Speaker, Turn};
use super::world::{Happening, World};
use crate::address_pool::mac_of;
use crate::engine::{Action, Command, Event, MachineSpec, ObservedMachine, Outcome, Time};

/// The hypervisor asks a machine to end for so long; then it says that it does not.
const STOP_LIMIT: Duration = Duration::from_secs(10);

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
        let on_daemon = !matches!(work, Work::Save | Work::Probe);
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
                self.hosts[host].disk = Some(desired.clone());
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

    pub(super) fn boots(&mut self, host: usize, machine: &MachineId, uid: u64) {
        let (now, vip) = (self.now, self.hosts[host].config.vips.first().cloned());
        let guest = self.hosts[host].guests.get_mut(machine);
        let Some(guest) = guest.filter(|guest| guest.uid == uid && guest.running) else { return };
        if guest.frozen.is_some() {
            let machine = machine.clone();
            return self.after(Duration::from_millis(100), Happening::Boots { host, machine, uid });
        }
        guest.up = true;
        let (clock, own) = (guest.clock(now), guest.address());
        let (Some(balancer), Some(vip)) = (guest.balancer.as_mut(), vip) else { return };
        balancer.proxy.start();
        balancer.doubtful = !self.network.link(host, host).is_clean();
        balancer.speaker = Some(Speaker::new(clock, &vip, own));
        self.checks.disturbed(now);
        self.after(Duration::from_millis(5), Happening::Tick { host, uid });
        self.say(|| format!("{host}: {machine} boots"));
    }

    /// A machine is asked to end: a balancer lets go first. Returns how long the whole takes.
    fn asked_to_end(&mut self, host: usize, machine: &MachineId, delay: Duration) -> Duration {
        let Some(guest) = self.hosts[host].guests.get(machine) else { return delay };
        if guest.frozen.is_some() {
            return STOP_LIMIT;
        }
        if guest.balancer.is_some() && guest.up {
            self.speaker_turn(host, Turn::End);
            // It ends now whatever becomes of who asked.
            let (machine, uid) = (machine.clone(), self.hosts[host].balancer().map_or(0, |guest| guest.uid));
            self.after(delay, Happening::Dies { host, machine, uid, why: "it was asked to" });
        }
        delay
    }

    /// A machine ends; its hypervisor tells of it. Returns whether it ran.
    pub(super) fn end_machine(&mut self, host: usize, machine: &MachineId, reason: &str) -> bool {
        let (now, life) = (self.now, self.hosts[host].life);
        let Some(guest) = self.hosts[host].guests.get_mut(machine).filter(|guest| guest.running) else {
            return false;
        };
        (guest.running, guest.up, guest.frozen) = (false, false, None);
        if let Some(balancer) = guest.balancer.as_mut() {
            (balancer.speaker, balancer.has_address, balancer.stale) = (None, false, false);
            self.checks.disturbed(now);
        }
        let incarnation = guest.purpose.incarnation;
        self.say(|| format!("{host}: {machine}.{incarnation} ends: {reason}"));
        let event = Event::Exited { machine: machine.clone(), incarnation, reason: reason.to_owned() };
        let soon = Duration::from_millis(1);
        let down = now < self.hosts[host].troubles.down_until;
        match self.hosts[host].troubles.news {
            _ if down => {}
            News::Lost => {}
            News::Prompt => self.after(soon, Happening::Told { host, life, event }),
            News::Late(delay) => self.after(delay, Happening::Told { host, life, event }),
            News::Twice(delay) => {
                self.after(soon, Happening::Told { host, life, event: event.clone() });
                self.after(delay, Happening::Told { host, life, event });
            }
        }
        true
    }

    /// A machine stands still; nobody is told.
    pub(super) fn freeze(&mut self, host: usize, machine: &MachineId, hidden: bool) {
        let now = self.now;
        let guest = self.hosts[host].guests.get_mut(machine);
        let Some(guest) = guest.filter(|guest| guest.running && guest.frozen.is_none()) else { return };
        guest.frozen = Some(Frozen { since: now, hidden });
        if guest.balancer.is_some() {
            self.checks.disturbed(now);
        }
        self.say(|| {
            format!("{host}: {machine} stands still{}", if hidden { ", and so does its clock" } else { "" })
        });
    }

    /// … and goes on.
    pub(super) fn thaw(&mut self, host: usize, machine: &MachineId, uid: Option<u64>) {
        let now = self.now;
        let guest = self.hosts[host].guests.get_mut(machine);
        let Some(guest) = guest.filter(|guest| uid.is_none_or(|uid| guest.uid == uid)) else { return };
        let Some(frozen) = guest.thaw(now) else { return };
        self.say(|| format!("{host}: {machine} goes on"));
        self.wakes_up(host, machine, frozen);
    }

    /// Power is cut: nothing is left but the disk.
    pub(super) fn lose_host(&mut self, host: usize, back: Time) {
        let this = &mut self.hosts[host];
        (this.up, this.manager) = (false, None);
        this.life += 1;
        this.guests.clear();
        self.checks.disturbed(self.now);
        self.say(|| format!("{host}: loses power"));
        self.at(back, Happening::Returns { host });
    }

    pub(super) fn host_returns(&mut self, host: usize) {
        if !self.hosts[host].up {
            self.hosts[host].up = true;
            self.start_manager(host);
        }
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
