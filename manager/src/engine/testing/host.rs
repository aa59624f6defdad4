//! One host: the rules it is under, and what is checked of everything its manager asks for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::world::{Host, Kind};
use crate::config::Config;
use crate::engine::{Command, Job, Time};

/// A manager that has nothing to do wakes up at most so often …
const IDLE_WAKES: usize = 20;

/// … in this time.
const IDLE_TIME: Duration = Duration::from_millis(100);

impl Host {
    pub(super) fn new(config: Config) -> Self {
        Host {
            config,
            engine: None,
            disk: None,
            guests: BTreeMap::new(),
            started: Vec::new(),
            notices: Vec::new(),
            failing: BTreeMap::new(),
            delays: BTreeMap::new(),
            strangers: BTreeMap::new(),
            targets_answer: 1,
            boot: Duration::from_millis(200),
            never_boot: BTreeSet::new(),
            never_boot_program: None,
            before: None,
            mute: BTreeSet::new(),
            prevented_by: None,
            crash_on_start: BTreeSet::new(),
            exits_are_lost: false,
            life: 0,
            watches: BTreeMap::new(),
            stalled_until: Time::ZERO,
            dirty: false,
            wake: Time::ZERO,
            idle_wakes: VecDeque::new(),
            open: BTreeMap::new(),
            used: BTreeSet::new(),
            addresses: BTreeMap::new(),
        }
    }

    pub(super) fn wakes_at(&self) -> Time {
        self.wake.max(self.stalled_until)
    }

    /// The engine never asks to be woken again and again while there is nothing for it to do.
    pub(super) fn assert_not_hot(&mut self, now: Time, busy: bool, reason: &str) {
        if busy {
            self.idle_wakes.clear();
        }
        while self.idle_wakes.front().is_some_and(|wake| now - *wake > IDLE_TIME) {
            self.idle_wakes.pop_front();
        }
        assert!(self.idle_wakes.len() <= IDLE_WAKES, "wakes up for nothing at {now:?}: {reason}");
    }

    /// What must hold of every action, whatever happened before.
    pub(super) fn assert_allowed(&mut self, now: Time, command: &Command) {
        let job = job(command);
        // What is sent to a balancer, or listens to a machine, is replaced when that dies.
        if matches!(
            job,
            Job::Build(_) | Job::Save | Job::List | Job::ReadUsage | Job::Tell(_) | Job::Probe(_)
        ) {
            let busy = self.open.get(&job).is_some_and(|until| now < *until);
            assert!(!busy, "{job:?} is being worked on already at {now:?}");
            let allowance = command.allowance().expect("these have one");
            self.open.insert(job, now + allowance);
        }
        let Command::Create(spec) = command else { return };
        let purpose = &spec.purpose;
        let incarnation = purpose.incarnation;
        assert!(self.used.insert(incarnation), "incarnation {incarnation} is used twice");
        let reserved = self.disk.as_ref().map_or(0, |disk| disk.incarnations_reserved);
        assert!(incarnation < reserved, "incarnation {incarnation} is used before that is stored");
        let before = self.addresses.get(&purpose.id);
        assert!(
            before.is_none_or(|before| *before == purpose.address),
            "{} moves from {before:?} to {}",
            purpose.id,
            purpose.address
        );
    }

    /// A machine that is deleted may come back elsewhere.
    pub(super) fn forget_address(&mut self, id: &wire::MachineId) {
        self.addresses.remove(id);
    }

    /// So may one that was given up.
    pub(super) fn forget_given_up(&mut self, id: &wire::MachineId) {
        let slot = |engine: &crate::engine::Engine| engine.desired.slot(&self.config.name, id);
        if self.engine.as_ref().is_some_and(|engine| slot(engine).is_none()) {
            self.forget_address(id);
        }
    }

    /// The manager is gone, and with it all it was about.
    pub(super) fn end_of_life(&mut self) {
        self.engine = None;
        self.life += 1;
        self.open.clear();
        self.watches.clear();
        self.idle_wakes.clear();
    }
}

impl Kind {
    pub(super) fn of(command: &Command) -> Self {
        match command {
            Command::Save(_) => Kind::Save,
            Command::List => Kind::List,
            Command::ReadUsage => Kind::ReadUsage,
            Command::ReadTraffic { .. } => Kind::ReadTraffic,
            Command::Create(_) => Kind::Create,
            Command::KeepSpares(_) => Kind::KeepSpares,
            Command::Stop(_) => Kind::Stop,
            Command::Fence(_) => Kind::Fence,
            Command::Watch { .. } => Kind::Watch,
            Command::Push { .. } => Kind::Push,
            Command::Configure { .. } => Kind::Configure,
            Command::ReadLb { .. } => Kind::ReadLb,
            Command::Tell { .. } => Kind::Tell,
            Command::Gossip { .. } => Kind::Gossip,
            Command::Resign { .. } => Kind::Resign,
            Command::TakeBack(_) => Kind::TakeBack,
            Command::Probe(_) => Kind::Probe,
            Command::HandOver { .. } => Kind::HandOver,
            Command::Forward { .. } => Kind::Forward,
            Command::TellUplink { .. } => Kind::TellUplink,
            Command::Rank { .. } => Kind::Rank,
            Command::AskTargets(_) => Kind::AskTargets,
        }
    }

    /// How long it takes when all is well.
    pub(super) fn usual(self) -> Duration {
        Duration::from_millis(match self {
            Kind::Create | Kind::KeepSpares => 20,
            Kind::Probe => 300,
            Kind::HandOver => 40,
            Kind::Forward => 60,
            Kind::AskTargets => 300,
            Kind::Stop => 100,
            Kind::Fence | Kind::Save | Kind::List | Kind::TakeBack | Kind::ReadUsage => 5,
            Kind::Watch
            | Kind::Push
            | Kind::Configure
            | Kind::ReadLb
            | Kind::ReadTraffic
            | Kind::Tell
            | Kind::Gossip
            | Kind::Resign
            | Kind::TellUplink
            | Kind::Rank => 2,
        })
    }
}

/// What `command` works on.
pub(super) fn job(command: &Command) -> Job {
    match command {
        Command::Save(_) => Job::Save,
        Command::List => Job::List,
        Command::ReadUsage => Job::ReadUsage,
        Command::ReadTraffic { .. } => Job::ReadTraffic,
        Command::Create(spec) => Job::Build(spec.purpose.id.clone()),
        Command::KeepSpares(_) => Job::KeepSpares,
        Command::Stop(id) | Command::Fence(id) => Job::Build(id.clone()),
        Command::Watch { machine, .. } => Job::Watch(machine.clone()),
        Command::Push { .. } => Job::Push,
        Command::Configure { .. } => Job::Configure,
        Command::ReadLb { .. } => Job::ReadLb,
        Command::Tell { peer, .. } => Job::Tell(*peer),
        Command::Gossip { peer, .. } => Job::Gossip(*peer),
        Command::Resign { .. } => Job::Resign,
        Command::Probe(address) => Job::Probe(*address),
        Command::HandOver { .. } => Job::HandOver,
        Command::Forward { .. } => Job::Forward,
        Command::TakeBack(service) => Job::TakeBack(service.clone()),
        Command::TellUplink { .. } => Job::TellUplink,
        Command::Rank { .. } => Job::Rank,
        Command::AskTargets(_) => Job::AskTargets,
    }
}
