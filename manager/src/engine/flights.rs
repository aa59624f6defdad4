//! Actions on their way: started at most once for each job, given up when they take too long, and passed
//! on to whom they concern when they end.

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

impl Engine {
    /// Notices the passing of time: whether this process stood still, and which actions are overdue.
    pub(super) fn look(&mut self, now: Time) {
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
            }
        }
        let overdue: Vec<Job> = self
            .flights
            .iter()
            .filter(|(_, flight)| flight.deadline.is_some_and(|deadline| deadline <= now))
            .map(|(job, _)| job.clone())
            .collect();
        for job in overdue {
            let started = self.flights.get(&job).map_or(now, |flight| flight.started);
            let waited = now.saturating_sub(started).as_millis();
            self.end(now, &job, Outcome::Failed(format!("no end after {waited} ms")));
        }
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
        self.finished(now, flight, outcome);
    }

    fn finished(&mut self, now: Time, flight: Flight, outcome: Outcome) {
        match flight.command {
            Command::Save(desired) => self.save_finished(now, desired, outcome),
            Command::List => self.list_finished(now, flight.started, outcome),
            Command::Create(spec) => self.create_finished(now, &spec.purpose, outcome),
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
            Command::Tell { peer, snapshot } => self.tell_finished(now, peer, &snapshot, outcome),
            Command::Probe(address) => self.probe_finished(now, address, outcome),
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
            Command::Create(_) | Command::Stop(_) | Command::Fence(_) => 30,
            Command::Save(_) | Command::List => 10,
            Command::Push { .. } | Command::Configure { .. } | Command::Tell { .. } | Command::Probe(_) => 3,
            Command::ReadLb { .. }
            | Command::Resign { .. }
            | Command::TellUplink { .. }
            | Command::AskTargets(_) => 2,
            Command::HandOver { order, .. } => order.longest_ms() / 1_000 + HAND_OVER_MARGIN,
            Command::Forward { order, .. } => order.timeout_ms / 1_000 + 2 * HAND_OVER_MARGIN,
        };
        Some(Duration::from_secs(seconds))
    }
}
