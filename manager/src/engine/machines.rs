//! Keeps the host's machines alive: the transitions of [`Life`] and what each of them asks for.

use std::net::SocketAddrV4;
use std::time::Duration;

use wire::cluster::Phase;
use wire::{Incarnation, MachineId};

use super::{
    Adoption, BRAKE, Command, Engine, Job, LIST_EVERY, Life, Machine, MachinePurpose, MachineSpec,
    ObservedMachine, Outcome, Plan, Severity, Slot, Time,
};
use crate::config::{LB, LB_ADMIN_PORT};

/// While a machine boots, its heartbeat is asked for this often.
const BOOT_POLL: Duration = Duration::from_millis(25);

/// All balancers should have heard within this that a machine is draining.
pub(super) const DRAIN_TELL: Duration = Duration::from_secs(3);

/// A stopping machine may take so long to finish what it has.
const DRAIN_STOP: Duration = Duration::from_secs(15);

/// A machine that could not be fenced is tried again after this.
const FENCE_AGAIN: Duration = Duration::from_secs(1);

/// Deaths within this time count together.
const MASS_DEATH_WINDOW: Duration = Duration::from_secs(5);

/// A restarted manager waits at most this long for what its machines and its balancer say.
const SETTLE: Duration = Duration::from_secs(2);

impl Engine {
    pub(super) fn plan_list(&mut self, now: Time, plan: &mut Plan) {
        if now >= self.list_at {
            self.start(now, Job::List, Command::List, plan);
        } else {
            plan.wake_by(self.list_at, "list the machines");
        }
    }

    pub(super) fn list_finished(&mut self, now: Time, started: Time, outcome: Outcome) {
        let Outcome::Listed(observed) = outcome else {
            self.list_at = now + Duration::from_millis(200);
            if let Outcome::Failed(reason) = outcome {
                let message = format!("the machines cannot be listed: {reason}");
                self.note(Severity::Error, "hypervisor.failed", self.config.name.to_string(), message);
            }
            return;
        };
        self.list_at = now + LIST_EVERY;
        let missing: Vec<MachineId> = self
            .machines
            .iter()
            .filter(|(id, machine)| {
                machine.may_exist()
                    && machine.since <= started
                    && !matches!(machine.life, Life::Dead { .. })
                    && !self.flights.contains_key(&Job::Build((*id).clone()))
                    && !observed.iter().any(|seen| seen.running && &seen.purpose.id == *id)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in missing {
            self.died(now, &id, "the hypervisor no longer has it");
        }
        for seen in observed {
            self.seen(now, seen);
        }
        if self.adoption == Adoption::Unlisted {
            self.adoption = Adoption::Settling { until: now + SETTLE };
        }
    }

    /// A machine is in the hypervisor's list that the engine does not think is there: one from an
    /// earlier life of this manager, or a left-over.
    fn seen(&mut self, now: Time, seen: ObservedMachine) {
        let MachinePurpose { id, service, incarnation, address } = seen.purpose;
        if self.flights.contains_key(&Job::Build(id.clone())) {
            return;
        }
        self.next_incarnation = self.next_incarnation.max(incarnation + 1);
        let known = self.machines.get(&id);
        if known.is_some_and(Machine::may_exist) {
            return;
        }
        let fits =
            known.is_some_and(|machine| machine.slot.address == address && machine.slot.service == service);
        let slot = Slot { id: id.clone(), service, address };
        let mut machine =
            known.cloned().unwrap_or_else(|| Machine { wanted: false, ..Machine::waiting(slot, now) });
        machine.incarnation = incarnation;
        machine.since = now;
        let severity = if seen.running && fits && self.adoption == Adoption::Unlisted {
            machine.life = Life::Suspect { attempt: 0, next: now };
            machine.reason = "found running when the manager started".to_owned();
            self.unverified.insert(id.clone());
            Severity::Info
        } else if seen.running && machine.wanted {
            machine.life = Life::Dead { fence_at: now, rebuild_at: now, fence_failed: false };
            machine.reason = "left over from before".to_owned();
            Severity::Warning
        } else if seen.running {
            machine.life = Life::Draining { until: now + DRAIN_TELL, told_in: None, stopping: false };
            machine.reason = "found running but not wanted".to_owned();
            Severity::Info
        } else {
            machine.life = Life::Dead { fence_at: now, rebuild_at: now, fence_failed: false };
            machine.reason = "found ended".to_owned();
            Severity::Info
        };
        let message = machine.reason.clone();
        self.machines.insert(id.clone(), machine);
        self.note(severity, "machine.adopted", id.to_string(), message);
    }

    pub(super) fn plan_machines(&mut self, now: Time, plan: &mut Plan) {
        let ids: Vec<MachineId> = self.machines.keys().cloned().collect();
        for id in ids {
            self.plan_machine(now, &id, plan);
        }
    }

    fn plan_machine(&mut self, now: Time, id: &MachineId, plan: &mut Plan) {
        let Some(machine) = self.machines.get(id) else { return };
        let heartbeat = self.config.heartbeat.clone();
        let silence = Duration::from_millis(heartbeat.silence_ms);
        let building = self.flights.contains_key(&Job::Build(id.clone()));
        let watching = self.flights.contains_key(&Job::Watch(id.clone()));
        match machine.life.clone() {
            Life::Waiting { .. } if !machine.wanted => {
                self.machines.remove(id);
            }
            Life::Waiting { not_before } if now < not_before => plan.wake_by(not_before, "rebuild a machine"),
            Life::Waiting { .. } => self.create(now, id, plan),
            Life::Booting { until, .. } if now >= until => {
                self.died(now, id, "no heartbeat in the time it has to start");
                self.plan_machine(now, id, plan);
            }
            Life::Booting { created, until, next_watch } => {
                plan.wake_by(until, "a machine should have started");
                if created && !watching {
                    if now >= next_watch {
                        self.watch(now, id, until - now, plan);
                    } else {
                        plan.wake_by(next_watch, "ask a starting machine");
                    }
                }
            }
            Life::Ready { last_beat } if now >= last_beat + silence => {
                self.suspect(now, id, &format!("no heartbeat for {} ms", (now - last_beat).as_millis()));
                self.plan_machine(now, id, plan);
            }
            Life::Ready { last_beat } => plan.wake_by(last_beat + silence, "a heartbeat is due"),
            Life::Suspect { .. } if watching => {}
            Life::Suspect { attempt, .. } if attempt >= heartbeat.retry_waits_ms.len() => {
                self.died(now, id, &format!("no heartbeat after {attempt} retries"));
                self.plan_machine(now, id, plan);
            }
            Life::Suspect { next, .. } if now < next => plan.wake_by(next, "ask a suspect again"),
            Life::Suspect { attempt, next } => {
                self.watch(now, id, Duration::from_millis(heartbeat.retry_timeout_ms), plan);
                self.set_life(id, Life::Suspect { attempt: attempt + 1, next });
            }
            Life::Draining { until, stopping: false, told_in } => {
                if !building && (now >= until || self.all_told(now, id, told_in)) {
                    self.set_life(id, Life::Draining { until: now + DRAIN_STOP, told_in, stopping: true });
                    self.start(now, Job::Build(id.clone()), Command::Stop(id.clone()), plan);
                    plan.wake_by(now + DRAIN_STOP, "a machine should have stopped");
                } else {
                    plan.wake_by(until, "balancers should know of a draining machine");
                }
            }
            Life::Draining { until, stopping: true, .. } => {
                if now >= until {
                    self.finish_draining(now, id);
                    self.plan_machine(now, id, plan);
                } else {
                    plan.wake_by(until, "a machine should have stopped");
                }
            }
            Life::Dead { .. } if building => {}
            Life::Dead { fence_at, .. } if now < fence_at => plan.wake_by(fence_at, "fence again"),
            Life::Dead { .. } => self.start(now, Job::Build(id.clone()), Command::Fence(id.clone()), plan),
        }
    }

    fn create(&mut self, now: Time, id: &MachineId, plan: &mut Plan) {
        if now < self.brake_until {
            plan.wake_by(self.brake_until, "release the brake");
            if self.machines.values().any(|machine| matches!(machine.life, Life::Booting { .. })) {
                return;
            }
        }
        // An incarnation is used only when nobody can use it again after a power cut.
        let stored = self.saved.as_ref().map_or(0, |saved| saved.incarnations_reserved);
        if self.next_incarnation >= stored {
            if self.next_incarnation >= self.desired.incarnations_reserved {
                self.desired.reserve_incarnations();
            }
            return self.plan_save(now, plan);
        }
        let Some(slot) = self.machines.get(id).map(|machine| machine.slot.clone()) else { return };
        let incarnation = self.next_incarnation;
        let spec = if slot.service.as_str() == LB {
            let pools = self.pools();
            let config = self.proxy_config();
            let set = self.balancer.next_set(pools);
            let config = self.balancer.next_config(config);
            MachineSpec::of_lb(&self.config, &slot, incarnation, set, config)
        } else {
            let Some(service) = self.config.services.iter().find(|service| service.name == slot.service)
            else {
                return;
            };
            MachineSpec::of_service(&self.config, service, &slot, incarnation)
        };
        self.next_incarnation += 1;
        let until = now + Duration::from_millis(self.config.heartbeat.boot_timeout_ms);
        let rebuilt = self.machines.get_mut(id).is_some_and(|machine| {
            let rebuilt = machine.incarnation > 0;
            machine.restarts += u32::from(rebuilt);
            machine.incarnation = incarnation;
            machine.life = Life::Booting { created: false, until, next_watch: now };
            machine.since = now;
            machine.reason =
                if rebuilt { format!("rebuilt: {}", machine.reason) } else { "created".to_owned() };
            rebuilt
        });
        let message = format!("{} at {}", if rebuilt { "rebuilding" } else { "creating" }, slot.address);
        self.note(Severity::Info, "machine.booting", id.to_string(), message);
        plan.wake_by(until, "a machine should have started");
        self.start(now, Job::Build(id.clone()), Command::Create(Box::new(spec)), plan);
    }

    fn watch(&mut self, now: Time, id: &MachineId, first_beat: Duration, plan: &mut Plan) {
        let Some(machine) = self.machines.get(id) else { return };
        let service = self.config.services.iter().find(|service| service.name == machine.slot.service);
        let port = service.map_or(LB_ADMIN_PORT, |service| service.port);
        let command = Command::Watch {
            machine: id.clone(),
            incarnation: machine.incarnation,
            address: SocketAddrV4::new(machine.slot.address, port),
            first_beat,
        };
        self.start(now, Job::Watch(id.clone()), command, plan);
    }

    pub(super) fn create_finished(&mut self, now: Time, purpose: &MachinePurpose, outcome: Outcome) {
        let Some(machine) = self.current(&purpose.id, purpose.incarnation) else { return };
        match outcome {
            Outcome::Failed(reason) => {
                if !matches!(machine.life, Life::Dead { .. }) {
                    self.died(now, &purpose.id, &format!("cannot be created: {reason}"));
                }
            }
            _ => {
                if let Life::Booting { created, next_watch, .. } = &mut machine.life {
                    *created = true;
                    *next_watch = now;
                }
            }
        }
    }

    pub(super) fn stop_finished(&mut self, now: Time, id: &MachineId, outcome: Outcome) {
        if let Outcome::Failed(reason) = outcome {
            let message = format!("did not stop in an orderly way: {reason}");
            self.note(Severity::Warning, "machine.stop-failed", id.to_string(), message);
        }
        self.finish_draining(now, id);
    }

    fn finish_draining(&mut self, now: Time, id: &MachineId) {
        if self.machines.get(id).is_some_and(|machine| matches!(machine.life, Life::Draining { .. })) {
            self.set_life(id, Life::Dead { fence_at: now, rebuild_at: now, fence_failed: false });
            self.flights.remove(&Job::Watch(id.clone()));
        }
    }

    pub(super) fn fence_finished(&mut self, now: Time, id: &MachineId, outcome: Outcome) {
        let Some(machine) = self.machines.get_mut(id) else { return };
        let Life::Dead { rebuild_at, .. } = machine.life else { return };
        if let Outcome::Failed(reason) = outcome {
            machine.life = Life::Dead { fence_at: now + FENCE_AGAIN, rebuild_at, fence_failed: true };
            let message =
                format!("cannot be fenced, its address {} stays unused: {reason}", machine.slot.address);
            self.note(Severity::Error, "machine.unfenced", id.to_string(), message);
            return;
        }
        machine.life = Life::Waiting { not_before: rebuild_at };
        if !machine.wanted {
            self.machines.remove(id);
            self.note(Severity::Info, "machine.gone", id.to_string(), "taken away".to_owned());
        }
    }

    pub(super) fn beat(&mut self, now: Time, id: &MachineId, incarnation: Incarnation) {
        let Some(machine) = self.current(id, incarnation) else { return };
        let was = machine.phase();
        match &mut machine.life {
            Life::Ready { last_beat } => *last_beat = now,
            Life::Booting { .. } | Life::Suspect { .. } => {
                machine.life = Life::Ready { last_beat: now };
                let booted = now.saturating_sub(machine.since).as_millis();
                machine.since = now;
                machine.reason = "its heartbeats arrive".to_owned();
                let message = match was {
                    Phase::Booting => format!("ready after {booted} ms, at {}", machine.slot.address),
                    _ => "its heartbeats arrive".to_owned(),
                };
                self.unverified.remove(id);
                self.note(Severity::Info, "machine.ready", id.to_string(), message);
            }
            Life::Waiting { .. } | Life::Draining { .. } | Life::Dead { .. } => {}
        }
    }

    pub(super) fn watch_finished(
        &mut self,
        now: Time,
        id: &MachineId,
        incarnation: Incarnation,
        outcome: Outcome,
    ) {
        let waits = self.config.heartbeat.retry_waits_ms.clone();
        let reason = match outcome {
            Outcome::Failed(reason) => reason,
            _ => "its heartbeat ended".to_owned(),
        };
        let Some(machine) = self.current(id, incarnation) else { return };
        match &mut machine.life {
            Life::Ready { .. } => self.suspect(now, id, &reason),
            Life::Suspect { attempt, next } => {
                *next = now + waits.get(*attempt).map_or(Duration::ZERO, |wait| Duration::from_millis(*wait));
            }
            Life::Booting { next_watch, .. } => *next_watch = now + BOOT_POLL,
            Life::Waiting { .. } | Life::Draining { .. } | Life::Dead { .. } => {}
        }
    }

    fn suspect(&mut self, now: Time, id: &MachineId, reason: &str) {
        let first = self.config.heartbeat.retry_waits_ms.first().copied().unwrap_or_default();
        if let Some(machine) = self.machines.get_mut(id) {
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
            Life::Draining { .. } => self.finish_draining(now, id),
            Life::Waiting { .. } | Life::Dead { .. } => {}
            Life::Booting { .. } | Life::Ready { .. } | Life::Suspect { .. } => self.died(now, id, reason),
        }
    }

    /// A machine that should live does not. It is fenced next, then rebuilt.
    fn died(&mut self, now: Time, id: &MachineId, reason: &str) {
        let Some(machine) = self.machines.get_mut(id) else { return };
        let pause = machine.pause_after_death(now);
        machine.life = Life::Dead { fence_at: now, rebuild_at: now + pause, fence_failed: false };
        machine.since = now;
        machine.reason = reason.to_owned();
        let address = machine.slot.address;
        let is_lb = machine.slot.service.as_str() == LB;
        let message = if machine.crash_looping() {
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
            if self.balancer.may_hold_vip() {
                self.resign = Some(address);
            }
            self.balancer.forget();
        }
        self.note(Severity::Warning, "machine.dead", id.to_string(), message);
        self.count_death(now);
    }

    /// More than half of the host's machines dead within seconds: perhaps it is this host.
    fn count_death(&mut self, now: Time) {
        self.recent_deaths.push_back(now);
        while self.recent_deaths.front().is_some_and(|death| now.saturating_sub(*death) > MASS_DEATH_WINDOW) {
            self.recent_deaths.pop_front();
        }
        if self.recent_deaths.len() * 2 > self.desired.total().max(2) {
            if now >= self.brake_until {
                let message = format!(
                    "{} of {} machines died within {} s: rebuilding one at a time",
                    self.recent_deaths.len(),
                    self.desired.total(),
                    MASS_DEATH_WINDOW.as_secs(),
                );
                self.note(Severity::Error, "host.mass-death", self.config.name.to_string(), message);
            }
            self.brake_until = now + BRAKE;
        }
    }

    /// This process stood still for `gap`: what machines did meanwhile was not heard, so none of them
    /// can be blamed for silence.
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
        for flight in self.flights.values_mut() {
            flight.deadline = flight.deadline.map(|deadline| deadline + gap);
        }
    }

    pub(super) fn plan_settling(&mut self, now: Time, plan: &mut Plan) {
        let Adoption::Settling { until } = self.adoption else { return };
        let lb_heard = self.ready_lb().is_none() || self.balancer.confirmed.is_some();
        if now >= until || (self.unverified.is_empty() && lb_heard) {
            self.adoption = Adoption::Settled;
            self.unverified.clear();
        } else {
            plan.wake_by(until, "settle after the start");
        }
    }

    /// The machine `id`, if it is still in this incarnation.
    fn current(&mut self, id: &MachineId, incarnation: Incarnation) -> Option<&mut Machine> {
        self.machines.get_mut(id).filter(|machine| machine.incarnation == incarnation)
    }

    fn set_life(&mut self, id: &MachineId, life: Life) {
        if let Some(machine) = self.machines.get_mut(id) {
            machine.life = life;
        }
    }
}
