//! One machine's life.
//!
//! ```text
//!             create                first beat
//!   Waiting ──────────▶ Booting ─────────────────▶ Ready ◀──────────┐ beat
//!      ▲                   │ exit, time out          │ silence       │
//!      │ fenced            ▼                         ▼               │
//!      └───────────────── Dead ◀──────────────── Suspect ────────────┘
//!      (not wanted: gone)  ▲    last retry failed
//!                          └──────────────── Draining ◀── deleted or replaced, from any phase but Dead
//! ```

use std::time::Duration;

use serde::Serialize;
use wire::Incarnation;
use wire::autoscale::MachineUsage;
use wire::cluster::{Condition, MachineView, Phase};

use super::desired::Slot;
use super::machines::{DRAIN_TELL, HAND_OVER};
use super::{Duty, Readiness, Time, limits, millis};
use crate::config::LB;

/// A machine that lives so long is healthy again: what happened before is forgotten.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);

/// The pause before the third rebuild in a row; each further one doubles it …
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// So many deaths in a row are shown as a crash loop.
const CRASH_LOOP: u32 = 3;

/// A machine as its manager knows it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) slot: Slot,
    pub(super) incarnation: Incarnation,
    /// What this incarnation was made from, as the hypervisor says.
    pub(super) image: Option<String>,
    pub(super) life: Life,
    /// When the present life began.
    pub(super) since: Time,
    /// Why, in words.
    pub(super) reason: String,
    /// What stands in its way, until its heartbeats arrive.
    pub(super) condition: Option<Condition>,
    /// Whether it can be sent requests while it lives.
    pub(super) readiness: Readiness,
    /// Whether its guest has given a sign that it started.
    pub(super) booted: bool,
    /// Whether the desired state has it.
    pub(super) wanted: bool,
    /// Rebuilds since the manager started.
    pub(super) restarts: u32,
    /// Deaths in a row without a healthy time in between.
    pub(super) deaths: u32,
    /// Since when it has not been ready because it died.
    pub(super) dead_since: Option<Time>,
    /// Balancers are to send it nothing new, by a person's order.
    pub(super) drained: bool,
    /// What it is to the others of its service.
    pub(super) duty: Duty,
    /// What it uses, where its service is autoscaled and that was read lately.
    pub(super) usage: Option<MachineUsage>,
}

/// Where in its life a machine is, with what is needed to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Life {
    /// Its address is free; it is to be created.
    Waiting { not_before: Time },
    /// Being created; or created, and its first heartbeat is awaited.
    Booting { created: bool, until: Time, next_watch: Time },
    /// Its heartbeats arrive.
    Ready { last_beat: Time },
    /// Its heartbeats stopped. `attempt` retries were made; the next one is due at `next`.
    Suspect { attempt: usize, next: Time },
    /// It is being taken away: first every balancer is told (our snapshot's version that says so is
    /// `told_in`), then it is stopped. Each step ends at `until` at the latest.
    Draining { until: Time, told_in: Option<u64>, stopping: bool },
    /// To be fenced, not before `fence_at`, and then rebuilt, not before `rebuild_at`.
    Dead { fence_at: Time, rebuild_at: Time, fence_failed: bool },
}

impl Machine {
    /// A machine that is to be created.
    pub(super) fn waiting(slot: Slot, now: Time) -> Self {
        Machine {
            slot,
            incarnation: 0,
            image: None,
            life: Life::Waiting { not_before: now },
            since: now,
            reason: "to be created".to_owned(),
            condition: None,
            readiness: Readiness::default(),
            booted: false,
            wanted: true,
            restarts: 0,
            deaths: 0,
            dead_since: None,
            drained: false,
            duty: Duty::default(),
            usage: None,
        }
    }

    /// The phase people see.
    pub(super) fn phase(&self) -> Phase {
        match self.life {
            Life::Waiting { .. } if self.rests() => Phase::Standby,
            Life::Waiting { .. } if self.incarnation > 0 => Phase::Dead,
            Life::Waiting { .. } | Life::Booting { .. } => Phase::Booting,
            Life::Ready { .. } if self.readiness == Readiness::NotYet => Phase::Booting,
            Life::Ready { .. } => Phase::Ready,
            Life::Suspect { .. } => Phase::Suspect,
            Life::Draining { .. } => Phase::Draining,
            Life::Dead { .. } => Phase::Dead,
        }
    }

    /// Whether something of it may exist: its address must not be given away.
    pub(super) fn may_exist(&self) -> bool {
        !matches!(self.life, Life::Waiting { .. })
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.life, Life::Ready { .. })
    }

    /// Whether it lives, and its readiness is not in the way of requests.
    pub(super) fn can_serve(&self) -> bool {
        self.is_ready() && self.readiness.is_given()
    }

    /// Counts a death and says how long to wait before the next try: nothing after the first two, then
    /// growing pauses.
    pub(super) fn pause_after_death(&mut self, now: Time) -> Duration {
        self.forgive(now);
        self.deaths += 1;
        match self.deaths {
            0..=2 => Duration::ZERO,
            deaths => FIRST_PAUSE.saturating_mul(1 << (deaths - 3).min(16)).min(LONGEST_PAUSE),
        }
    }

    /// Forgets earlier deaths if it is healthy. To be called before it leaves [`Life::Ready`].
    pub(super) fn forgive(&mut self, now: Time) {
        if self.is_healthy(now) {
            self.deaths = 0;
        }
    }

    /// When it counts as healthy again, of one that kept dying and is ready now.
    pub(super) fn forgiven_at(&self) -> Option<Time> {
        (self.deaths >= CRASH_LOOP && self.is_ready()).then_some(self.since + HEALTHY_AFTER)
    }

    fn is_healthy(&self, now: Time) -> bool {
        self.is_ready() && now.saturating_sub(self.since) >= HEALTHY_AFTER
    }

    pub(super) fn crash_looping(&self, now: Time) -> bool {
        self.deaths >= CRASH_LOOP && !self.is_healthy(now)
    }

    /// Begins to take it away.
    pub(super) fn drain(&mut self, now: Time, reason: &str) {
        let limit = if self.slot.service.as_str() == LB { HAND_OVER } else { DRAIN_TELL };
        self.life = Life::Draining { until: now + limit, told_in: None, stopping: false };
        self.since = now;
        self.reason = reason.to_owned();
    }

    /// What people and peers see of it.
    pub(super) fn view(&self, now: Time) -> MachineView {
        MachineView {
            id: self.slot.id.clone(),
            service: self.slot.service.clone(),
            address: self.slot.address,
            phase: self.phase(),
            reason: limits::shortened(&self.reason),
            incarnation: self.incarnation,
            image: self.image.clone(),
            restarts: self.restarts,
            for_ms: millis(now.saturating_sub(self.since)),
            crash_looping: self.crash_looping(now),
            condition: self.condition,
            drained: self.drained,
            standby: self.duty.is_standby(),
            usage: self.usage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_healthy_life_forgives() {
        let slot = Slot { id: "a-x-1".into(), service: "x".into(), address: [10, 0, 0, 1].into() };
        let mut machine = Machine::waiting(slot, Duration::ZERO);
        let pauses: Vec<u128> =
            (0..12).map(|_| machine.pause_after_death(Duration::ZERO).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]);
        assert!(machine.crash_looping(Duration::ZERO));
        machine.life = Life::Ready { last_beat: HEALTHY_AFTER };
        assert_eq!(machine.pause_after_death(HEALTHY_AFTER), Duration::ZERO);
        assert!(!machine.crash_looping(HEALTHY_AFTER));
    }
}
