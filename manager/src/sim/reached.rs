//! What a run has seen: a simulation that gets into no trouble shows nothing.

use std::fmt;
use std::ops::AddAssign;

/// How often each state that must be survived was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// Two balancers held the VIP at the same time.
    pub(super) two_holders: u64,
    /// A machine could not be fenced.
    pub(super) unconfirmed_fences: u64,
    /// More than half of a host's machines died within seconds.
    pub(super) brakes: u64,
    /// A holder woke up when others may have taken its place.
    pub(super) stale_wakeups: u64,
    /// A balancer refused an older document.
    pub(super) refused_generations: u64,
    /// A machine of a service over all hosts was given up for one elsewhere.
    pub(super) given_up: u64,
    /// A VIP was handed over for evenness.
    pub(super) evened: u64,
    /// A standby ran because a machine had failed, at a manager's plan.
    pub(super) standbys_started: u64,
}

impl Reached {
    /// Each with its name.
    pub(super) fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("two holders at once", self.two_holders),
            ("unconfirmed fence", self.unconfirmed_fences),
            ("mass-failure brake", self.brakes),
            ("stale wake-up", self.stale_wakeups),
            ("refused generation", self.refused_generations),
            ("plan with a standby on duty", self.standbys_started),
        ]
    }
}

impl AddAssign for Reached {
    fn add_assign(&mut self, other: Self) {
        self.two_holders += other.two_holders;
        self.unconfirmed_fences += other.unconfirmed_fences;
        self.brakes += other.brakes;
        self.stale_wakeups += other.stale_wakeups;
        self.refused_generations += other.refused_generations;
        self.given_up += other.given_up;
        self.evened += other.evened;
        self.standbys_started += other.standbys_started;
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.named().into_iter().enumerate() {
            write!(f, "{}{name} {count}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
