//! Whether a machine that lives can be sent requests, where its service has a probe for that.
//!
//! ```text
//!   created ──▶ NotYet ──▶ Ready ◀──▶ NoLonger
//!               no upstream            an upstream that is draining: used while there is no other
//! ```
//!
//! Unlike its liveness, this never has a machine ended.

use std::time::Duration;

use serde::Serialize;
use wire::cluster::Condition;
use wire::{Incarnation, MachineId};

use super::{Engine, Life, Machine, Notice, Severity, Start, Time};

/// What the probe said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) enum Readiness {
    /// It was found running: it is taken for ready until it was asked.
    #[default]
    Presumed,
    /// It can; also where nobody asks.
    Ready,
    /// This incarnation never could.
    NotYet,
    /// It could before.
    NoLonger,
}

impl Readiness {
    /// Whether it is sent requests.
    pub(super) fn is_given(self) -> bool {
        matches!(self, Readiness::Presumed | Readiness::Ready)
    }
}

impl Engine {
    pub(super) fn readiness_told(
        &mut self,
        now: Time,
        id: &MachineId,
        incarnation: Incarnation,
        ready: bool,
    ) {
        let Some(machine) = self.current(id, incarnation) else { return };
        let lives = matches!(machine.life, Life::Ready { .. } | Life::Suspect { .. });
        match (machine.readiness, ready) {
            (Readiness::NotYet, true) => {
                machine.readiness = Readiness::Ready;
                if machine.is_ready() {
                    let boot = now.saturating_sub(machine.since);
                    let notice = started(machine, now, boot);
                    self.notices.push(notice);
                }
            }
            (Readiness::NoLonger, true) => {
                machine.readiness = Readiness::Ready;
                machine.condition = machine.condition.filter(|condition| *condition != Condition::NotReady);
                "its readiness probe passes".clone_into(&mut machine.reason);
                let message = "its readiness probe passes: balancers send it requests again".to_owned();
                self.note(Severity::Info, "machine.readiness", id.to_string(), message);
            }
            (Readiness::Presumed, true) => machine.readiness = Readiness::Ready,
            (Readiness::Ready | Readiness::Presumed, false) if lives => {
                machine.readiness = Readiness::NoLonger;
                machine.condition = Some(Condition::NotReady);
                "its readiness probe fails".clone_into(&mut machine.reason);
                let message =
                    "its readiness probe fails: balancers send it nothing while there is another".to_owned();
                self.note(Severity::Warning, "machine.readiness", id.to_string(), message);
            }
            (Readiness::Ready, _)
            | (Readiness::Presumed | Readiness::NotYet | Readiness::NoLonger, false) => {}
        }
    }
}

/// A machine that has just started can be sent requests from `now` on.
pub(super) fn started(machine: &mut Machine, now: Time, boot: Duration) -> Notice {
    let down = machine.dead_since.take().map(|died| now.saturating_sub(died));
    machine.since = now;
    "its heartbeats arrive".clone_into(&mut machine.reason);
    Notice {
        severity: Severity::Info,
        kind: "machine.ready",
        subject: machine.slot.id.to_string(),
        message: format!("ready after {} ms, at {}", boot.as_millis(), machine.slot.address),
        start: Some(Start { service: machine.slot.service.clone(), boot, down }),
    }
}
