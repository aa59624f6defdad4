//! What the host's services are to the engine: facts of them that are needed over and over, and their change at run
//! time.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::cluster::AgreedView;
use wire::{MachineId, PoolName, Problem};

use super::desired::Others;
use super::{Desired, Engine, Life, Machine, Severity, Time, Upstreams};
use crate::config::{Config, Service};

/// Some facts of each service whose machines this host has.
#[derive(Clone, Debug, Default)]
pub(super) struct Services(BTreeMap<PoolName, Facts>);

#[derive(Clone, Copy, Debug)]
struct Facts {
    port: u16,
    silence: Option<Duration>,
}

impl Services {
    /// Those of `services`.
    pub(super) fn of(services: &[Service]) -> Self {
        let facts = |service: &Service| Facts { port: service.port, silence: service.liveness.silence() };
        Services(services.iter().map(|service| (service.name.clone(), facts(service))).collect())
    }

    /// Those of `newer` too. Machines of services that are gone are still being taken away.
    pub(super) fn extend(&mut self, newer: Services) {
        self.0.extend(newer.0);
    }

    /// Where the machines of `service` answer.
    pub(super) fn port(&self, service: &PoolName) -> Option<u16> {
        self.0.get(service).map(|facts| facts.port)
    }

    /// After how long a silence its machines are suspected; `by_default` where heartbeats tell.
    pub(super) fn silence(&self, service: &PoolName, by_default: Duration) -> Duration {
        self.0.get(service).and_then(|facts| facts.silence).unwrap_or(by_default)
    }
}

impl Engine {
    /// What people are to know of services that all hosts agree on.
    pub fn show_agreed(&mut self, agreed: AgreedView) {
        let host = self.config.name.to_string();
        let before = self.agreed.replace(agreed);
        let is_frozen = self.agreed.as_ref().is_some_and(|agreed| agreed.frozen.is_some());
        match (before.is_some_and(|before| before.frozen.is_some()), is_frozen) {
            (false, true) => {
                let message = "no member of etcd answers with a quorum: edits are refused".to_owned();
                self.note(Severity::Error, "services.frozen", host, message);
            }
            (true, false) => {
                let message = "etcd answers: services can be changed again".to_owned();
                self.note(Severity::Info, "services.thawed", host, message);
            }
            _ => {}
        }
    }

    /// What people are told of it.
    pub(super) fn agreed_warnings(&self) -> impl Iterator<Item = String> {
        let told = self.agreed.iter().flat_map(|agreed| {
            let generation = agreed.generation;
            let frozen = agreed.frozen.as_ref().map(|reason| {
                format!(
                    "services are frozen as generation {generation} has them: no member of etcd answers with a quorum \
                     ({reason}). Machines, balancers and addresses go on; edits of services are refused until it does"
                )
            });
            let behind = agreed.behind.as_ref().map(|reason| {
                format!(
                    "services are those of generation {generation} here, and all hosts agreed on a later one: this one \
                     cannot follow ({reason})"
                )
            });
            [frozen, behind]
        });
        told.flatten()
    }

    /// How many machines of the service `name` this host is to have.
    pub fn desired_of(&self, name: &PoolName) -> usize {
        self.desired.count(name)
    }

    /// Whether `services` could take the place of those there are.
    ///
    /// # Errors
    ///
    /// 409 when the address pool has no room for their machines, and in maintenance.
    pub fn check_services(&self, services: &[Service]) -> Result<(), Problem> {
        self.with_services(services).map(drop)
    }

    /// `services` take the place of those there are. Machines that nobody wants any more are drained; those that stay
    /// stay as they are until they are built anew.
    ///
    /// # Errors
    ///
    /// As [`Engine::check_services`].
    pub fn set_services(&mut self, now: Time, services: Vec<Service>) -> Result<(), Problem> {
        self.check_services(&services)?;
        let changed: Vec<(PoolName, Option<u32>)> = services
            .iter()
            .filter_map(|service| {
                let was = self.service(&service.name).filter(|was| *was != service)?;
                let replicas = (was.replicas != service.replicas).then_some(service.replicas);
                Some((service.name.clone(), replicas))
            })
            .collect();
        for (name, replicas) in &changed {
            self.redefined(now, name, *replicas);
        }
        let changed: Vec<PoolName> = changed.into_iter().map(|(name, _)| name).collect();
        *self.desired = self.with_services(&services)?;
        self.machines.set_services(Services::of(&services));
        self.upstreams = Upstreams::new(self.config.name.clone(), &services);
        self.config.services = services;
        let host = self.config.name.clone();
        let slots = self.desired.slots(&host);
        let is_slot = |id: &MachineId| slots.iter().any(|slot| slot.id == *id);
        let surplus: Vec<MachineId> = self
            .machines
            .iter()
            .filter(|(id, machine)| machine.wanted && !is_slot(id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in surplus {
            self.dismiss(now, &id, "its service has changed");
        }
        self.try_anew(now, &changed);
        for slot in slots {
            if self.machines.get(&slot.id).is_none() {
                let duty = self.desired.duty(&self.config, &slot.id);
                self.machines.insert(slot.id.clone(), Machine { duty, ..Machine::waiting(slot, now) });
            }
        }
        self.order_duties();
        Ok(())
    }

    /// What machines of `changed` services died of may be over with their former definition.
    fn try_anew(&mut self, now: Time, changed: &[PoolName]) {
        let is_changed = |machine: &&Machine| changed.contains(&machine.slot.service) && machine.deaths > 0;
        let ids: Vec<MachineId> =
            self.machines.values().filter(is_changed).map(|machine| machine.slot.id.clone()).collect();
        for id in ids {
            let Some(machine) = self.machines.get_mut(&id) else { continue };
            machine.deaths = 0;
            match &mut machine.life {
                Life::Waiting { not_before: at } | Life::Dead { rebuild_at: at, .. } => *at = now,
                Life::Booting { .. } | Life::Ready { .. } | Life::Suspect { .. } | Life::Draining { .. } => {}
            }
        }
    }

    fn with_services(&self, services: &[Service]) -> Result<Desired, Problem> {
        self.refuse_in_maintenance()?;
        let config = Config { services: services.to_vec(), ..self.config.clone() };
        let mut desired = Desired::clone(&self.desired);
        let others = Others {
            has_id: &|id| self.machines.get(id).is_some(),
            has_address: &|address| {
                self.foreign.contains_key(&address)
                    || self.machines.values().any(|machine| machine.slot.address == address)
            },
        };
        let short = desired.follow(&config, &others);
        match short {
            0 => Ok(desired),
            short => Err(Problem::conflict(format!(
                "address_pool of this host has {short} addresses too few for all machines: ask for fewer `replicas` or `standbys`, \
                 or enlarge it"
            ))),
        }
    }
}
