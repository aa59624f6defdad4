//! What kind of load is meant: a rate, stages or users, for how long.

use std::time::Duration;

use anyhow::ensure;

use crate::load::Shape;
use crate::options::MAX_CONNECTIONS;
use crate::options::load::{LoadOptions, Written};
use crate::scenario::{LoadTable, Time};
use crate::schedule::{Arrivals, Profile};

const DEFAULT_RATE: f64 = 500.0;
const DEFAULT_DURATION: Duration = Duration::from_secs(30);
const MIN_DEFAULT_CONNECTIONS: f64 = 1000.0;
/// The most users, as `--users` takes them.
const MAX_USERS: u32 = 100_000;

/// What was said of it.
pub(super) struct Kind<'a> {
    /// `--rate`.
    pub(super) rate: Option<f64>,
    /// `--duration`.
    pub(super) duration: Option<Duration>,
    /// The other flags.
    pub(super) flags: &'a LoadOptions,
    /// The scenario's table.
    pub(super) file: &'a LoadTable,
}

impl Kind<'_> {
    /// The load, and how long it is; none where users have a number of loops. What the command line says of the load's
    /// kind outranks all that the file says of it.
    pub(super) fn meant(&self, seed: u64) -> anyhow::Result<(Shape, Option<Duration>)> {
        let Kind { flags, file, .. } = *self;
        let users = flags.users.or(file.users);
        let duration = self.duration.or(file.duration.map(|time| time.0));
        ensure!(duration != Some(Duration::ZERO), "a duration of 0: expected a time above it");
        ensure!(
            users.is_some() || (file.loops.is_none() && file.think.is_none() && file.ramp_up.is_none()),
            "[load] has loops, think or ramp-up: those are what users do, so say how many there are"
        );
        match users.filter(|_| flags.users.is_some() || self.rate.is_none()) {
            Some(users) => self.users(users, duration),
            None => Ok(self.schedule(seed, duration)),
        }
    }

    fn users(&self, users: u32, duration: Option<Duration>) -> anyhow::Result<(Shape, Option<Duration>)> {
        let Kind { flags, file, .. } = *self;
        let by_flags = flags.users.is_some() || self.rate.is_some();
        let a_schedule =
            flags.stages.is_some() || file.stages.is_some() || self.rate.is_some() || file.rate.is_some();
        ensure!(by_flags || !a_schedule, "[load] has users, and a rate or stages: take one of them");
        ensure!((1..=MAX_USERS).contains(&users), "{users} users: expected 1 to {MAX_USERS}");
        let loops = flags.loops.or(file.loops.filter(|_| self.duration.is_none()));
        ensure!(loops != Some(0), "0 loops: expected 1 or more");
        let time = |flag: Option<Duration>, file: Option<Time>| flag.or(file.map(|time| time.0));
        let shape = Shape::Closed {
            users,
            loops,
            think: time(flags.think, file.think).unwrap_or_default(),
            ramp_up: time(flags.ramp_up, file.ramp_up).unwrap_or_default(),
        };
        Ok((shape, if loops.is_some() { None } else { Some(duration.unwrap_or(DEFAULT_DURATION)) }))
    }

    fn schedule(&self, seed: u64, duration: Option<Duration>) -> (Shape, Option<Duration>) {
        let Kind { flags, file, .. } = *self;
        let arrivals = match flags.arrivals.or(file.arrivals) {
            Some(Written::Poisson) => Arrivals::Poisson(seed),
            Some(Written::Even) | None => Arrivals::Even,
        };
        let rate = self.rate.or(file.rate.map(|rate| rate.0));
        let stages = flags.stages.as_ref().or(file.stages.as_ref().map(|stages| &stages.0));
        match stages.filter(|_| self.duration.is_none()) {
            Some(stages) => {
                let length = stages.0.iter().map(|stage| stage.length).sum();
                (Shape::Open { profile: Profile::ramps(rate.unwrap_or(0.0), stages), arrivals }, Some(length))
            }
            None => {
                let profile = Profile::constant(rate.unwrap_or(DEFAULT_RATE));
                (Shape::Open { profile, arrivals }, Some(duration.unwrap_or(DEFAULT_DURATION)))
            }
        }
    }
}

/// How many may be in flight: all users, or twice as many as can be waiting for their timeout.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn fitting(shape: &Shape, timeout: Duration) -> u32 {
    match shape {
        Shape::Closed { users, .. } => *users,
        Shape::Open { profile, .. } => {
            let waiting = profile.peak() * timeout.as_secs_f64() * 2.0;
            waiting.clamp(MIN_DEFAULT_CONNECTIONS, MAX_CONNECTIONS as f64) as u32
        }
    }
}
