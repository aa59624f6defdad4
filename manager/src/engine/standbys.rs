//! Machines that stand by for others of their service on this host, which are called primaries here.
//!
//! ```text
//!   hot    always runs; balancers use it only while no primary of any host can be used
//!
//!   cold   at rest ──▶ started, and used like a primary ──▶ used only for want of another ──▶ drained ──▶ at rest
//!            a primary fails ▲      └──── all primaries are ready ────┘   └─ for the hold-down ─┘
//! ```
//!
//! A cold one is started as soon as a primary is suspected, while that is still being asked again: a false alarm costs
//! a boot, waiting costs capacity. What people do is no failure: a primary that is replaced or drained by order calls
//! for nobody, nor does one that boots for the first time.
//!
//! Started ones are stopped together, when all primaries have been ready for the hold-down without a break. So a
//! primary that comes and goes has its standby run all the time instead of coming and going too. Whether one is
//! started is not stored: a manager that is started anew finds it running, and the hold-down begins anew.

use std::time::Duration;

use serde::Serialize;
use wire::service::StandbyMode;
use wire::{MachineId, PoolName};

use super::{Adoption, Desired, Engine, Life, Machine, Plan, Readiness, Severity, Time};
use crate::config::{Config, Service};
#[cfg(test)]
use crate::sim::bug::Bug;

/// What a machine is to the others of its service on its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) enum Duty {
    /// One of `replicas`, or a balancer.
    #[default]
    Primary,
    /// It runs and waits.
    Hot,
    /// It is run only while it is needed.
    Cold {
        /// It is to run.
        started: bool,
        /// A primary is missing, so that it is used like one.
        stands_in: bool,
    },
}

impl Duty {
    pub(super) fn is_standby(self) -> bool {
        self != Duty::Primary
    }

    /// Whether balancers are to use it only for want of another.
    pub(super) fn is_backup(self) -> bool {
        matches!(self, Duty::Hot | Duty::Cold { stands_in: false, .. })
    }

    fn is_started(self) -> bool {
        matches!(self, Duty::Cold { started: true, .. })
    }

    /// What it is from now on, when `ordered` is what its service says. One that runs goes on until it is stopped in
    /// its turn.
    fn changed(self, ordered: Duty, runs: bool) -> Duty {
        match (self, ordered) {
            (Duty::Cold { .. }, Duty::Cold { .. }) => self,
            (_, Duty::Cold { .. }) => Duty::Cold { started: runs, stands_in: false },
            _ => ordered,
        }
    }
}

impl Machine {
    /// Whether it is a standby that does not run and is not to.
    pub(super) fn rests(&self) -> bool {
        let at_rest = matches!(self.duty, Duty::Cold { started: false, .. });
        at_rest && matches!(self.life, Life::Waiting { .. })
    }

    /// Whether it is a standby that is on its way out and has not been asked to end yet.
    fn can_stay(&self) -> bool {
        let ends = matches!(self.duty, Duty::Cold { started: false, .. }) && self.wanted;
        ends && matches!(self.life, Life::Draining { stopping: false, .. })
    }

    /// It was found running: as a standby it is one that was started.
    pub(super) fn found_running(&mut self) {
        if let Duty::Cold { started, .. } = &mut self.duty {
            *started = true;
        }
    }

    /// Whether it cannot be sent requests, through no doing of people.
    fn fails(&self) -> bool {
        let unready = self.readiness == Readiness::NoLonger && self.is_ready();
        self.dead_since.is_some() || matches!(self.life, Life::Suspect { .. }) || unready
    }
}

impl Desired {
    /// What machine `id` is to be to the others of its service.
    pub(super) fn duty(&self, config: &Config, id: &MachineId) -> Duty {
        let Some((service, number)) = self.place(&config.name, id) else { return Duty::Primary };
        if !self.is_standby(&service, number) {
            return Duty::Primary;
        }
        let service = config.services.iter().find(|known| known.name == service);
        match service.map(|service| service.standbys.mode).unwrap_or_default() {
            StandbyMode::Hot => Duty::Hot,
            StandbyMode::Cold => Duty::Cold { started: false, stands_in: false },
        }
    }
}

impl Engine {
    /// Starts standbys where primaries fail, and stops them when all are back. While it is not yet known what runs, and
    /// while people have asked for nothing to be done, nothing is.
    pub(super) fn plan_standbys(&mut self, now: Time, plan: &mut Plan) {
        if self.in_maintenance() || self.adoption != Adoption::Settled {
            self.all_back.clear();
            return;
        }
        let is_cold = |service: &&Service| {
            service.standbys.mode == StandbyMode::Cold && self.desired.standbys(&service.name) > 0
        };
        let cold: Vec<(PoolName, Duration)> = self
            .config
            .services
            .iter()
            .filter(is_cold)
            .map(|service| (service.name.clone(), service.standbys.hold))
            .collect();
        self.all_back.retain(|name, _| cold.iter().any(|(other, _)| other == name));
        for (service, hold) in cold {
            self.plan_standbys_of(now, &service, hold, plan);
        }
    }

    fn plan_standbys_of(&mut self, now: Time, service: &PoolName, hold: Duration, plan: &mut Plan) {
        let (standbys, primaries): (Vec<_>, Vec<_>) =
            self.desired.members(&self.config.name, service).into_iter().partition(|(_, standby)| *standby);
        let primaries = || primaries.iter().filter_map(|(id, _)| self.machines.get(id));
        let failing: Vec<MachineId> =
            primaries().filter(|machine| machine.fails()).map(|machine| machine.slot.id.clone()).collect();
        let all_back = primaries().all(Machine::can_serve);
        let of = |is: fn(&Machine) -> bool| -> Vec<MachineId> {
            let ids = standbys.iter().map(|(id, _)| id);
            ids.filter(|id| self.machines.get(id).is_some_and(is)).cloned().collect()
        };
        let started = of(|machine| machine.duty.is_started());
        let leaving = of(Machine::can_stay);
        let resting = of(Machine::rests);
        if let Some(first) = failing.first() {
            #[cfg(test)]
            if self.bug == Some(Bug::StandbysAreNotStarted) {
                return;
            }
            let missing = failing.len().saturating_sub(started.len());
            for id in leaving.iter().chain(&resting).take(missing) {
                self.start_standby(now, id, first);
            }
            self.set_stands_in(&started, true);
        }
        if !all_back || started.is_empty() {
            self.all_back.remove(service);
            return;
        }
        self.set_stands_in(&started, false);
        let since = *self.all_back.entry(service.clone()).or_insert(now);
        if now < since + hold {
            return plan.wake_by(since + hold, "stop standbys");
        }
        #[cfg(test)]
        if self.bug == Some(Bug::StandbysAreNotStopped) {
            return;
        }
        for id in started {
            self.stop_standby(now, &id);
        }
        self.all_back.remove(service);
    }

    fn start_standby(&mut self, now: Time, id: &MachineId, failing: &MachineId) {
        let Some(machine) = self.machines.get_mut(id) else { return };
        machine.duty = Duty::Cold { started: true, stands_in: true };
        machine.dead_since = None;
        machine.since = now;
        machine.reason = format!("{failing} fails");
        // One that balancers were being told to leave stays; whether it is well is asked at once.
        if let Life::Draining { .. } = machine.life {
            machine.life = Life::Suspect { attempt: 0, next: now };
        }
        let message = format!("started, because {failing} fails");
        self.note(Severity::Warning, "standby.started", id.to_string(), message);
    }

    /// Whether its address is free is found out while there is time for it, so that nobody waits for that when it is
    /// started.
    pub(super) fn prepare_standby(&mut self, now: Time, id: &MachineId, plan: &mut Plan) {
        self.machines.settle(now);
        let Some(slot) = self.machines.get(id).map(|machine| machine.slot.clone()) else { return };
        let somebody_is_there = self.machines.at(slot.address).any(Machine::may_exist);
        if !self.in_maintenance() && !somebody_is_there {
            self.with_own_address(now, slot, plan);
        }
    }

    /// It is drained, and comes to rest when it has ended; one that is being built anew, as soon as it can.
    fn stop_standby(&mut self, now: Time, id: &MachineId) {
        let Some(machine) = self.machines.get_mut(id) else { return };
        let reason = "all others of its service on this host are ready";
        machine.duty = Duty::Cold { started: false, stands_in: false };
        (machine.dead_since, machine.condition) = (None, None);
        match machine.life {
            Life::Booting { .. } | Life::Ready { .. } | Life::Suspect { .. } => machine.drain(now, reason),
            Life::Waiting { .. } => (machine.since, machine.reason) = (now, reason.to_owned()),
            Life::Dead { .. } | Life::Draining { .. } => {}
        }
        self.note(Severity::Info, "standby.stopped", id.to_string(), format!("stopped: {reason}"));
    }

    fn set_stands_in(&mut self, started: &[MachineId], on: bool) {
        for id in started {
            let differs = |duty| matches!(duty, Duty::Cold { stands_in, .. } if stands_in != on);
            if self.machines.get(id).is_some_and(|machine| differs(machine.duty))
                && let Some(machine) = self.machines.get_mut(id)
                && let Duty::Cold { stands_in, .. } = &mut machine.duty
            {
                *stands_in = on;
            }
        }
    }

    /// The services have changed: what a machine is to the others may have, too.
    pub(super) fn order_duties(&mut self) {
        // One that is on its way out has no place any more, and stays what it was.
        let wanted = self.machines.iter().filter(|(_, machine)| machine.wanted);
        let ids: Vec<MachineId> = wanted.map(|(id, _)| id.clone()).collect();
        for id in ids {
            let ordered = self.desired.duty(&self.config, &id);
            let Some(machine) = self.machines.get(&id) else { continue };
            let duty = machine.duty.changed(ordered, machine.may_exist());
            if duty != machine.duty
                && let Some(machine) = self.machines.get_mut(&id)
            {
                machine.duty = duty;
            }
        }
    }

    /// Standbys for which the pool has no addresses, one line for each service.
    pub(super) fn standby_warnings(&self) -> Vec<String> {
        let missing = |service: &Service| {
            self.desired.lacks_standbys(&self.config, service).then(|| {
                let (name, wanted) = (&service.name, service.standbys.count);
                let there = self.desired.standbys(name);
                format!("`{name}` has {there} of {wanted} standbys: address_pool is used up, enlarge it")
            })
        };
        self.config.services.iter().filter_map(missing).collect()
    }
}
