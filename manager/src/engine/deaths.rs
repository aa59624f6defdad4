//! How machines are lost: who is suspected, what counts as a death, and when this host must suspect
//! itself.

use std::net::IpAddr;
use std::time::Duration;

use wire::cluster::Condition;
use wire::{Incarnation, MachineId};

use super::machines::BOOT_POLL;
use super::{Adoption, BRAKE, Engine, Job, Life, Outcome, Severity, Time};
use crate::config::LB;
#[cfg(test)]
use crate::sim::bug::Bug;

/// Deaths within this time count together.
const MASS_DEATH_WINDOW: Duration = Duration::from_secs(5);

impl Engine {
    pub(super) fn watch_finished(
        &mut self,
        now: Time,
        id: &MachineId,
        incarnation: Incarnation,
        outcome: Outcome,
    ) {
        let waits = self.config.heartbeat.retry_waits_ms.clone();
        // In maintenance silence kills nobody: it is asked on, without haste.
        let after_the_last = waits.last().filter(|_| self.in_maintenance()).copied().unwrap_or_default();
        let reason = match outcome {
            Outcome::Failed(reason) => reason,
            _ => "its heartbeat ended".to_owned(),
        };
        let Some(machine) = self.current(id, incarnation) else { return };
        match &mut machine.life {
            Life::Ready { .. } => self.suspect(now, id, &reason),
            Life::Suspect { attempt, next } => {
                *next = now + Duration::from_millis(waits.get(*attempt).copied().unwrap_or(after_the_last));
            }
            Life::Booting { next_watch, .. } => *next_watch = now + BOOT_POLL,
            Life::Waiting { .. } | Life::Draining { .. } | Life::Dead { .. } => {}
        }
    }

    pub(super) fn suspect(&mut self, now: Time, id: &MachineId, reason: &str) {
        let first = self.config.heartbeat.retry_waits_ms.first().copied().unwrap_or_default();
        if let Some(machine) = self.machines.get_mut(id) {
            machine.forgive(now);
            machine.life = Life::Suspect { attempt: 0, next: now + Duration::from_millis(first) };
            machine.since = now;
            machine.reason = reason.to_owned();
        }
        // A watch that is silent is of no more use; the retry makes a new one.
        self.flights.remove(&Job::Watch(id.clone()));
        self.note(Severity::Warning, "machine.suspect", id.to_string(), reason.to_owned());
    }

    pub(super) fn exited(&mut self, now: Time, id: &MachineId, incarnation: Incarnation, reason: &str) {
        let Some(machine) = self.current(id, incarnation) else { return };
        match machine.life {
            Life::Draining { stopping, .. } => self.finish_draining(now, id, stopping),
            Life::Waiting { .. } | Life::Dead { .. } => {}
            Life::Booting { .. } if !machine.booted => {
                self.died(now, id, reason);
                self.set_condition(id, Some(Condition::NeverBooted));
            }
            Life::Booting { .. } | Life::Ready { .. } | Life::Suspect { .. } => self.died(now, id, reason),
        }
    }

    /// A machine that should live does not. It is fenced next, then rebuilt.
    pub(super) fn died(&mut self, now: Time, id: &MachineId, reason: &str) {
        let Some(machine) = self.machines.get_mut(id) else { return };
        let pause = machine.pause_after_death(now);
        #[cfg(test)]
        let pause = if self.bug == Some(Bug::NoPauses) { Duration::ZERO } else { pause };
        machine.life = Life::Dead { fence_at: now, rebuild_at: now + pause, fence_failed: false };
        machine.since = now;
        machine.dead_since.get_or_insert(now);
        machine.reason = reason.to_owned();
        let address = machine.slot.address;
        let is_lb = machine.slot.service.as_str() == LB;
        let wanted = machine.wanted;
        let message = if machine.crash_looping(now) {
            format!(
                "dead: {reason}; {} deaths in a row, next try in {} ms",
                machine.deaths,
                pause.as_millis()
            )
        } else {
            format!("dead: {reason}")
        };
        self.flights.remove(&Job::Watch(id.clone()));
        self.unverified.remove(id);
        if is_lb {
            self.lb_is_gone(address, false);
        }
        self.note(Severity::Warning, "machine.dead", id.to_string(), message);
        if wanted {
            self.count_death(now, id);
        }
    }

    /// The host's balancer at `address` is no more. Unless it has handed over its VIPs itself, that is
    /// said for it.
    pub(super) fn lb_is_gone(&mut self, address: IpAddr, handed_over: bool) {
        if !handed_over && self.balancer.may_hold_vip() {
            self.resign = Some(address);
        }
        self.balancer.forget();
        self.uplink.lb_forgot();
        // What was under way to it must not be taken for the answer of the one that follows it.
        for job in [Job::Push, Job::Configure, Job::ReadLb, Job::HandOver, Job::TellUplink, Job::Rank] {
            self.flights.remove(&job);
        }
    }

    /// More than half of the host's machines dead within seconds: perhaps it is this host.
    fn count_death(&mut self, now: Time, id: &MachineId) {
        // One machine that keeps dying is one dead machine.
        self.recent_deaths.insert(id.clone(), now);
        self.recent_deaths.retain(|_, death| now.saturating_sub(*death) <= MASS_DEATH_WINDOW);
        if self.recent_deaths.len() * 2 > self.desired.total().max(2) {
            if now >= self.brake_until {
                let message = format!(
                    "{} of {} machines died within {} s: rebuilding one at a time",
                    self.recent_deaths.len(),
                    self.desired.total(),
                    MASS_DEATH_WINDOW.as_secs(),
                );
                self.note(Severity::Error, "host.mass-death", self.config.name.to_string(), message);
                self.start_deadlines_anew(now, Duration::ZERO);
            }
            self.brake_until = now + BRAKE;
        }
    }

    /// It is perhaps this host that is not well, or this process stood still for `gap`: what machines
    /// did meanwhile was not heard, so none of them can be blamed for silence.
    pub(super) fn start_deadlines_anew(&mut self, now: Time, gap: Duration) {
        self.brake_until = now + BRAKE;
        for machine in self.machines.values_mut() {
            match &mut machine.life {
                Life::Ready { last_beat } => *last_beat = now,
                Life::Suspect { attempt, next } => {
                    *attempt = 0;
                    *next = now;
                }
                Life::Booting { until, .. } | Life::Draining { until, .. } => *until += gap,
                Life::Waiting { .. } | Life::Dead { .. } => {}
            }
        }
        self.flights.excuse(gap);
        for peer in self.peers.values_mut() {
            peer.heard = peer.heard.map(|heard| heard + gap);
            peer.told = peer.told.map(|told| told + gap);
        }
        self.placing.excuse(gap);
        self.circle.excuse(gap);
        self.uplink.excuse(gap);
        self.spreading.excuse();
        if let Adoption::Settling { until } = &mut self.adoption {
            *until += gap;
        }
    }
}
