//! What the world does when an engine asks for something, and what it checks each time.

use std::net::IpAddr;
use std::time::Duration;

use super::guest::Guest;
use super::take;
use super::world::{Happening, World};
use crate::address_pool::mac_of;
use crate::engine::{
    Command, Engine, Event, MachinePurpose, MachineSpec, ObservedMachine, Outcome, SparesWanted,
};
use wire::hand_over::{HandOver, HandOverOrder, HandOverState, StepTook};
use wire::switchover::{SwitchoverOrder, SwitchoverState};
use wire::{MachineId, PoolName};

/// The time between two heartbeats of a machine.
const BEAT: Duration = Duration::from_millis(250);

/// A crash-looping machine lives so long.
const SHORT_LIFE: Duration = Duration::from_millis(50);

impl World {
    /// The machines of `host`, as a list that is asked for now has them.
    pub(super) fn listed(&self, host: usize) -> Outcome {
        let guests = self.hosts[host].guests.values();
        let machines = guests.map(|guest| ObservedMachine {
            purpose: guest.purpose.clone(),
            running: guest.running,
            booted: guest.up || self.hosts[host].mute.contains(&guest.purpose.id),
        });
        Outcome::Listed { machines: machines.collect(), driver: "simulated".to_owned() }
    }

    /// Carries out `command` of `host`.
    pub(super) fn effect(&mut self, host: usize, command: &Command) -> Outcome {
        let now = self.now;
        match command {
            Command::Save(desired) => {
                self.hosts[host].disk = Some((**desired).clone());
                // A name that has no place any more may come back elsewhere.
                let name = self.hosts[host].config.name.clone();
                self.hosts[host].addresses.retain(|id, _| desired.slot(&name, id).is_some());
                Outcome::Done
            }
            Command::List => self.listed(host),
            Command::TakeBack(_) => self.take_back(host),
            Command::ReadUsage => self.used(host),
            Command::ReadTraffic { .. } => self.traffic(host),
            Command::Create(spec) => self.make(host, spec),
            Command::KeepSpares(wanted) => {
                let wait = |(service, wanted): (&PoolName, &SparesWanted)| (service.clone(), wanted.count);
                Outcome::Spares(wanted.iter().map(wait).collect())
            }
            Command::Stop(id) => {
                let stopped = self.end(id, "it was asked to");
                if stopped { Outcome::Done } else { Outcome::Failed("no such machine runs".to_owned()) }
            }
            Command::Fence(id) => {
                self.end(id, "it was destroyed");
                self.hosts[host].guests.remove(id);
                self.hosts[host].forget_given_up(id);
                Outcome::Done
            }
            Command::Push { set, .. } => self.lb(host).map_or_else(silence, |lb| lb.push(&set.to_wire())),
            Command::Configure { config, .. } => {
                self.lb(host).map_or_else(silence, |lb| lb.configure(config))
            }
            Command::ReadLb { documents, .. } => {
                let (holders, config) = (self.vip_holders.clone(), self.hosts[host].config.clone());
                self.lb(host).map_or_else(silence, |lb| lb.read(&config, &holders, *documents))
            }
            Command::Tell { peer, .. } | Command::Gossip { peer, .. } => {
                let from = self.hosts[host].config.address;
                let cut = self.cut;
                let peer = self.hosts.iter_mut().find(|other| other.config.address == *peer);
                let Some((peer, engine)) = peer
                    .filter(|peer| !cut && peer.stalled_until <= now)
                    .and_then(|peer| peer.engine.as_mut().map(|engine| (&mut peer.dirty, engine)))
                else {
                    return silence();
                };
                *peer = true;
                take(engine, now, from, command)
            }
            Command::HandOver { order, .. } => self.hand_over(host, order),
            Command::TellUplink { lost, .. } => self.lb(host).map_or_else(silence, |lb| {
                lb.uplink_lost = Some(*lost);
                Outcome::Done
            }),
            Command::Rank { priorities, .. } => self.lb(host).map_or_else(silence, |lb| {
                lb.ranks.extend(priorities);
                Outcome::Done
            }),
            Command::AskTargets(targets) => {
                Outcome::Answered(self.hosts[host].targets_answer.min(targets.len()))
            }
            Command::Forward { peer, order } => self.forward(*peer, order),
            Command::Probe(address) => self.ask_for(*address),
            Command::Resign { .. } | Command::Watch { .. } => Outcome::Done,
        }
    }

    /// The services of `host` are again what they were.
    fn take_back(&mut self, host: usize) -> Outcome {
        let now = self.now;
        match self.hosts[host].before.take() {
            None => Outcome::Failed("there is nothing to go back to".to_owned()),
            Some(before) => match self.engine(host).set_services(now, before) {
                Ok(()) => Outcome::Done,
                Err(problem) => Outcome::Failed(problem.detail),
            },
        }
    }

    /// Whoever answers for `address` on the network.
    fn ask_for(&self, address: IpAddr) -> Outcome {
        let strangers = self.hosts.iter().flat_map(|host| &host.strangers);
        if let Some((_, mac)) = strangers.into_iter().find(|(theirs, _)| **theirs == address) {
            return Outcome::Taken(*mac);
        }
        let mut guests = self.hosts.iter().flat_map(|host| host.guests.values());
        let answers = |guest: &Guest| guest.running && !guest.frozen && guest.purpose.address == address;
        if guests.any(answers) { Outcome::Taken(mac_of(address)) } else { Outcome::Done }
    }

    /// VIPs go from the balancer of `host` to another one, if there is one.
    fn hand_over(&mut self, host: usize, order: &HandOverOrder) -> Outcome {
        let Some(from) = self.lb(host).map(|lb| lb.purpose.id.clone()) else { return silence() };
        let others = self.hosts.iter().flat_map(|host| host.guests.values());
        let others: Vec<_> = others
            .filter(|guest| guest.is_lb() && guest.answers() && guest.purpose.id != from)
            .map(|guest| guest.purpose.clone())
            .collect();
        let mut hand_over = HandOver { number: 1, state: HandOverState::Done, ..HandOver::default() };
        for step in [HandOverState::Closing, HandOverState::Holding, HandOverState::Releasing] {
            hand_over.steps.push(StepTook { step, micros: 1_000 });
        }
        let meant = |vip: &&IpAddr| order.addresses.is_empty() || order.addresses.contains(vip);
        let held = self.vip_holders.iter().filter(|(_, holder)| **holder == from);
        let held: Vec<IpAddr> = held.map(|(vip, _)| vip).filter(meant).copied().collect();
        for vip in &held {
            let named = order.to.get(vip);
            let is_named =
                |purpose: &&MachinePurpose| named.is_some_and(|named| named.contains(&purpose.address));
            if let Some(other) = others.iter().find(is_named).or(others.first()) {
                self.vip_holders.insert(*vip, other.id.clone());
            }
        }
        if held.is_empty() || others.is_empty() {
            hand_over.state = HandOverState::Undone;
            hand_over.undone = Some("nobody took it".to_owned());
        }
        Outcome::HandedOver(Box::new(hand_over))
    }

    /// The manager at `peer` is asked for a switchover, and does what is to be done in no time.
    fn forward(&mut self, peer: IpAddr, order: &SwitchoverOrder) -> Outcome {
        let (now, cut) = (self.now, self.cut);
        let Some(at) = self.hosts.iter().position(|host| host.config.address == peer && !cut) else {
            return silence();
        };
        let Some(engine) = self.hosts[at].engine.as_mut() else { return silence() };
        match engine.switch_over(now, order.clone()) {
            Err(problem) => Outcome::Failed(problem.detail),
            Ok(mut view) => {
                view.state = SwitchoverState::Done;
                self.hosts[at].dirty = true;
                Outcome::SwitchedOver(Box::new(view))
            }
        }
    }

    fn lb(&mut self, host: usize) -> Option<&mut Guest> {
        self.hosts[host].guests.values_mut().find(|guest| guest.is_lb() && guest.answers())
    }

    fn make(&mut self, host: usize, spec: &MachineSpec) -> Outcome {
        let id = &spec.purpose.id;
        if self.hosts[host].guests.contains_key(id) {
            return Outcome::Failed("a machine of this name exists".to_owned());
        }
        if let Some(condition) = self.hosts[host].prevented_by {
            return Outcome::Prevented(condition, "as the test wants".to_owned());
        }
        self.assert_free(spec);
        self.hosts[host].addresses.insert(id.clone(), spec.purpose.address);
        self.hosts[host].guests.insert(id.clone(), Guest::new(spec));
        let (machine, incarnation) = (id.clone(), spec.purpose.incarnation);
        if self.hosts[host].crash_on_start.contains(id) {
            self.after(SHORT_LIFE, Happening::Die { machine, incarnation });
        } else if !self.hosts[host].never_boot.contains(id)
            && !self.hosts[host].mute.contains(id)
            && self.hosts[host].never_boot_program.as_ref() != Some(&spec.seed.program)
        {
            let boot = self.hosts[host].boot;
            self.after(boot, Happening::Boot { machine, incarnation });
        }
        Outcome::Done
    }

    /// No address is on two machines, and none is given away before its last machine was destroyed.
    pub(super) fn assert_free(&self, spec: &MachineSpec) {
        for guest in self.hosts.iter().flat_map(|host| host.guests.values()) {
            assert!(
                guest.purpose.address != spec.purpose.address,
                "{} gets the address of {} at {:?}",
                spec.purpose.id,
                guest.purpose.id,
                self.now
            );
        }
    }

    /// A machine ends; its hypervisor tells of it. Returns whether it ran.
    pub(super) fn end(&mut self, id: &MachineId, reason: &str) -> bool {
        let Some(host) = self.host_of(id) else { return false };
        let Some(guest) = self.hosts[host].guests.get_mut(id).filter(|guest| guest.running) else {
            return false;
        };
        guest.running = false;
        guest.up = false;
        let event = Event::Exited {
            machine: id.clone(),
            incarnation: guest.purpose.incarnation,
            reason: reason.to_owned(),
        };
        if !self.hosts[host].exits_are_lost {
            self.after(Duration::from_millis(1), Happening::Told { host, event });
        }
        true
    }

    /// A watch asks its machine, or listens to it further.
    pub(super) fn listen(
        &mut self,
        host: usize,
        life: u64,
        id: u64,
        command: Command,
        give_up: Option<Duration>,
    ) {
        let Command::Watch { machine, incarnation, .. } = &command else { return };
        if self.hosts[host].life != life || self.hosts[host].watches.get(machine) != Some(&id) {
            return;
        }
        let now = self.now;
        let guest = self.hosts[host].guests.get(machine);
        if guest.is_some_and(Guest::answers) {
            let event = Event::Beat { machine: machine.clone(), incarnation: *incarnation };
            self.tell(host, event);
            return self.after(BEAT, Happening::Listen { host, life, id, command, give_up: None });
        }
        let refuses = guest.is_some_and(|guest| guest.running && !guest.frozen && !guest.up);
        match give_up {
            Some(at) if refuses || now >= at => {
                let outcome = Outcome::Failed(if refuses { "refused" } else { "no answer" }.to_owned());
                self.tell(host, Event::Finished { id, outcome });
            }
            Some(at) => {
                let next = (at - now).min(Duration::from_millis(50));
                self.after(next, Happening::Listen { host, life, id, command, give_up });
            }
            // A stream to a machine that is dead or frozen stays open, and silent.
            None => self.after(BEAT, Happening::Listen { host, life, id, command, give_up }),
        }
    }

    /// Tells the engine of `host` something, if it runs.
    pub(super) fn tell(&mut self, host: usize, event: Event) {
        let now = self.now;
        let host = &mut self.hosts[host];
        if let Some(engine) = host.engine.as_mut() {
            host.dirty |= Engine::observe(engine, now, event);
        }
    }
}

fn silence() -> Outcome {
    Outcome::Failed("no answer".to_owned())
}
