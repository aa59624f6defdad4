//! Keeps the host's machines alive: what each phase of [`Life`] asks for, and what follows when that is
//! done.

use std::net::SocketAddr;
use std::time::Duration;

use wire::cluster::{Condition, Phase};
use wire::{Incarnation, MachineId, PoolName};

use super::readiness::{Readiness, started};
use super::{
    Asked, Command, Desired, Engine, Job, Life, Machine, MachinePurpose, MachineSpec, Notice, Outcome, Plan,
    Severity, Time, lb_id,
};
use crate::config::service::Readiness as Asks;
use crate::config::{LB, LB_ADMIN_PORT, Service};
#[cfg(test)]
use crate::sim::bug::Bug;

/// While a machine boots, its heartbeat is asked for this often.
pub(super) const BOOT_POLL: Duration = Duration::from_millis(25);

/// All balancers should have heard within this that a machine is draining.
pub(super) const DRAIN_TELL: Duration = Duration::from_secs(3);

/// A balancer has so long to hand its VIPs over before it is stopped all the same.
pub(super) const HAND_OVER: Duration = Duration::from_secs(12);

/// A stopping machine may take so long to finish what it has.
const DRAIN_STOP: Duration = Duration::from_secs(15);

/// A machine is tried to be built again this often while the hypervisor cannot be reached.
const HYPERVISOR_AGAIN: Duration = Duration::from_secs(1);

/// A machine that could not be fenced is tried again after this.
const FENCE_AGAIN: Duration = Duration::from_secs(1);

impl Engine {
    pub(super) fn plan_machines(&mut self, now: Time, plan: &mut Plan) {
        self.machines.wake(now);
        // The balancer first: where only one may be rebuilt at a time, the others wait for it.
        let lb = lb_id(&self.config.name);
        if self.machines.is_restless(&lb) {
            self.look_at(now, &lb, plan);
        }
        // What follows for a machine further on is done at once, what follows for one before it in the next plan.
        let mut last = None;
        while let Some(id) = self.machines.next_restless(last.as_ref()) {
            if id != lb {
                self.look_at(now, &id, plan);
            }
            last = Some(id);
        }
        if let Some((at, reason)) = self.machines.first_timer() {
            plan.wake_by(at, reason);
        }
    }

    /// Plans for machine `id`, and remembers when to do so again.
    fn look_at(&mut self, now: Time, id: &MachineId, plan: &mut Plan) {
        self.machines.looked_at(id);
        let others = (plan.wake, plan.wake_reason);
        plan.wake = Time::MAX;
        self.plan_machine(now, id, plan);
        let own = (plan.wake, plan.wake_reason);
        (plan.wake, plan.wake_reason) = others;
        self.machines.set_timer(id, (own.0 < Time::MAX).then_some(own));
        // It waits for what is not its own.
        if self.machines.get(id).is_some_and(|machine| match machine.life {
            Life::Waiting { .. } if machine.rests() => false,
            Life::Waiting { not_before } => now >= not_before,
            Life::Draining { stopping, .. } => !stopping,
            Life::Booting { .. } | Life::Ready { .. } | Life::Suspect { .. } | Life::Dead { .. } => false,
        }) {
            self.machines.touch(id);
        }
    }

    fn plan_machine(&mut self, now: Time, id: &MachineId, plan: &mut Plan) {
        let Some(machine) = self.machines.get(id) else { return };
        let heartbeat = self.config.heartbeat.clone();
        let silence = self.machines.silence(machine, heartbeat.silence());
        let building = self.flights.contains_key(&Job::Build(id.clone()));
        let watching = self.flights.contains_key(&Job::Watch(id.clone()));
        let only_watched = self.in_maintenance();
        match machine.life.clone() {
            Life::Waiting { .. } if !machine.wanted => {
                self.machines.remove(id);
            }
            Life::Waiting { .. } if machine.rests() => self.prepare_standby(now, id, plan),
            Life::Waiting { not_before } if now < not_before => plan.wake_by(not_before, "rebuild a machine"),
            Life::Waiting { .. } => self.create(now, id, plan),
            Life::Booting { until, .. } if now >= until && !only_watched => {
                self.did_not_start(now, id);
                self.plan_machine(now, id, plan);
            }
            Life::Booting { created, until, next_watch } => {
                let patience = match until.checked_sub(now) {
                    Some(left) if left > Duration::ZERO => {
                        plan.wake_by(until, "a machine should have started");
                        left
                    }
                    // Maintenance: its time is over, and it is asked all the same.
                    _ => Duration::from_millis(heartbeat.retry_timeout_ms),
                };
                if created && !watching {
                    if now >= next_watch {
                        self.watch(now, id, patience, plan);
                    } else {
                        plan.wake_by(next_watch, "ask a starting machine");
                    }
                }
            }
            Life::Ready { last_beat } if now >= last_beat + silence => {
                self.suspect(now, id, &format!("no heartbeat for {} ms", (now - last_beat).as_millis()));
                self.plan_machine(now, id, plan);
            }
            Life::Ready { last_beat } => {
                plan.wake_by(last_beat + silence, "a heartbeat is due");
                // A late beat of a watch that was given up may have made it ready again.
                if !watching {
                    self.watch(now, id, Duration::from_millis(heartbeat.retry_timeout_ms), plan);
                }
            }
            Life::Suspect { .. } if watching => {}
            Life::Suspect { attempt, .. } if attempt >= heartbeat.retry_waits_ms.len() && !only_watched => {
                self.died(now, id, &format!("no heartbeat after {attempt} retries"));
                self.plan_machine(now, id, plan);
            }
            Life::Suspect { next, .. } if now < next => plan.wake_by(next, "ask a suspect again"),
            Life::Suspect { attempt, next } => {
                self.watch(now, id, Duration::from_millis(heartbeat.retry_timeout_ms), plan);
                let attempt = (attempt + 1).min(heartbeat.retry_waits_ms.len());
                self.set_life(id, Life::Suspect { attempt, next });
            }
            Life::Draining { stopping: false, .. } if only_watched => {}
            Life::Draining { until, stopping: false, told_in } => {
                if !building && (now >= until || self.all_told(now, id, told_in)) {
                    self.set_life(id, Life::Draining { until: now + DRAIN_STOP, told_in, stopping: true });
                    self.start(now, Job::Build(id.clone()), Command::Stop(id.clone()), plan);
                    plan.wake_by(now + DRAIN_STOP, "a machine should have stopped");
                } else if now < until {
                    plan.wake_by(until, "balancers should know of a draining machine");
                    if machine.slot.service.as_str() == LB {
                        let address = machine.slot.address;
                        self.plan_hand_over(now, address, until, plan);
                    }
                }
            }
            Life::Draining { until, stopping: true, .. } => {
                if now >= until {
                    self.finish_draining(now, id, false);
                    self.plan_machine(now, id, plan);
                } else {
                    plan.wake_by(until, "a machine should have stopped");
                }
            }
            Life::Dead { .. } if building || only_watched => {}
            Life::Dead { fence_at, .. } if now < fence_at => plan.wake_by(fence_at, "fence again"),
            Life::Dead { .. } => self.start(now, Job::Build(id.clone()), Command::Fence(id.clone()), plan),
        }
    }

    fn create(&mut self, now: Time, id: &MachineId, plan: &mut Plan) {
        if self.in_maintenance() {
            return;
        }
        self.machines.settle(now);
        if now < self.brake_until {
            plan.wake_by(self.brake_until, "release the brake");
            if self.machines.any_booting() {
                return;
            }
        }
        let Some(slot) = self.machines.get(id).map(|machine| machine.slot.clone()) else { return };
        // Two services may have exchanged addresses in the configuration, or the store was lost: what
        // has this one's address goes first.
        let taken = |other: &Machine| other.slot.id != slot.id && other.may_exist();
        if self.machines.at(slot.address).any(taken) {
            return;
        }
        let Some(slot) = self.with_own_address(now, slot, plan) else { return };
        // An incarnation is used only when nobody can use it again after a power cut, and an address
        // only when the machine will have it again.
        let incarnation = self.next_incarnation;
        let is_stored =
            |saved: &Desired| incarnation < saved.incarnations_reserved && saved.uses(slot.address);
        if !self.saved.as_deref().is_some_and(is_stored) {
            if incarnation >= self.desired.incarnations_reserved {
                self.desired.reserve_incarnations();
            }
            return self.plan_save(now, plan);
        }
        let spec = if slot.service.as_str() == LB {
            let pools = self.pools(now);
            let config = self.proxy_config();
            let set = self.balancer.next_set(pools).to_wire();
            let config = self.balancer.next_config(config);
            let ranks = self.ranks();
            MachineSpec::of_lb(&self.config, &slot, incarnation, &ranks, set, config)
        } else {
            let Some(service) = self.service(&slot.service) else { return };
            MachineSpec::of_service(&self.config, service, &slot, incarnation)
        };
        self.next_incarnation += 1;
        self.made_anew(id, &slot.service);
        let keeps_disk = spec.persistent;
        let until = now + self.boot_timeout(&slot.service);
        let is_asked = self.service(&slot.service).is_some_and(|service| service.readiness.is_some());
        let rebuilt = self.machines.get_mut(id).is_some_and(|machine| {
            let rebuilt = machine.incarnation > 0;
            machine.restarts += u32::from(rebuilt);
            machine.incarnation = incarnation;
            machine.image = None;
            machine.usage = None;
            machine.life = Life::Booting { created: false, until, next_watch: now };
            machine.booted = false;
            machine.readiness = if is_asked { Readiness::NotYet } else { Readiness::Ready };
            machine.since = now;
            machine.reason =
                if rebuilt { format!("rebuilt: {}", machine.reason) } else { "created".to_owned() };
            rebuilt
        });
        let deed = match (rebuilt, keeps_disk) {
            (true, true) => "restarting with its disk",
            (true, false) => "rebuilding",
            (false, _) => "creating",
        };
        let message = format!("{deed} at {}", slot.address);
        self.note(Severity::Info, "machine.booting", id.to_string(), message);
        plan.wake_by(until, "a machine should have started");
        self.start(now, Job::Build(id.clone()), Command::Create(Box::new(spec)), plan);
    }

    fn watch(&mut self, now: Time, id: &MachineId, first_beat: Duration, plan: &mut Plan) {
        let Some(machine) = self.machines.get(id) else { return };
        let service = self.service(&machine.slot.service);
        let port = service.map_or(LB_ADMIN_PORT, |service| service.port);
        let readiness = service.and_then(|service| service.readiness.clone());
        let asked = Asked {
            liveness: service.and_then(|service| service.liveness.probe.clone()),
            readiness: readiness.map(|Asks(probe)| (probe, machine.readiness.is_given())),
        };
        let command = Command::Watch {
            machine: id.clone(),
            incarnation: machine.incarnation,
            address: SocketAddr::new(machine.slot.address, port),
            first_beat,
            asked: Box::new(asked),
        };
        self.start(now, Job::Watch(id.clone()), command, plan);
    }

    /// The service `name` of this host.
    pub(super) fn service(&self, name: &PoolName) -> Option<&Service> {
        self.config.services.iter().find(|service| service.name == *name)
    }

    /// How long a machine of the service `name`, or the balancer, may take to its first sign of life.
    fn boot_timeout(&self, name: &PoolName) -> Duration {
        let own = self.service(name).and_then(|service| service.liveness.start_grace);
        own.unwrap_or(Duration::from_millis(self.config.heartbeat.boot_timeout_ms))
    }

    pub(super) fn create_finished(&mut self, now: Time, purpose: &MachinePurpose, outcome: Outcome) {
        self.spare_may_be_used(now, &purpose.service);
        let Some(machine) = self.current(&purpose.id, purpose.incarnation) else { return };
        match outcome {
            Outcome::Failed(reason) => self.not_created(now, &purpose.id, &reason, None),
            Outcome::Prevented(condition, reason) => {
                self.not_created(now, &purpose.id, &reason, Some(condition));
            }
            _ => {
                if let Life::Booting { created, next_watch, .. } = &mut machine.life {
                    *created = true;
                    *next_watch = now;
                }
            }
        }
    }

    fn not_created(&mut self, now: Time, id: &MachineId, reason: &str, condition: Option<Condition>) {
        let Some(machine) = self.machines.get(id) else { return };
        if matches!(machine.life, Life::Dead { .. }) {
            return;
        }
        let deaths = machine.deaths;
        self.died(now, id, &format!("cannot be created: {reason}"));
        self.set_condition(id, condition);
        // A daemon that is away says nothing about the machine: it is built as soon as that is back.
        if condition == Some(Condition::HypervisorDown)
            && let Some(machine) = self.machines.get_mut(id)
            && let Life::Dead { rebuild_at, .. } = &mut machine.life
        {
            *rebuild_at = now + HYPERVISOR_AGAIN;
            machine.deaths = deaths;
        }
    }

    /// Its time to start is over.
    fn did_not_start(&mut self, now: Time, id: &MachineId) {
        let Some(machine) = self.machines.get(id) else { return };
        let seconds = self.boot_timeout(&machine.slot.service).as_secs();
        let (condition, reason) = if machine.booted {
            (
                Condition::NotAnswering,
                format!("its guest started, but its service did not answer in {seconds} s"),
            )
        } else {
            (Condition::NeverBooted, format!("its guest gave no sign of life in {seconds} s"))
        };
        self.died(now, id, &format!("{reason}; see manager vm logs {id}"));
        self.set_condition(id, Some(condition));
    }

    pub(super) fn set_condition(&mut self, id: &MachineId, condition: Option<Condition>) {
        if let Some(machine) = self.machines.get_mut(id) {
            machine.condition = condition;
        }
    }

    pub(super) fn stop_finished(&mut self, now: Time, id: &MachineId, outcome: Outcome) {
        let orderly = !matches!(outcome, Outcome::Failed(_));
        if let Outcome::Failed(reason) = outcome {
            let message = format!("did not stop in an orderly way: {reason}");
            self.note(Severity::Warning, "machine.stop-failed", id.to_string(), message);
        }
        self.finish_draining(now, id, orderly);
    }

    /// A draining machine ended. Where that was `orderly`, a balancer has handed its VIPs over.
    pub(super) fn finish_draining(&mut self, now: Time, id: &MachineId, orderly: bool) {
        let Some(machine) = self.machines.get_mut(id) else { return };
        if !matches!(machine.life, Life::Draining { .. }) {
            return;
        }
        machine.life = Life::Dead { fence_at: now, rebuild_at: now, fence_failed: false };
        machine.since = now;
        let (address, is_lb) = (machine.slot.address, machine.slot.service.as_str() == LB);
        self.flights.remove(&Job::Watch(id.clone()));
        if is_lb {
            self.lb_is_gone(address, orderly);
        }
    }

    pub(super) fn fence_finished(&mut self, now: Time, id: &MachineId, outcome: Outcome) {
        let Some(machine) = self.machines.get_mut(id) else { return };
        let Life::Dead { rebuild_at, .. } = machine.life else { return };
        #[cfg(test)]
        let outcome = if self.bug == Some(Bug::UnconfirmedFenceCounts) { Outcome::Done } else { outcome };
        if let Outcome::Failed(reason) = outcome {
            #[cfg(test)]
            let now = if self.bug == Some(Bug::FencedOnlyOnce) { Time::MAX - FENCE_AGAIN } else { now };
            machine.life = Life::Dead { fence_at: now + FENCE_AGAIN, rebuild_at, fence_failed: true };
            machine.condition = Some(Condition::Unfenced);
            machine.dead_since.get_or_insert(now);
            let message =
                format!("cannot be fenced, its address {} stays unused: {reason}", machine.slot.address);
            self.trouble(now, "machine.unfenced", id.to_string(), message);
            return;
        }
        machine.life = Life::Waiting { not_before: rebuild_at };
        machine.condition = machine.condition.filter(|condition| *condition != Condition::Unfenced);
        // One that was found with other settings than it is to have gets them now.
        if let Some(slot) = self.desired.slot(&self.config.name, id) {
            machine.slot = slot;
        }
        #[cfg(test)]
        if self.bug == Some(Bug::ReplacementMoves) {
            let slot = machine.slot.clone();
            self.relocate(now, &slot);
            return;
        }
        if !machine.wanted {
            self.machines.remove(id);
            self.note(Severity::Info, "machine.gone", id.to_string(), "taken away".to_owned());
        }
    }

    pub(super) fn beat(&mut self, now: Time, id: &MachineId, incarnation: Incarnation) {
        let Some(machine) = self.current(id, incarnation) else { return };
        let was = machine.phase();
        match &mut machine.life {
            Life::Booting { .. } | Life::Suspect { .. } => {
                machine.life = Life::Ready { last_beat: now };
                machine.condition = (machine.readiness == Readiness::NoLonger).then_some(Condition::NotReady);
                let mut notice = None;
                if machine.readiness == Readiness::NotYet {
                    "it lives, and its readiness probe has not passed yet".clone_into(&mut machine.reason);
                } else if was == Phase::Booting {
                    let boot = now.saturating_sub(machine.since);
                    notice = Some(started(machine, now, boot));
                } else {
                    machine.dead_since = None;
                    machine.since = now;
                    "its heartbeats arrive".clone_into(&mut machine.reason);
                    let (severity, subject) = (Severity::Info, id.to_string());
                    let message = machine.reason.clone();
                    notice = Some(Notice { severity, kind: "machine.ready", subject, message, start: None });
                }
                self.unverified.remove(id);
                self.notices.extend(notice);
            }
            Life::Ready { .. } | Life::Waiting { .. } | Life::Draining { .. } | Life::Dead { .. } => {}
        }
    }

    /// The machine `id`, if it is still in this incarnation.
    pub(super) fn current(&mut self, id: &MachineId, incarnation: Incarnation) -> Option<&mut Machine> {
        self.machines.get(id).filter(|machine| machine.incarnation == incarnation)?;
        self.machines.get_mut(id)
    }

    fn set_life(&mut self, id: &MachineId, life: Life) {
        if let Some(machine) = self.machines.get_mut(id) {
            machine.life = life;
        }
    }
}
