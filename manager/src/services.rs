//! The services of this host: those of its file, and those that were put at run time, which are stored and outrank the
//! file's of the same name until they are taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use kit::guess;
use serde::{Deserialize, Serialize};
use wire::autoscale::ScalingView;
use wire::balancing::Secret;
use wire::placement::ServicePlacement;
use wire::pools::PoolHealth;
use wire::service::{RolloutView, ServiceOrigin, ServiceSpec, ServiceView};
use wire::{PoolName, Problem};

use self::agreed::Agreed;
use crate::config::service::{Misfit, Service, check, fits};
use crate::config::{Config, Hypervisor};
use crate::store::{Store, StoreError, Table};

pub mod agreed;
pub mod changes;
mod etcd;

/// One row for each service that was put.
const SERVICES: Table<Put> = Table::new("services");

/// A service as it is stored, with its secrets: the store is for its owner only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Put {
    spec: ServiceSpec,
    /// What was put before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<ServiceSpec>,
}

/// What is known of a service now, besides its definition.
#[derive(Clone, Debug, Default)]
pub struct ServiceNow {
    /// How many machines this host is to have.
    pub desired: usize,
    /// Of one with a `total`: where its machines are.
    pub placement: Option<ServicePlacement>,
    /// How far this host is with building its machines anew.
    pub rollout: Option<RolloutView>,
    /// How many spares wait, where there are to be any.
    pub spares: Option<u32>,
    /// How many machines there are over all hosts and why, where that follows the load.
    pub scaling: Option<ScalingView>,
    /// Of one that this host's balancer checks: how its machines or servers are.
    pub health: Option<PoolHealth>,
}

/// Where services come from.
pub struct Services {
    store: Store,
    images: PathBuf,
    hypervisor: Hypervisor,
    /// Where the balancer takes requests.
    ports: BTreeSet<u16>,
    file: Vec<Service>,
    /// By name; changed only after the store was.
    put: BTreeMap<PoolName, Service>,
    /// What was put before those, where something was.
    before: BTreeMap<PoolName, ServiceSpec>,
    /// What was put and does not fit here: other hosts may have it.
    left_out: BTreeMap<String, Put>,
    /// Where that is kept for all hosts, if it is.
    agreed: Option<Arc<Agreed>>,
}

/// What is to become of one that is put.
pub(crate) enum Change {
    /// It is this; what it was can be gone back to.
    Put(Service),
    /// It is this, which it was before: there is no way further back.
    PutBack(Service),
    /// It is not there.
    Remove(PoolName),
}

impl Services {
    /// Those of `config` and of the store. What was put and does not fit the file any more is left out, and that is
    /// logged.
    pub fn open(config: &Config, store: Store) -> Self {
        let stored = store.all(&SERVICES).unwrap_or_else(|error| {
            tracing::error!("services that were put at run time cannot be read: {error}");
            BTreeMap::new()
        });
        let (images, file) = (config.images.clone(), config.services.clone());
        let hypervisor = config.hypervisor;
        let ports = config.request_ports();
        Services {
            store,
            images,
            hypervisor,
            ports,
            file,
            put: BTreeMap::new(),
            before: BTreeMap::new(),
            left_out: BTreeMap::new(),
            agreed: None,
        }
        .of_rows(stored)
    }

    /// Keeps what is put for all hosts, as `agreed` says.
    pub fn agree(&mut self, agreed: Option<Arc<Agreed>>) {
        self.agreed = agreed;
    }

    /// Those of the file, and of `stored` what fits.
    pub(crate) fn of_rows(&self, stored: BTreeMap<String, Put>) -> Self {
        let mut services = Services {
            store: self.store.clone(),
            images: self.images.clone(),
            hypervisor: self.hypervisor,
            ports: self.ports.clone(),
            file: self.file.clone(),
            put: BTreeMap::new(),
            before: BTreeMap::new(),
            left_out: BTreeMap::new(),
            agreed: self.agreed.clone(),
        };
        // A service of the file that one of them outranks is in nobody's way.
        let is_outranked = |service: &&Service| stored.contains_key(service.name.as_str());
        let mut others: Vec<Service> =
            services.file.iter().filter(|service| !is_outranked(service)).cloned().collect();
        for (name, Put { spec, before }) in stored.clone() {
            let checked = fits(&spec, self.hypervisor, &services.ports);
            let checked = checked.and_then(|()| check(spec.clone(), &services.images, &others));
            match checked {
                Ok(service) => {
                    services.before.extend(before.map(|before| (service.name.clone(), before)));
                    others.push(service.clone());
                    services.put.insert(service.name.clone(), service);
                }
                Err(Misfit { field, message }) => {
                    tracing::error!(service = %name, "it was put at run time and is left out: {field}: {message}");
                    services.left_out.insert(name, Put { spec, before });
                }
            }
        }
        services
    }

    /// All of them: the file's in its order, then the others by name.
    pub fn all(&self) -> Vec<Service> {
        merged(&self.file, &self.put)
    }

    /// As people see them: without secrets, and with what is known of each now.
    pub fn views(&self, now: impl Fn(&PoolName) -> ServiceNow) -> Vec<ServiceView> {
        let view = |service: Service| {
            let is_put = self.put.contains_key(&service.name);
            let ServiceNow { desired, placement, rollout, spares, scaling, health } = now(&service.name);
            ServiceView {
                origin: if is_put { ServiceOrigin::Put } else { ServiceOrigin::File },
                desired,
                placement,
                rollout,
                spares,
                scaling,
                health,
                spec: service.spec.without_secrets(),
            }
        };
        self.all().into_iter().map(view).collect()
    }

    /// The service that `spec` is, and what all services would be with it.
    ///
    /// # Errors
    ///
    /// What of it cannot be used; and files of this host that it names, which only its own file may.
    pub fn with(&self, mut spec: ServiceSpec) -> Result<(Service, Vec<Service>), Problem> {
        if spec.image.as_deref().is_some_and(|image| image.file_name() != Some(image.as_os_str())) {
            let detail = "expected the name of an image in this host's directory of images";
            return Err(Problem::bad_parameter("image", detail));
        }
        if spec.user_data.is_some() {
            let detail = "files of this host are named in its own file only";
            return Err(Problem::bad_parameter("user_data", detail));
        }
        if let Some(before) = self.all().iter().find(|known| known.name == spec.name) {
            keep_hidden(&mut spec, &before.spec);
        }
        self.with_checked(spec)
    }

    fn with_checked(&self, spec: ServiceSpec) -> Result<(Service, Vec<Service>), Problem> {
        let service = self.checked(spec).map_err(|misfit| misfit.problem())?;
        let mut put = self.put.clone();
        put.insert(service.name.clone(), service.clone());
        Ok((service, merged(&self.file, &put)))
    }

    /// What all services would be when what was put as `name` is taken away.
    ///
    /// # Errors
    ///
    /// 404 where there is none; 409 for one of the file, and where the file's of that name does not fit the others.
    pub fn without(&self, name: &PoolName) -> Result<Vec<Service>, Problem> {
        let in_file = self.file.iter().find(|service| service.name == *name);
        let mut put = self.put.clone();
        match (put.remove(name), in_file) {
            (Some(_), None) => {}
            (Some(_), Some(service)) => {
                let others: Vec<Service> =
                    merged(&self.file, &put).into_iter().filter(|other| other.name != *name).collect();
                check(service.spec.clone(), &self.images, &others).map_err(|misfit| {
                    Problem::conflict(format!(
                        "the `{name}` of this manager's file would be back, but: {}",
                        misfit.message
                    ))
                })?;
            }
            (None, Some(_)) => {
                return Err(Problem::conflict(format!(
                    "`{name}` is in this manager's file: take it out there and restart the manager"
                )));
            }
            (None, None) => {
                return Err(self.no_service(name));
            }
        }
        Ok(merged(&self.file, &put))
    }

    /// 404: this host has no service `name`; perhaps another one is meant.
    pub fn no_service(&self, name: &PoolName) -> Problem {
        let all = self
            .file
            .iter()
            .map(|service| service.name.as_str())
            .chain(self.put.keys().map(|name| name.as_str()));
        let guess = guess::question(name.as_str(), all);
        let remedy =
            if guess.is_empty() { "; `manager service ls` shows those that there are" } else { &guess };
        let detail = format!("there is no service `{name}` on this host{remedy}");
        Problem { parameter: Some("name".to_owned()), ..Problem::not_found(detail) }
    }

    /// What service `name` was before it was last put, and what all services would be with that; none of it where only
    /// the file has it then.
    ///
    /// # Errors
    ///
    /// 404 where there is no such service, 409 where there is nothing to go back to.
    pub fn before(&self, name: &PoolName) -> Result<(Option<Service>, Vec<Service>), Problem> {
        let is_in_file = self.file.iter().any(|service| service.name == *name);
        match (self.put.contains_key(name), self.before.get(name)) {
            (true, Some(before)) => {
                let (service, all) = self.with_checked(before.clone())?;
                Ok((Some(service), all))
            }
            (true, None) if !is_in_file => {
                let detail =
                    format!("`{name}` was nothing before, or was taken back already: `manager service rm`");
                Err(Problem::conflict(detail))
            }
            (false, _) if is_in_file => {
                Err(Problem::conflict(format!("`{name}` is as this manager's file has it")))
            }
            _ => Ok((None, self.without(name)?)),
        }
    }

    /// Where what is put is kept for all hosts, if it is.
    pub(crate) fn agreed(&self) -> Option<Arc<Agreed>> {
        self.agreed.clone()
    }

    /// All that is put, as it is stored.
    pub(crate) fn rows(&self) -> BTreeMap<String, Put> {
        let row = |service: &Service| Put {
            spec: service.spec.clone(),
            before: self.before.get(&service.name).cloned(),
        };
        let mut rows = self.left_out.clone();
        rows.extend(self.put.values().map(|service| (service.name.to_string(), row(service))));
        rows
    }

    /// The same after `change`.
    pub(crate) fn rows_after(&self, change: &Change) -> BTreeMap<String, Put> {
        let mut rows = self.rows();
        match change {
            Change::Put(service) => {
                let was = self.put.get(&service.name).map(|known| known.spec.clone());
                if was.as_ref() != Some(&service.spec) {
                    let put = Put { spec: service.spec.clone(), before: was };
                    rows.insert(service.name.to_string(), put);
                }
            }
            Change::PutBack(service) => {
                rows.insert(service.name.to_string(), Put { spec: service.spec.clone(), before: None });
            }
            Change::Remove(name) => _ = rows.remove(name.as_str()),
        }
        rows
    }

    /// Carries `change` out; it blocks while the disk does.
    ///
    /// # Errors
    ///
    /// When it cannot be stored; then nothing has changed.
    pub(crate) fn carry_out(&mut self, change: Change) -> Result<(), StoreError> {
        match change {
            Change::Put(service) => self.put(service),
            Change::PutBack(service) => self.put_back(service),
            Change::Remove(name) => self.remove(&name),
        }
    }

    /// Stores what `next` has in the place of what these have; it blocks while the disk does.
    ///
    /// # Errors
    ///
    /// When something cannot be stored: what was stored before it stays so.
    pub(crate) fn replace(&mut self, next: Services) -> Result<(), StoreError> {
        let gone: Vec<PoolName> =
            self.put.keys().filter(|name| !next.put.contains_key(*name)).cloned().collect();
        for name in gone {
            self.remove(&name)?;
        }
        self.left_out = next.left_out;
        for (name, service) in next.put {
            let before = next.before.get(&name).cloned();
            let is_known = self.put.get(&name).is_some_and(|known| known.spec == service.spec);
            if !is_known || self.before.get(&name) != before.as_ref() {
                self.store(service, before)?;
            }
        }
        Ok(())
    }

    /// Stores `service`, and what it takes the place of; it blocks while the disk does. One that is the same changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be stored; then nothing has changed.
    pub fn put(&mut self, service: Service) -> Result<(), StoreError> {
        let before = self.put.get(&service.name).map(|known| known.spec.clone());
        if before.as_ref() == Some(&service.spec) {
            return Ok(());
        }
        self.store(service, before)
    }

    /// Stores `service`, which was before: there is no way further back.
    ///
    /// # Errors
    ///
    /// As [`Services::put`].
    pub fn put_back(&mut self, service: Service) -> Result<(), StoreError> {
        self.store(service, None)
    }

    fn store(&mut self, service: Service, before: Option<ServiceSpec>) -> Result<(), StoreError> {
        let name = service.name.clone();
        self.store.put(
            &SERVICES,
            name.as_str(),
            &Put { spec: service.spec.clone(), before: before.clone() },
        )?;
        self.before.remove(&name);
        self.before.extend(before.map(|before| (name.clone(), before)));
        self.put.insert(name, service);
        Ok(())
    }

    /// Forgets what was put as `name`; it blocks while the disk does.
    ///
    /// # Errors
    ///
    /// When that cannot be stored; then nothing has changed.
    pub fn remove(&mut self, name: &PoolName) -> Result<(), StoreError> {
        self.store.remove(&SERVICES, name.as_str())?;
        self.put.remove(name);
        self.before.remove(name);
        Ok(())
    }

    fn checked(&self, spec: ServiceSpec) -> Result<Service, Misfit> {
        let others: Vec<Service> = self.all().into_iter().filter(|other| other.name != spec.name).collect();
        fits(&spec, self.hypervisor, &self.ports)?;
        check(spec, &self.images, &others)
    }
}

fn merged(file: &[Service], put: &BTreeMap<PoolName, Service>) -> Vec<Service> {
    let own = file.iter().map(|service| put.get(&service.name).unwrap_or(service));
    let further = put.values().filter(|service| file.iter().all(|known| known.name != service.name));
    own.chain(further).cloned().collect()
}

/// Who changes what was shown gives secrets back as they were shown: then they stay what they are.
fn keep_hidden(spec: &mut ServiceSpec, before: &ServiceSpec) {
    let keep = |value: &mut Secret, known: Option<&Secret>| {
        if value.0 == Secret::HIDDEN
            && let Some(known) = known
        {
            value.clone_from(known);
        }
    };
    for (name, value) in &mut spec.environment {
        keep(value, before.environment.get(name));
    }
    for (name, secret) in &mut spec.secrets {
        if let Some(value) = &mut secret.value {
            keep(value, before.secrets.get(name).and_then(|known| known.value.as_ref()));
        }
    }
    let password = |probe: &ServiceSpec| probe.readiness.as_ref()?.password.as_ref()?.value.clone();
    let known = password(before);
    let given = spec.readiness.as_mut().and_then(|probe| probe.password.as_mut());
    if let Some(value) = given.and_then(|password| password.value.as_mut()) {
        keep(value, known.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use kit::config::Source;

    use super::*;

    fn opened(store: &Store) -> Services {
        let text = "name = \"a\"\naddress = \"192.168.10.1\"\ngateway = \"192.168.10.1\"\nhypervisor = \"namespaces\"\n\
                    address_pool = [\"192.168.10.10-192.168.10.16\"]\n\
                    [[service]]\nname = \"shop\"\nreplicas = 1\n[[service.route]]\nhosts = [\"shop.example\"]\n";
        let config = Config::check(&Source::from_text("a.toml", text)).expect("valid");
        Services::open(&config, store.clone())
    }

    fn spec(name: &str, more: &str) -> ServiceSpec {
        serde_json::from_str(&format!("{{\"name\": \"{name}\", \"replicas\": 1{more}}}")).expect("a spec")
    }

    fn put(services: &mut Services, spec: ServiceSpec) {
        let (service, _) = services.with(spec).expect("it fits");
        services.put(service).expect("stored");
    }

    /// Name and port of each.
    fn ports(services: &[Service]) -> Vec<String> {
        services.iter().map(|service| format!("{} {}", service.name, service.port)).collect()
    }

    #[test]
    fn what_was_put_outranks_the_file_until_it_is_taken_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let mut services = opened(&store);
        put(&mut services, spec("shop", ", \"port\": 81"));
        put(&mut services, spec("api", ", \"port\": 82, \"route\": [{\"hosts\": [\"shop.example\"]}]"));
        assert_eq!(ports(&services.all()), ["shop 81", "api 82"]);
        assert_eq!(ports(&opened(&store).all()), ["shop 81", "api 82"], "as after a restart");
        // The file's own would want what `api` answers for meanwhile.
        let refused = services.without(&"shop".into()).expect_err("they do not fit");
        assert!(refused.detail.contains("answered for by the service `api`"), "{refused:?}");
        services.remove(&"api".into()).expect("stored");
        assert_eq!(ports(&services.without(&"shop".into()).expect("fine")), ["shop 8080"]);
        services.remove(&"shop".into()).expect("stored");
        assert_eq!(services.without(&"shop".into()).expect_err("in the file").status, 409);
        assert_eq!(services.without(&"none".into()).expect_err("unknown").status, 404);
        assert_eq!(ports(&opened(&store).all()), ["shop 8080"]);
    }

    #[test]
    fn there_is_one_way_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let mut services = opened(&store);
        let (shop, api): (PoolName, PoolName) = ("shop".into(), "api".into());
        assert_eq!(services.before(&shop).expect_err("as in the file").status, 409);
        assert_eq!(services.before(&api).expect_err("unknown").status, 404);
        put(&mut services, spec("shop", ", \"port\": 81"));
        let (before, all) = services.before(&shop).expect("the file's");
        assert_eq!((before, ports(&all)), (None, vec!["shop 8080".to_owned()]));
        put(&mut services, spec("api", ""));
        assert_eq!(services.before(&api).expect_err("it was nothing before").status, 409);

        let secret = |value: &str| format!(", \"environment\": {{\"KEY\": \"{value}\"}}");
        put(&mut services, spec("api", &secret("planted")));
        // The same again is no change, and neither is a secret as it is shown.
        put(&mut services, spec("api", &secret(Secret::HIDDEN)));
        put(&mut services, spec("api", &format!("{}, \"port\": 83", secret(Secret::HIDDEN))));
        let mut services = opened(&store);
        let (before, all) = services.before(&api).expect("the one before");
        assert_eq!(ports(&all), ["shop 81", "api 8080"]);
        let before = before.expect("it was put");
        assert_eq!(before.spec.environment["KEY"].0, "planted", "secrets come back too");
        services.put_back(before).expect("stored");
        assert_eq!(services.before(&api).expect_err("only one").status, 409);
        let shown = serde_json::to_string(&services.views(|_| ServiceNow::default())).expect("JSON");
        assert!(shown.contains("KEY") && !shown.contains("planted"), "{shown}");
    }

    #[test]
    fn files_of_the_host_are_named_by_nobody_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let services = opened(&Store::open(directory.path()).expect("a store"));
        for (more, field) in [
            (", \"image\": \"/etc/shadow\"", "image"),
            (", \"image\": \"../x\"", "image"),
            (", \"user_data\": \"x\"", "user_data"),
            (", \"program\": \"../../bin/sh\"", "program"),
            (", \"secrets\": {\"key\": {\"file\": \"/etc/shadow\"}}", "secrets.key"),
            (", \"error_pages\": {\"503\": {\"file\": \"/etc/shadow\"}}", "error_pages.503.file"),
        ] {
            let refused = services.with(spec("api", more)).expect_err(more);
            assert_eq!(refused.parameter.as_deref(), Some(field), "{more}: {refused:?}");
        }
    }
}
