//! Compares the hypervisor's list with what is thought to be there, and adopts, at the start, what an
//! earlier life of this manager left running.
//!
//! A list is a picture of some moment between its start and its end. What was done to a machine in that
//! time, or heard from it, is newer than the picture and counts more.

use std::time::Duration;

use wire::MachineId;

use super::machines::DRAIN_TELL;
use super::{
    Adoption, Command, Engine, Job, LIST_EVERY, Life, Machine, MachinePurpose, ObservedMachine, Outcome,
    Plan, Severity, Slot, Time, lb_id,
};

/// A restarted manager waits at most this long for what its machines and its balancer say.
const SETTLE: Duration = Duration::from_secs(2);

/// A list that failed is asked for again after this.
const LIST_AGAIN: Duration = Duration::from_millis(200);

impl Engine {
    pub(super) fn plan_list(&mut self, now: Time, plan: &mut Plan) {
        if now >= self.list_at {
            self.start(now, Job::List, Command::List, plan);
        } else {
            plan.wake_by(self.list_at, "list the machines");
        }
    }

    pub(super) fn list_finished(&mut self, now: Time, started: Time, outcome: Outcome) {
        let Outcome::Listed { machines: observed, driver } = outcome else {
            self.list_at = now + LIST_AGAIN;
            if let Outcome::Failed(reason) = outcome {
                let subject = self.config.name.to_string();
                self.trouble(
                    now,
                    "hypervisor.failed",
                    subject,
                    format!("the machines cannot be listed: {reason}"),
                );
            }
            return;
        };
        self.list_at = now + LIST_EVERY;
        self.driver = driver;
        if self.adoption == Adoption::Unlisted && self.nothing_stored {
            self.want_what_is_found(now, &observed);
        }
        // What ended before this list was asked for is in it, and in every later one.
        self.built.retain(|_, ended| *ended >= started);
        let missing: Vec<MachineId> = self
            .not_running(&observed)
            .filter(|machine| {
                let heard = matches!(machine.life, Life::Ready { last_beat } if last_beat > started);
                machine.may_exist()
                    && !heard
                    && !matches!(machine.life, Life::Dead { .. })
                    && !self.is_newer_than_list(&machine.slot.id)
            })
            .map(|machine| machine.slot.id.clone())
            .collect();
        for id in missing {
            self.died(now, &id, "the hypervisor no longer has it");
        }
        for seen in observed {
            if !self.says_nothing_new(&seen) {
                self.seen(now, seen);
            }
        }
        if self.adoption == Adoption::Unlisted {
            self.adoption = Adoption::Settling { until: now + SETTLE };
        }
    }

    /// Nothing was stored, or it was lost: what is there says what people had asked for, and the configuration
    /// only what is missing from that. No machine was touched yet.
    fn want_what_is_found(&mut self, now: Time, observed: &[ObservedMachine]) {
        self.nothing_stored = false;
        let purposes: Vec<&MachinePurpose> = observed.iter().map(|seen| &seen.purpose).collect();
        if purposes.is_empty() {
            return;
        }
        self.desired.want(&self.config, &purposes);
        let slots = self.desired.slots(&self.config.name);
        let before: Vec<MachineId> = self.machines.iter().map(|(id, _)| id.clone()).collect();
        for id in before {
            self.machines.remove(&id);
        }
        for slot in slots {
            let duty = self.desired.duty(&self.config, &slot.id);
            self.machines.insert(slot.id.clone(), Machine { duty, ..Machine::waiting(slot, now) });
        }
    }

    /// The machines that do not run, by this list. One walk through both: they are many, and in the same order.
    fn not_running<'a>(&'a self, observed: &'a [ObservedMachine]) -> impl Iterator<Item = &'a Machine> {
        let mut running: Vec<&MachineId> =
            observed.iter().filter(|seen| seen.running).map(|seen| &seen.purpose.id).collect();
        running.sort();
        let mut running = running.into_iter().peekable();
        self.machines.iter().filter_map(move |(id, machine)| {
            while running.next_if(|seen| *seen < id).is_some() {}
            running.peek().is_none_or(|seen| *seen != id).then_some(machine)
        })
    }

    /// Whether what was seen is what is known, as of nearly every machine of nearly every list.
    fn says_nothing_new(&self, seen: &ObservedMachine) -> bool {
        let MachinePurpose { id, service: _, incarnation, address, image } = &seen.purpose;
        let is_known = |machine: &Machine| {
            machine.may_exist()
                && machine.incarnation == *incarnation
                && machine.image == *image
                && (machine.booted || !seen.booted)
        };
        self.next_incarnation > *incarnation
            && self.desired.uses(*address)
            && !self.foreign.contains_key(address)
            && self.machines.get(id).is_some_and(is_known)
    }

    /// Whether something is being done to machine `id`, or was while the list was made.
    fn is_newer_than_list(&self, id: &MachineId) -> bool {
        self.flights.contains_key(&Job::Build(id.clone())) || self.built.contains_key(id)
    }

    /// A machine is in the hypervisor's list. Where the engine does not think it is there, it is one
    /// from an earlier life of this manager, or a left-over.
    fn seen(&mut self, now: Time, seen: ObservedMachine) {
        let MachinePurpose { id, service, incarnation, address, image } = seen.purpose;
        self.next_incarnation = self.next_incarnation.max(incarnation + 1);
        if let Some(machine) = self.current(&id, incarnation) {
            machine.image.clone_from(&image);
        }
        // Whoever answered for it was this machine.
        self.take_into_use(address);
        if self.is_newer_than_list(&id) {
            return;
        }
        let known = self.machines.get(&id);
        if known.is_some_and(Machine::may_exist) {
            if let Some(machine) = self.current(&id, incarnation) {
                machine.booted |= seen.booted;
            }
            return;
        }
        let slot = Slot { id: id.clone(), service, address };
        let fits = known.is_some_and(|machine| machine.slot == slot);
        let mut machine = known
            .cloned()
            .unwrap_or_else(|| Machine { wanted: false, ..Machine::waiting(slot.clone(), now) });
        let rebuild_at = match machine.life {
            Life::Waiting { not_before } => not_before.max(now),
            _ => now,
        };
        let dead = Life::Dead { fence_at: now, rebuild_at, fence_failed: false };
        // Until it is fenced, the address it really has is the one that is taken.
        machine.slot = slot;
        machine.incarnation = incarnation;
        machine.image = image;
        machine.since = now;
        let (life, reason, severity) = match (seen.running, machine.wanted) {
            (true, true) if fits && self.adoption == Adoption::Unlisted => {
                self.unverified.insert(id.clone());
                if id == lb_id(&self.config.name) {
                    self.balancer.unsure = true;
                }
                machine.found_running();
                let life = Life::Suspect { attempt: 0, next: now };
                (life, "found running when the manager started", Severity::Info)
            }
            (true, true) => (dead, "left over from before", Severity::Warning),
            (true, false) => {
                let life = Life::Draining { until: now + DRAIN_TELL, told_in: None, stopping: false };
                (life, "found running but not wanted", Severity::Info)
            }
            (false, _) => (dead, "found ended", Severity::Info),
        };
        machine.life = life;
        machine.reason = reason.to_owned();
        self.machines.insert(id.clone(), machine);
        self.note(severity, "machine.adopted", id.to_string(), reason.to_owned());
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
}
