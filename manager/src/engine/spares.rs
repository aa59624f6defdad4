//! Spares: machines that have booted and are nobody yet. Which of them becomes whom is the driver's business, whenever
//! it makes a machine; here is only decided how many are to wait, and when there is time to make them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use wire::PoolName;

use super::{Adoption, Command, Engine, Job, Outcome, Plan, SparesWanted, Time};

/// They are looked after this often.
const EVERY: Duration = Duration::from_secs(2);

/// A spare that could not be made is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// What is known of them.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Spares {
    /// How many wait for each service; nothing is known of what an earlier manager left until they were looked after once.
    waiting: Option<BTreeMap<PoolName, u32>>,
    /// When to look after them again.
    at: Time,
}

impl Engine {
    /// How many spares wait for machines of the service `name`, where there are to be any.
    pub fn spares_of(&self, name: &PoolName) -> Option<u32> {
        self.service(name).filter(|service| service.spares > 0)?;
        Some(self.spares.waiting.as_ref().and_then(|waiting| waiting.get(name)).copied().unwrap_or(0))
    }

    /// Has missing spares made while no machine is: those that clients wait for come first.
    pub(super) fn plan_spares(&mut self, now: Time, plan: &mut Plan) {
        if self.in_maintenance() || self.adoption != Adoption::Settled {
            return;
        }
        let services = self.config.services.iter().filter(|service| service.spares > 0);
        let wanted = services.map(|service| {
            let wanted = SparesWanted { count: service.spares, hardware: service.hardware.clone() };
            (service.name.clone(), wanted)
        });
        let wanted: BTreeMap<PoolName, SparesWanted> = wanted.collect();
        if wanted.is_empty() && self.spares.waiting.as_ref().is_some_and(BTreeMap::is_empty) {
            return;
        }
        if now < self.spares.at {
            return plan.wake_by(self.spares.at, "look after the spares");
        }
        self.machines.settle(now);
        // The end of a boot has all of this looked at again.
        if !self.machines.any_booting() {
            self.start(now, Job::KeepSpares, Command::KeepSpares(wanted), plan);
        }
    }

    pub(super) fn spares_kept(&mut self, now: Time, outcome: Outcome) {
        match outcome {
            Outcome::Spares(waiting) => {
                self.spares.waiting = Some(waiting);
                self.spares.at = now + EVERY;
            }
            Outcome::Failed(reason) => {
                self.spares.at = now + AGAIN;
                let host = self.config.name.to_string();
                self.trouble(now, "spares.failed", host, format!("there are too few spares: {reason}"));
            }
            _ => {}
        }
    }

    /// A machine of `service` was made: there may be one spare less.
    pub(super) fn spare_may_be_used(&mut self, now: Time, service: &PoolName) {
        if let Some(waiting) = self.spares.waiting.as_mut().and_then(|waiting| waiting.get_mut(service)) {
            *waiting = waiting.saturating_sub(1);
            self.spares.at = now;
        }
    }
}
