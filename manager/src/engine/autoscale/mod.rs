//! How many machines a service should have: the published algorithm of the Kubernetes HorizontalPodAutoscaler.
//!
//! ```text
//!   facts ──▶ readings: per metric, ceil(current × metric / target) ──▶ the largest
//!                                                                          │
//!   current ◀── policies, min, max ◀── stabilization windows ◀─────────────┘
//! ```
//!
//! Sources: kubernetes.io, "Horizontal Pod Autoscaling" (algorithm details, stabilization window, scaling policies), and
//! where that page is silent the controller itself (`pkg/controller/podautoscaler`: `replica_calculator.go`,
//! `horizontal.go`). Amounts are integers, as there: a quotient of two of them is cut off before it is compared with
//! its target, and only the ratio to the target is a fraction. There is no clock here: the time is an argument.

mod behaviour;
mod readings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use wire::MachineId;

use super::Time;
use behaviour::History;
use readings::Wanted;

/// What is measured of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Time of processors, in thousandths of one.
    Cpu,
    /// Memory in use, in bytes.
    Memory,
    /// Requests answered, in thousandths of one per second.
    Requests,
    /// Requests in flight, in thousandths of one.
    InFlight,
}

/// What a metric should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// So many per cent of what each machine asked for.
    Utilization(u32),
    /// So much for each machine, in the unit of the metric.
    Average(u64),
}

/// What was read of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// How much it uses, in the unit of the metric.
    pub used: u64,
    /// How much of it the machine asked for; 0 where that is not known, as it need not be for [`Target::Average`].
    pub asked_for: u64,
    /// When it was read.
    pub at: Time,
    /// The time that it is an average of.
    pub window: Duration,
}

/// Where a machine is in its life, as far as this matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not started yet.
    Pending,
    /// It runs.
    Running {
        /// Since when.
        started: Time,
        /// Whether it is ready.
        ready: bool,
        /// When it last became ready, or ceased to be.
        since: Time,
    },
    /// Ended, or being taken away: it counts for nothing.
    Ended,
}

/// One machine of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub id: MachineId,
    /// Where it is in its life.
    pub stage: Stage,
    /// What was read of it.
    pub readings: BTreeMap<Metric, Reading>,
}

/// By how much the number may change at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many machines.
    Machines(u32),
    /// So many per cent of those there were at the beginning of the period.
    Percent(u32),
}

/// A bound on the change within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// By how much.
    pub step: Step,
    /// Within this.
    pub period: Duration,
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// The one that allows the largest change.
    #[default]
    Max,
    /// The one that allows the smallest.
    Min,
    /// None: no change in this direction.
    Disabled,
}

/// How the number changes in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Of what was wanted within this, the most cautious counts.
    pub stabilization: Duration,
    /// The bounds.
    pub policies: Vec<Policy>,
    /// Which of them.
    pub select: Select,
}

/// How a service scales.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Never fewer.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// What is aimed at; with several, the largest number wins.
    pub targets: BTreeMap<Metric, Target>,
    /// A ratio this close to 1 changes nothing.
    pub tolerance: f64,
    /// A processor's readings of a machine that is not ready are not believed for so long after its start.
    pub cpu_initialization: Duration,
    /// A machine that was not ready from so soon after its start on has never been.
    pub initial_readiness_delay: Duration,
    /// To more machines.
    pub up: Behaviour,
    /// To fewer.
    pub down: Behaviour,
}

/// The usual time from one decision to the next.
pub const SYNC_PERIOD: Duration = Duration::from_secs(15);

impl Rules {
    /// Between `min` and `max`, with the defaults that Kubernetes documents for all else.
    pub fn new(min: u32, max: u32, targets: BTreeMap<Metric, Target>) -> Self {
        let period = Duration::from_secs(15);
        let all = Policy { step: Step::Percent(100), period };
        Rules {
            min,
            max,
            targets,
            tolerance: 0.1,
            cpu_initialization: Duration::from_secs(300),
            initial_readiness_delay: Duration::from_secs(30),
            up: Behaviour {
                stabilization: Duration::ZERO,
                policies: vec![Policy { step: Step::Machines(4), period }, all],
                select: Select::Max,
            },
            down: Behaviour {
                stabilization: Duration::from_secs(300),
                policies: vec![all],
                select: Select::Max,
            },
        }
    }
}

/// What came of one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How many machines there should be.
    pub desired: u32,
    /// Why, in words.
    pub reason: String,
}

/// What each metric of `rules` is now, in the terms of its target: per cent of what was asked for, or the average of a
/// machine. Those are left out that cannot be said.
pub fn measured(now: Time, rules: &Rules, machines: &[Machine]) -> BTreeMap<Metric, u64> {
    readings::measured(now, rules, machines)
}

/// Decides for one service, and remembers what it has to for that.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Autoscaler {
    history: History,
}

impl Autoscaler {
    /// One that begins at `now`, where `current` are wanted: that counts as asked for now, so that nobody who takes over
    /// from another shrinks a service before its window of stabilization has passed once (`recordInitialRecommendation`).
    pub fn beginning(now: Time, current: u32) -> Self {
        Autoscaler { history: History::beginning(now, current) }
    }

    /// How many machines there should be at `now`, where `current` are wanted and `machines` are there. To be asked
    /// every [`SYNC_PERIOD`] or so; whoever asks does what it says.
    ///
    /// Nothing scales while `current` is 0: that is how a person turns a service off.
    pub fn decide(&mut self, now: Time, rules: &Rules, current: u32, machines: &[Machine]) -> Decision {
        let stays = |reason: String| Decision { desired: current, reason };
        if current == 0 {
            return stays("scaling is off while no machine is wanted".to_owned());
        }
        let (desired, reason) = if current > rules.max {
            (rules.max, format!("{current} are more than the most, {}", rules.max))
        } else if current < rules.min {
            (rules.min, format!("{current} are fewer than the least, {}", rules.min))
        } else {
            match readings::largest(now, rules, current, machines) {
                Wanted::Unknown(reason) => return stays(reason),
                Wanted::So { desired, reason } => {
                    let allowed = self.history.allowed(now, rules, current, desired);
                    (
                        allowed,
                        if allowed == desired { reason } else { format!("{reason}, held at {allowed}") },
                    )
                }
            }
        };
        self.history.changed(now, rules, current, desired);
        Decision { desired, reason }
    }
}
