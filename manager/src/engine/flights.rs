//! Actions on their way: started at most once for each job, given up when they take too long, and passed
//! on to whom they concern when they end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Action, Command, Engine, Job, Outcome, Plan, Severity, Time};

/// A gap of so much between two looks means that this process itself stood still.
const STALLED: Duration = Duration::from_secs(1);

/// What a hand-over may take beyond the times of its steps, in seconds.
const HAND_OVER_MARGIN: u64 = 6;

/// An action in flight.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) id: u64,
    pub(super) started: Time,
    /// When it is given up; a heartbeat watch never is.
    pub(super) deadline: Option<Time>,
    pub(super) command: Command,
}

/// All actions in flight, by what they work on; also by their ids and by when they are given up.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Flights {
    jobs: BTreeMap<Job, Flight>,
    ids: BTreeMap<u64, Job>,
    deadlines: BTreeSet<(Time, u64)>,
}

impl Flights {
    pub(super) fn contains_key(&self, job: &Job) -> bool {
        self.jobs.contains_key(job)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Job, &Flight)> {
        self.jobs.iter()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// What action `id` works on, if it is in flight.
    pub(super) fn job(&self, id: u64) -> Option<&Job> {
        self.ids.get(&id)
    }

    pub(super) fn remove(&mut self, job: &Job) -> Option<Flight> {
        let flight = self.jobs.remove(job)?;
        self.ids.remove(&flight.id);
        if let Some(deadline) = flight.deadline {
            self.deadlines.remove(&(deadline, flight.id));
        }
        Some(flight)
    }

    /// The first moment at which one of them is to be given up.
    pub(super) fn first_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Each of them has so much longer.
    pub(super) fn excuse(&mut self, gap: Duration) {
        for flight in self.jobs.values_mut() {
            flight.deadline = flight.deadline.map(|deadline| deadline + gap);
        }
        self.deadlines =
            std::mem::take(&mut self.deadlines).into_iter().map(|(at, id)| (at + gap, id)).collect();
    }

    fn insert(&mut self, job: Job, flight: Flight) {
        self.ids.insert(flight.id, job.clone());
        self.deadlines.extend(flight.deadline.map(|deadline| (deadline, flight.id)));
        self.jobs.insert(job, flight);
    }

    /// Those whose time is over, in the order of what they work on.
    fn overdue(&self, now: Time) -> Vec<(Job, Time)> {
        let over = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        let jobs = over.filter_map(|(_, id)| self.ids.get(id));
        let mut overdue: Vec<(Job, Time)> =
            jobs.filter_map(|job| Some((job.clone(), self.jobs.get(job)?.started))).collect();
        overdue.sort();
        overdue
    }
}

impl Engine {
    /// Notices the passing of time: whether this process stood still, and which actions are overdue. Returns
    /// whether it noticed something.
    pub(super) fn look(&mut self, now: Time) -> bool {
        let mut noticed = false;
        if let Some(last) = self.last_look.replace(now) {
            let gap = now.saturating_sub(last);
            if gap > STALLED {
                self.note(
                    Severity::Warning,
                    "manager.stalled",
                    self.config.name.to_string(),
                    format!("this manager stood still for {} ms: deadlines start anew", gap.as_millis()),
                );
                self.start_deadlines_anew(now, gap);
                noticed = true;
            }
        }
        for (job, started) in self.flights.overdue(now) {
            let waited = now.saturating_sub(started).as_millis();
            self.end(now, &job, Outcome::Failed(format!("no end after {waited} ms")));
            noticed = true;
        }
        noticed
    }

    /// Starts `command` unless its job is already being worked on.
    pub(super) fn start(&mut self, now: Time, job: Job, command: Command, plan: &mut Plan) {
        if self.flights.contains_key(&job) {
            return;
        }
        self.next_action += 1;
        let id = self.next_action;
        let deadline = command.allowance().map(|allowance| now + allowance);
        plan.actions.push(Action { id, command: command.clone() });
        self.flights.insert(job, Flight { id, started: now, deadline, command });
    }

    /// The action that works on `job` came to its end.
    pub(super) fn end(&mut self, now: Time, job: &Job, outcome: Outcome) {
        let Some(flight) = self.flights.remove(job) else { return };
        if let Job::Build(machine) = job {
            self.built.insert(machine.clone(), now);
        }
        if let Job::Build(machine) | Job::Watch(machine) = job {
            self.machines.touch(machine);
        }
        self.finished(now, flight, outcome);
    }

    fn finished(&mut self, now: Time, flight: Flight, outcome: Outcome) {
        match flight.command {
            Command::Save(desired) => self.save_finished(now, desired, outcome),
            Command::List => self.list_finished(now, flight.started, outcome),
            Command::ReadUsage => self.usage_read(now, outcome),
            Command::ReadTraffic { .. } => self.traffic_read(now, outcome),
            Command::Create(spec) => self.create_finished(now, &spec.purpose, outcome),
            Command::KeepSpares(_) => self.spares_kept(now, outcome),
            Command::Stop(machine) => self.stop_finished(now, &machine, outcome),
            Command::Fence(machine) => self.fence_finished(now, &machine, outcome),
            Command::Watch { machine, incarnation, .. } => {
                self.watch_finished(now, &machine, incarnation, outcome);
            }
            Command::Push { set, .. } => self.push_finished(now, set, outcome),
            Command::Configure { .. } => self.configure_finished(now, outcome),
            Command::ReadLb { .. } => self.lb_read(now, outcome),
            Command::HandOver { .. } => self.hand_over_finished(now, outcome),
            Command::Forward { .. } => self.forward_finished(now, outcome),
            Command::TellUplink { lost, .. } => self.uplink_told(now, lost, outcome),
            Command::AskTargets(_) => self.targets_asked(now, outcome),
            Command::Rank { .. } => self.rank_finished(now, outcome),
            Command::Tell { peer, snapshot, base } => {
                self.tell_finished(now, peer, &snapshot, base.is_some(), outcome);
            }
            Command::Gossip { peer, .. } => self.gossiped(now, peer, outcome),
            Command::Probe(address) => self.probe_finished(now, address, outcome),
            Command::TakeBack(service) => self.took_back(now, &service, outcome),
            Command::Resign { lb } => {
                if let Outcome::Failed(reason) = outcome {
                    let message = format!("could not say on the wire that it let go of its VIPs: {reason}");
                    self.note(Severity::Warning, "vip.resign-failed", lb.to_string(), message);
                }
            }
        }
    }
}

impl Command {
    /// How long it may take before it is given up.
    pub(super) fn allowance(&self) -> Option<Duration> {
        let seconds = match self {
            Command::Watch { .. } => return None,
            Command::Create(_) | Command::Stop(_) | Command::Fence(_) | Command::KeepSpares(_) => 30,
            Command::Save(_) | Command::List | Command::TakeBack(_) | Command::ReadUsage => 10,
            Command::Push { .. } | Command::Configure { .. } | Command::Tell { .. } | Command::Probe(_) => 3,
            Command::ReadLb { .. }
            | Command::ReadTraffic { .. }
            | Command::Resign { .. }
            | Command::TellUplink { .. }
            | Command::Rank { .. }
            | Command::Gossip { .. }
            | Command::AskTargets(_) => 2,
            Command::HandOver { order, .. } => order.longest_ms() / 1_000 + HAND_OVER_MARGIN,
            Command::Forward { order, .. } => order.timeout_ms / 1_000 + 2 * HAND_OVER_MARGIN,
        };
        Some(Duration::from_secs(seconds))
    }
}
