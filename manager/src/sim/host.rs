//! One host: its hypervisor with its machines, its disk, its manager while that runs, and a client on its
//! network.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wire::MachineId;

use super::guest::{Fate, Guest};
use super::standbys::Failures;
use crate::config::Config;
use crate::engine::{Command, Desired, Engine, Time, lb_id};

/// What a manager asks its host for, to make it fail or take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    Save,
    List,
    Create,
    Stop,
    Fence,
    Probe,
    TakeBack,
}

impl Work {
    pub(super) const ALL: [Work; 6] =
        [Work::Save, Work::List, Work::Create, Work::Stop, Work::Fence, Work::Probe];

    pub(super) fn of(command: &Command) -> Option<Self> {
        Some(match command {
            Command::Save(_) => Work::Save,
            Command::List => Work::List,
            Command::Create(_) => Work::Create,
            Command::Stop(_) => Work::Stop,
            Command::Fence(_) => Work::Fence,
            Command::Probe(_) => Work::Probe,
            Command::TakeBack(_) => Work::TakeBack,
            Command::Watch { .. }
            | Command::Push { .. }
            | Command::Configure { .. }
            | Command::ReadLb { .. }
            | Command::ReadUsage
            | Command::ReadTraffic { .. }
            | Command::HandOver { .. }
            | Command::Forward { .. }
            | Command::KeepSpares(_)
            | Command::TellUplink { .. }
            | Command::Rank { .. }
            | Command::AskTargets(_)
            | Command::Tell { .. }
            | Command::Gossip { .. }
            | Command::Resign { .. } => return None,
        })
    }

    /// How long it takes when all is well.
    pub(super) fn usual(self) -> Duration {
        Duration::from_millis(match self {
            Work::Create => 20,
            Work::Probe => 300,
            Work::Stop => 100,
            Work::Save | Work::List | Work::Fence | Work::TakeBack => 5,
        })
    }
}

/// What becomes of the news that a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Prompt,
    Lost,
    Late(Duration),
    Twice(Duration),
}

/// The hypervisor's troubles.
#[derive(Debug)]
pub(super) struct Troubles {
    /// The next so many of a kind fail; where told so, after they were done.
    pub(super) failing: BTreeMap<Work, (u32, bool)>,
    pub(super) slow: BTreeMap<Work, Duration>,
    pub(super) news: News,
    /// The daemon is away.
    pub(super) down_until: Time,
    /// No machine can be fenced …
    pub(super) unfenced_until: Time,
    /// The disk takes nothing.
    pub(super) full_until: Time,
    pub(super) fates: BTreeMap<MachineId, Fate>,
}

impl Troubles {
    pub(super) fn none() -> Self {
        Troubles {
            failing: BTreeMap::new(),
            slow: BTreeMap::new(),
            news: News::Prompt,
            down_until: Time::ZERO,
            unfenced_until: Time::ZERO,
            full_until: Time::ZERO,
            fates: BTreeMap::new(),
        }
    }
}

/// A manager that runs.
#[derive(Debug)]
pub(super) struct Manager {
    pub(super) engine: Engine,
    pub(super) stalled_until: Time,
    /// When its engine wants to plan again, on its own clock.
    pub(super) wake: Time,
    /// It was told something since it last planned.
    pub(super) dirty: bool,
    pub(super) watches: BTreeMap<MachineId, u64>,
    /// What it has begun on its host and was not yet told the end of.
    pub(super) begun: BTreeMap<u64, Command>,
    /// When what is being done to a machine is over; one thing at a time.
    pub(super) busy: BTreeMap<MachineId, Time>,
    /// It crashes when it has taken so many more steps.
    pub(super) crash_in: Option<u64>,
    /// When it woke up for nothing lately.
    pub(super) idle: VecDeque<Time>,
    /// When it made each machine lately.
    pub(super) made: BTreeMap<MachineId, VecDeque<Time>>,
    /// What it said of machines that failed.
    pub(super) failures: Failures,
}

impl Manager {
    pub(super) fn new(engine: Engine) -> Self {
        Manager {
            engine,
            stalled_until: Time::ZERO,
            wake: Time::ZERO,
            dirty: true,
            watches: BTreeMap::new(),
            begun: BTreeMap::new(),
            busy: BTreeMap::new(),
            crash_in: None,
            idle: VecDeque::new(),
            made: BTreeMap::new(),
            failures: Failures::default(),
        }
    }
}

/// Somebody on the host's network who wants to be served at the VIP.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    /// The host of the balancer that last announced each VIP here.
    pub(super) neighbours: BTreeMap<usize, usize>,
    /// Since when no answer came.
    pub(super) refused_since: Option<Time>,
    pub(super) asked: u64,
    pub(super) answered: u64,
}

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) config: Config,
    pub(super) lb: MachineId,
    /// Whether it has power.
    pub(super) up: bool,
    pub(super) disk: Option<Desired>,
    pub(super) manager: Option<Manager>,
    /// Counts the managers there were, so that no answer reaches the next one.
    pub(super) life: u64,
    pub(super) guests: BTreeMap<MachineId, Guest>,
    pub(super) troubles: Troubles,
    pub(super) client: Client,
    /// How far the clock of its manager has jumped ahead.
    pub(super) ahead: Duration,
    /// Machines that people asked to be taken away or replaced.
    pub(super) dismissed: BTreeSet<MachineId>,
    /// People had machines built anew a few at a time: who has no place any more was sent away for that.
    pub(super) rolled: bool,
}

impl Host {
    pub(super) fn new(config: Config) -> Self {
        let lb = lb_id(&config.name);
        Host {
            config,
            lb,
            up: true,
            disk: None,
            manager: None,
            life: 0,
            guests: BTreeMap::new(),
            troubles: Troubles::none(),
            client: Client::default(),
            ahead: Duration::ZERO,
            dismissed: BTreeSet::new(),
            rolled: false,
        }
    }

    /// Its balancer's machine.
    pub(super) fn balancer(&self) -> Option<&Guest> {
        self.guests.get(&self.lb)
    }

    /// When its manager wants to plan next.
    pub(super) fn manager_due(&self) -> Option<Time> {
        let manager = self.manager.as_ref()?;
        Some(manager.wake.saturating_sub(self.ahead).max(manager.stalled_until))
    }

    /// When its speaker wants its next turn.
    pub(super) fn speaker_due(&self) -> Option<Time> {
        let guest = self.balancer().filter(|guest| guest.is_alive())?;
        let due = guest.balancer.as_ref()?.speaker.as_ref()?.due()?;
        Some(guest.when(due))
    }
}
