//! A machine as the hypervisor has it, and what runs in it.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::LB;
use crate::engine::{MachinePurpose, MachineSpec, Time};

use super::balancer::Balancer;

/// What becomes of a machine that starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It answers after so long.
    Boots(Duration),
    /// It runs and never answers.
    Hangs,
    /// It ends after so long.
    Crashes(Duration),
}

/// A machine that stands still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frozen {
    pub(super) since: Time,
    /// Its clock stands still too, so that it will not know (`virsh suspend` under `kvm-clock`).
    pub(super) hidden: bool,
}

/// A machine that exists: its address is taken until it is destroyed.
#[derive(Debug)]
pub(super) struct Guest {
    /// Tells it from every other machine there ever was.
    pub(super) uid: u64,
    pub(super) purpose: MachinePurpose,
    pub(super) running: bool,
    pub(super) frozen: Option<Frozen>,
    /// Whether its programs run.
    pub(super) up: bool,
    /// How far its clock is behind, for all the time it stood still unknowingly …
    behind: Duration,
    /// … and ahead, for all the times it jumped.
    pub(super) ahead: Duration,
    /// When its manager was last told that it lives.
    pub(super) heard: Option<Time>,
    /// Its heartbeats do not come; all else goes on.
    pub(super) mute_until: Time,
    /// It lives, and fails the checks of balancers.
    pub(super) ill: bool,
    /// What it is if it is a balancer.
    pub(super) balancer: Option<Balancer>,
}

impl Guest {
    pub(super) fn new(uid: u64, spec: &MachineSpec) -> Self {
        let is_lb = spec.purpose.service.as_str() == LB;
        Guest {
            uid,
            purpose: spec.purpose.clone(),
            running: true,
            frozen: None,
            up: false,
            behind: Duration::ZERO,
            ahead: Duration::ZERO,
            heard: None,
            mute_until: Time::ZERO,
            ill: false,
            balancer: is_lb.then(|| Balancer::new(&spec.seed)),
        }
    }

    pub(super) fn address(&self) -> IpAddr {
        self.purpose.address
    }

    /// Whether its programs run now.
    pub(super) fn is_alive(&self) -> bool {
        self.running && self.up && self.frozen.is_none()
    }

    /// Whether it would answer a request: what an upstream is for.
    pub(super) fn serves(&self) -> bool {
        self.is_alive() && self.balancer.is_none()
    }

    /// Whether a heartbeat comes from it now. A balancer's comes from its proxy.
    pub(super) fn beats(&self, now: Time) -> bool {
        self.is_alive()
            && now >= self.mute_until
            && self.balancer.as_ref().is_none_or(|balancer| balancer.proxy.beats())
    }

    /// Whether it refuses connections: it is there, and nobody listens.
    pub(super) fn refuses(&self) -> bool {
        let listening = self.up && self.balancer.as_ref().is_none_or(|balancer| balancer.proxy.listens());
        self.running && self.frozen.is_none() && !listening
    }

    /// The time on its monotonic clock.
    pub(super) fn clock(&self, now: Time) -> Duration {
        now + self.ahead - self.behind
    }

    /// When its clock will show `at`.
    pub(super) fn when(&self, at: Duration) -> Time {
        (at + self.behind).saturating_sub(self.ahead)
    }

    pub(super) fn thaw(&mut self, now: Time) -> Option<Frozen> {
        let frozen = self.frozen.take()?;
        if frozen.hidden {
            self.behind += now - frozen.since;
        }
        Some(frozen)
    }
}
