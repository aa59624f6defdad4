//! The services of this host: those of its file, and those that were put at run time, which are stored and outrank the
//! file's of the same name until they are taken away.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wire::balancing::Secret;
use wire::service::{ServiceOrigin, ServiceSpec, ServiceView};
use wire::{PoolName, Problem};

use crate::config::Config;
use crate::config::service::{Misfit, Service, check};
use crate::store::{Store, StoreError, Table};

/// One row for each service that was put.
const SERVICES: Table<Put> = Table::new("services");

/// A service as it is stored, with its secrets: the store is for its owner only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Put {
    spec: ServiceSpec,
}

/// Where services come from.
pub struct Services {
    store: Store,
    images: PathBuf,
    file: Vec<Service>,
    /// By name; changed only after the store was.
    put: BTreeMap<PoolName, Service>,
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
        let mut services = Services { store, images, file, put: BTreeMap::new() };
        for (name, Put { spec }) in stored {
            match services.checked(spec) {
                Ok(service) => _ = services.put.insert(service.name.clone(), service),
                Err(Misfit { field, message }) => {
                    tracing::error!(service = %name, "it was put at run time and is left out: {field}: {message}");
                }
            }
        }
        services
    }

    /// All of them: the file's in its order, then the others by name.
    pub fn all(&self) -> Vec<Service> {
        merged(&self.file, &self.put)
    }

    /// As people see them: without secrets, and with how many machines this host is to have.
    pub fn views(&self, desired: impl Fn(&PoolName) -> usize) -> Vec<ServiceView> {
        let view = |service: Service| {
            let is_put = self.put.contains_key(&service.name);
            ServiceView {
                origin: if is_put { ServiceOrigin::Put } else { ServiceOrigin::File },
                desired: desired(&service.name),
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
                return Err(Problem::not_found(format!("there is no service `{name}` on this host")));
            }
        }
        Ok(merged(&self.file, &put))
    }

    /// Stores `service`; it blocks while the disk does.
    ///
    /// # Errors
    ///
    /// When it cannot be stored; then nothing has changed.
    pub fn put(&mut self, service: Service) -> Result<(), StoreError> {
        self.store.put(&SERVICES, service.name.as_str(), &Put { spec: service.spec.clone() })?;
        self.put.insert(service.name.clone(), service);
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
        Ok(())
    }

    fn checked(&self, spec: ServiceSpec) -> Result<Service, Misfit> {
        let others: Vec<Service> = self.all().into_iter().filter(|other| other.name != spec.name).collect();
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
}
