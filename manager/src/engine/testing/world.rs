//! Hosts with their machines, managers and links, in a time that only the test moves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use wire::cluster::Condition;
use wire::{Incarnation, MachineId, PoolName};

use super::guest::Guest;
use super::host::job;
use super::load::Load;
use crate::config::{Config, Service};
use crate::engine::{Action, Command, Desired, Engine, Event, Job, Notice, Outcome, Time, lb_id};

/// What an engine can ask for, to give rules for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Save,
    List,
    ReadUsage,
    ReadTraffic,
    Create,
    KeepSpares,
    Stop,
    Fence,
    Watch,
    Push,
    Configure,
    ReadLb,
    Tell,
    Gossip,
    Resign,
    HandOver,
    Forward,
    TellUplink,
    Rank,
    AskTargets,
    Probe,
    TakeBack,
}

/// One host: its hypervisor with its machines, and its manager if that runs.
pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) engine: Option<Engine>,
    pub(crate) disk: Option<Desired>,
    pub(crate) guests: BTreeMap<MachineId, Guest>,
    /// All that its managers ever asked for.
    pub(crate) started: Vec<(Time, Command)>,
    pub(crate) notices: Vec<Notice>,
    /// The next so many of a kind fail.
    pub(crate) failing: BTreeMap<Kind, u32>,
    /// How long a kind takes where that is not the usual time.
    pub(crate) delays: BTreeMap<Kind, Duration>,
    /// Devices on the host's network that are nobody's machines.
    pub(crate) strangers: BTreeMap<IpAddr, [u8; 6]>,
    /// How many of the neighbours beyond the uplink answer.
    pub(crate) targets_answer: usize,
    pub(crate) boot: Duration,
    pub(crate) never_boot: BTreeSet<MachineId>,
    /// Machines with this program start and never answer.
    pub(crate) never_boot_program: Option<String>,
    /// What its services are again when a change is taken back.
    pub(crate) before: Option<Vec<Service>>,
    /// Their guests start and say so, but never answer.
    pub(crate) mute: BTreeSet<MachineId>,
    /// Nothing can be created, for this.
    pub(crate) prevented_by: Option<Condition>,
    pub(crate) crash_on_start: BTreeSet<MachineId>,
    pub(crate) exits_are_lost: bool,
    pub(super) life: u64,
    pub(super) watches: BTreeMap<MachineId, u64>,
    pub(super) stalled_until: Time,
    pub(super) dirty: bool,
    pub(super) wake: Time,
    pub(super) idle_wakes: VecDeque<Time>,
    /// What is being worked on, until when at the latest.
    pub(super) open: BTreeMap<Job, Time>,
    pub(super) used: BTreeSet<Incarnation>,
    pub(super) addresses: BTreeMap<MachineId, IpAddr>,
}

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Happening {
    /// An action comes to its end, with this outcome where it is known already.
    Ends {
        host: usize,
        life: u64,
        action: Action,
        outcome: Option<Outcome>,
    },
    Listen {
        host: usize,
        life: u64,
        id: u64,
        command: Command,
        give_up: Option<Time>,
    },
    Told {
        host: usize,
        event: Event,
    },
    Boot {
        machine: MachineId,
        incarnation: Incarnation,
    },
    Die {
        machine: MachineId,
        incarnation: Incarnation,
    },
}

/// All there is.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) hosts: Vec<Host>,
    pub(crate) vip_holders: BTreeMap<IpAddr, MachineId>,
    /// Whether the managers cannot hear each other.
    pub(crate) cut: bool,
    /// What clients ask of services.
    pub(crate) loads: BTreeMap<PoolName, Load>,
    queue: BTreeMap<(Time, u64), Happening>,
    sequence: u64,
}

impl World {
    /// Hosts whose managers start now and that have no machine yet.
    pub(crate) fn of(configs: impl IntoIterator<Item = Config>) -> Self {
        let hosts = configs.into_iter().map(Host::new).collect();
        let mut world = World {
            now: Duration::from_secs(100),
            hosts,
            vip_holders: BTreeMap::new(),
            cut: false,
            loads: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
        };
        for host in 0..world.hosts.len() {
            world.start_manager(host);
        }
        world
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.elect();
            for host in 0..self.hosts.len() {
                self.plan(host);
            }
            let wakes = self.hosts.iter().filter(|host| host.engine.is_some()).map(Host::wakes_at);
            let next = wakes.chain(self.queue.keys().next().map(|(at, _)| *at)).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let happening = entry.remove();
                self.happen(happening);
            }
            let now = self.now;
            for host in &mut self.hosts {
                if !host.dirty && host.wakes_at() <= now {
                    host.dirty = true;
                    host.idle_wakes.push_back(now);
                    if let Some(engine) = host.engine.as_mut() {
                        engine.observe(now, Event::Tick);
                    }
                }
            }
        }
    }

    /// Lets so many milliseconds pass.
    pub(crate) fn run_ms(&mut self, ms: u64) {
        self.run(Duration::from_millis(ms));
    }

    /// What the manager of `host` has begun takes effect now, but nobody tells it.
    pub(super) fn finish_silently(&mut self, host: usize) {
        let life = self.hosts[host].life;
        let of_host = |happening: &Happening| {
            matches!(happening, Happening::Ends { host: other, life: begun, outcome: None, .. }
                if (*other, *begun) == (host, life))
        };
        let keys: Vec<_> =
            self.queue.iter().filter(|(_, happening)| of_host(happening)).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(Happening::Ends { action, .. }) = self.queue.remove(&key) {
                self.effect(host, &action.command);
            }
        }
    }

    pub(super) fn after(&mut self, delay: Duration, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), happening);
    }

    pub(crate) fn host_of(&self, id: &MachineId) -> Option<usize> {
        self.hosts.iter().position(|host| host.guests.contains_key(id))
    }

    /// Who holds the first VIP.
    pub(crate) fn vip_holder(&self) -> Option<MachineId> {
        let vip = self.hosts.first()?.config.vips.first()?;
        self.vip_holders.get(&vip.address).cloned()
    }

    /// How many VIPs the balancer of each host holds.
    pub(crate) fn held(&self) -> Vec<usize> {
        let held = |host: &Host| {
            self.vip_holders.values().filter(|holder| **holder == lb_id(&host.config.name)).count()
        };
        self.hosts.iter().map(held).collect()
    }

    /// Each VIP goes to a balancer that answers when its holder does not: to that of the highest priority, among equals to
    /// the first.
    fn elect(&mut self) {
        let answers = |guest: &&Guest| guest.is_lb() && guest.answers();
        let lbs = || self.hosts.iter().flat_map(|host| host.guests.values()).filter(answers);
        let mut holders = BTreeMap::new();
        for vip in self.hosts.iter().flat_map(|host| &host.config.vips).map(|vip| vip.address) {
            let holder =
                self.vip_holders.get(&vip).filter(|holder| lbs().any(|lb| lb.purpose.id == **holder));
            let first = || lbs().rev().max_by_key(|lb| lb.ranks.get(&vip)).map(|lb| lb.purpose.id.clone());
            holders.extend(holder.cloned().or_else(first).map(|holder| (vip, holder)));
        }
        self.vip_holders = holders;
    }

    fn plan(&mut self, index: usize) {
        let now = self.now;
        let host = &mut self.hosts[index];
        if !host.dirty || host.stalled_until > now {
            return;
        }
        let Some(engine) = host.engine.as_mut() else { return };
        host.dirty = false;
        let plan = engine.plan_checked(now);
        host.notices.extend(engine.take_notices());
        host.wake = plan.wake;
        host.assert_not_hot(now, !plan.actions.is_empty(), plan.wake_reason);
        for action in plan.actions {
            self.start(index, action);
        }
    }

    fn start(&mut self, index: usize, action: Action) {
        let (now, kind) = (self.now, Kind::of(&action.command));
        if let Command::Create(spec) = &action.command {
            self.assert_free(spec);
        }
        let host = &mut self.hosts[index];
        host.assert_allowed(now, &action.command);
        host.started.push((now, action.command.clone()));
        let life = host.life;
        match action.command {
            Command::Watch { ref machine, first_beat, .. } => {
                host.watches.insert(machine.clone(), action.id);
                let give_up = Some(now + first_beat);
                let (id, command) = (action.id, action.command);
                let listen = Happening::Listen { host: index, life, id, command, give_up };
                return self.after(Duration::from_millis(1), listen);
            }
            Command::Fence(ref machine) => {
                host.watches.remove(machine);
            }
            _ => {}
        }
        let failing = host.failing.get_mut(&kind).filter(|left| **left > 0);
        let mut outcome = failing.map(|left| {
            *left -= 1;
            Outcome::Failed("told to".to_owned())
        });
        let delay = host.delays.get(&kind).copied().unwrap_or(kind.usual());
        if outcome.is_none() && kind == Kind::List {
            outcome = Some(self.listed(index));
        }
        self.after(delay, Happening::Ends { host: index, life, action, outcome });
    }

    fn happen(&mut self, happening: Happening) {
        let late = match &happening {
            Happening::Ends { host, .. } | Happening::Listen { host, .. } | Happening::Told { host, .. } => {
                Some(self.hosts[*host].stalled_until).filter(|until| *until > self.now)
            }
            Happening::Boot { .. } | Happening::Die { .. } => None,
        };
        if let Some(until) = late {
            return self.after(until - self.now, happening);
        }
        match happening {
            Happening::Ends { host, life, action, outcome } => {
                if self.hosts[host].life != life {
                    return;
                }
                let outcome = match outcome {
                    // The worst failures are those of what was done all the same.
                    Some(outcome) => {
                        if matches!(action.command, Command::Create(_) | Command::Push { .. }) {
                            self.effect(host, &action.command);
                        }
                        outcome
                    }
                    None => self.effect(host, &action.command),
                };
                self.hosts[host].open.remove(&job(&action.command));
                self.tell(host, Event::Finished { id: action.id, outcome });
            }
            Happening::Listen { host, life, id, command, give_up } => {
                self.listen(host, life, id, command, give_up);
            }
            Happening::Told { host, event } => self.tell(host, event),
            Happening::Boot { machine, incarnation } => {
                if let Some(guest) = self.guest(&machine, incarnation) {
                    guest.up = guest.running;
                }
            }
            Happening::Die { machine, incarnation } => {
                if self.guest(&machine, incarnation).is_some() {
                    self.end(&machine, "it crashed");
                }
            }
        }
    }

    fn guest(&mut self, machine: &MachineId, incarnation: Incarnation) -> Option<&mut Guest> {
        let host = self.host_of(machine)?;
        self.hosts[host].guests.get_mut(machine).filter(|guest| guest.purpose.incarnation == incarnation)
    }
}
