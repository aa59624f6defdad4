//! All there is, and the passing of its time.

use std::time::Duration;

use wire::{Incarnation, MachineId};

use super::bug::Bug;
use super::calls::Call;
use super::checks::Checks;
use super::dice::Dice;
use super::host::Host;
use super::meter::Meter;
use super::network::Network;
use super::queue::Queue;
use super::reached::Reached;
use super::speaker::Packet;
use crate::config::Config;
use crate::engine::{Action, Event, Outcome, Time};

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Happening {
    /// A manager is told something.
    Told { host: usize, life: u64, event: Event },
    /// What a manager began on its host is over, with this outcome where that is known already.
    Over { host: usize, life: u64, action: Action, outcome: Option<Outcome> },
    /// A heartbeat is due on a watch, or its first is awaited until `give_up`.
    Beat { host: usize, life: u64, watch: Watch },
    /// A request arrives.
    Request(Call),
    /// A machine's programs start.
    Boots { host: usize, machine: MachineId, uid: u64 },
    /// A machine ends by itself.
    Dies { host: usize, machine: MachineId, uid: u64, why: &'static str },
    /// The workers of a balancer tick.
    Tick { host: usize, uid: u64 },
    /// The supervisor of a balancer takes off what a dead speaker left, and says so.
    Cleans { host: usize, uid: u64 },
    /// … and starts another one.
    Speaks { host: usize, uid: u64 },
    /// An advert arrives at the balancer of `host`.
    Advert { host: usize, packet: Packet, late: bool },
    /// An announcement of a VIP by the balancer of `holder` arrives at the client of `host`.
    Announced { host: usize, vip: usize, holder: usize },
    /// A client asks the VIP.
    Asks { host: usize },
    /// A frozen machine goes on.
    Thaws { host: usize, machine: MachineId, uid: u64 },
    /// A link is as it should be again.
    Heals { from: usize, to: usize },
    /// A manager starts, if none runs.
    Starts { host: usize },
    /// A host has power again.
    Returns { host: usize },
    /// The next fault is drawn.
    Fault,
}

/// A watch of a machine's heartbeat.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) id: u64,
    pub(super) machine: MachineId,
    pub(super) incarnation: Incarnation,
    pub(super) address: std::net::IpAddr,
    /// The machine it is connected to.
    pub(super) uid: Option<u64>,
    pub(super) give_up: Time,
}

/// What a run is to be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) seed: u64,
    pub(super) faults: u32,
    /// When the world begins.
    pub(super) origin: Time,
    /// Everything a manager or a balancer is told, it is told twice.
    pub(super) everything_twice: bool,
    pub(super) bug: Option<Bug>,
    pub(super) traced: bool,
    /// Besides a service of which each host has its own machines there is one that runs over all hosts.
    pub(super) placed: bool,
    /// Balancers check the machines of the service of which each host has its own, where that is the only one.
    pub(super) checked: bool,
    /// So many VIPs more, which are spread over the hosts.
    pub(super) spread: u8,
    /// It is about what all of it costs: there are many hosts, of one cluster with certificates, and promises are looked at
    /// in the end only.
    pub(super) measured: bool,
    /// With how many peers managers gossip about who lives, where that is another number than usual.
    pub(super) circle_from: Option<usize>,
    /// Host 0's manager is killed when it has taken so many steps.
    pub(super) kill_at: Option<u64>,
}

impl Options {
    pub(super) fn of(seed: u64) -> Self {
        Options {
            seed,
            faults: super::run::FAULTS,
            origin: Duration::from_secs(100),
            everything_twice: false,
            bug: None,
            traced: false,
            placed: false,
            checked: false,
            spread: 0,
            measured: false,
            circle_from: None,
            kill_at: None,
        }
    }
}

/// All there is.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Time,
    pub(super) options: Options,
    pub(super) hosts: Vec<Host>,
    pub(super) network: Network,
    pub(super) dice: Dice,
    pub(super) queue: Queue<Happening>,
    pub(super) checks: Checks,
    pub(super) reached: Reached,
    /// Machines that were ever made.
    pub(super) made: u64,
    pub(super) events: u64,
    /// Steps that the manager of host 0 has taken in all its lives.
    pub(super) steps: u64,
    pub(super) faults_left: u32,
    pub(super) faults: u32,
    pub(super) trace: Option<Vec<String>>,
    /// What is said is counted.
    pub(super) meter: Option<Meter>,
}

impl World {
    /// Hosts whose managers start now and that have no machine yet.
    pub(super) fn of(options: Options, configs: Vec<Config>) -> Self {
        let count = configs.len();
        let mut world = World {
            now: options.origin,
            options,
            hosts: configs.into_iter().map(Host::new).collect(),
            network: Network::new(count),
            dice: Dice::new(options.seed),
            queue: Queue::new(),
            checks: Checks::new(options.origin),
            reached: Reached::default(),
            made: 0,
            events: 0,
            steps: 0,
            faults_left: options.faults,
            faults: 0,
            trace: options.traced.then(Vec::new),
            meter: None,
        };
        for host in 0..count {
            world.start_manager(host);
            if options.measured {
                continue;
            }
            let first = world.dice.ms(0, 99);
            world.after(first, Happening::Asks { host });
        }
        world
    }

    pub(super) fn after(&mut self, delay: Duration, happening: Happening) {
        self.queue.push(self.now + delay, happening);
    }

    pub(super) fn at(&mut self, at: Time, happening: Happening) {
        self.queue.push(at.max(self.now), happening);
    }

    pub(super) fn has_bug(&self, bug: Bug) -> bool {
        self.options.bug == Some(bug)
    }

    /// Lets time pass until `end`, or until a promise is broken.
    pub(super) fn run_until(&mut self, end: Time) {
        while self.checks.violation.is_none() {
            let managers = self.hosts.iter().filter_map(Host::manager_due);
            let speakers = self.hosts.iter().filter_map(Host::speaker_due);
            let next = managers.chain(speakers).chain(self.queue.next_at()).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = self.now.max(end);
                return;
            };
            self.now = self.now.max(next);
            self.step();
        }
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Everything of one moment: what happens, then who is due, then what the managers want.
    fn step(&mut self) {
        while let Some(happening) = self.queue.pop_due(self.now) {
            self.events += 1;
            self.happen(happening);
            self.check();
            if self.checks.violation.is_some() {
                return;
            }
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].speaker_due().is_some_and(|due| due <= self.now) {
                self.events += 1;
                self.speaker_turn(host, super::speaker::Turn::Timer);
            }
            if self.hosts[host].manager_due().is_some_and(|due| due <= self.now) {
                self.events += 1;
                self.wake_manager(host);
            }
        }
        for host in 0..self.hosts.len() {
            self.plan(host);
        }
        self.check();
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Told { host, life, event } => self.told(host, life, event),
            Happening::Over { host, life, action, outcome } => self.over(host, life, action, outcome),
            Happening::Beat { host, life, watch } => self.beat(host, life, watch),
            Happening::Request(call) => self.requested(call),
            Happening::Boots { host, machine, uid } => self.boots(host, &machine, uid),
            Happening::Dies { host, machine, uid, why } => {
                if self.hosts[host].guests.get(&machine).is_some_and(|guest| guest.uid == uid) {
                    self.end_machine(host, &machine, why);
                }
            }
            Happening::Tick { host, uid } => self.tick(host, uid),
            Happening::Cleans { host, uid } => self.cleans(host, uid),
            Happening::Speaks { host, uid } => self.speaks(host, uid),
            Happening::Advert { host, packet, late } => self.advert_arrives(host, packet, late),
            Happening::Announced { host, vip, holder } => {
                self.hosts[host].client.neighbours.insert(vip, holder);
            }
            Happening::Asks { host } => self.asks(host),
            Happening::Thaws { host, machine, uid } => self.thaw(host, &machine, Some(uid)),
            Happening::Heals { from, to } => {
                *self.network.link_mut(from, to) = super::network::Link::default();
                self.checks.disturbed(self.now);
                self.checks.harmed(self.now);
            }
            Happening::Starts { host } => {
                if self.hosts[host].up && self.hosts[host].manager.is_none() {
                    self.start_manager(host);
                }
            }
            Happening::Returns { host } => self.host_returns(host),
            Happening::Fault => self.draw_fault(),
        }
    }
}
