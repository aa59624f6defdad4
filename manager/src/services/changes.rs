//! Changes of services at run time: one at a time, stored before they are in use.

use std::sync::{Mutex, MutexGuard, PoisonError};

use wire::service::ServiceSpec;
use wire::{PoolName, Problem};

use super::Services;
use crate::config::Service;
use crate::executor::Shared;
use crate::store::StoreError;

/// Defines the service that `spec` is, or defines it anew; it blocks while the disk does.
///
/// # Errors
///
/// What of it cannot be used or carried out, or that it cannot be stored; then nothing has changed.
pub fn put(services: &Mutex<Services>, shared: &Shared, spec: ServiceSpec) -> Result<(), Problem> {
    let mut services = lock(services);
    let (service, all) = services.with(spec)?;
    carry_out(&mut services, shared, all, |services| services.put(service))
}

/// Forgets what was put as `name`; it blocks while the disk does.
///
/// # Errors
///
/// 404 where there is none; 409 for one of the file, where what would be left does not fit, and in maintenance; 503 where
/// that cannot be stored.
pub fn remove(services: &Mutex<Services>, shared: &Shared, name: &PoolName) -> Result<(), Problem> {
    let mut services = lock(services);
    let all = services.without(name)?;
    carry_out(&mut services, shared, all, |services| services.remove(name))
}

/// Makes the service `name` again what it was before it was last put; it blocks while the disk does.
///
/// # Errors
///
/// 404 where there is no such service; 409 where there is nothing to go back to, and in maintenance; 503 where that
/// cannot be stored.
pub fn take_back(services: &Mutex<Services>, shared: &Shared, name: &PoolName) -> Result<(), Problem> {
    let mut services = lock(services);
    let (before, all) = services.before(name)?;
    carry_out(&mut services, shared, all, |services| match before {
        Some(before) => services.put_back(before),
        None => services.remove(name),
    })
}

/// Who holds them waits for the disk.
pub fn lock(services: &Mutex<Services>) -> MutexGuard<'_, Services> {
    services.lock().unwrap_or_else(PoisonError::into_inner)
}

fn carry_out(
    services: &mut Services,
    shared: &Shared,
    all: Vec<Service>,
    store: impl FnOnce(&mut Services) -> Result<(), StoreError>,
) -> Result<(), Problem> {
    shared.look(|engine, _| engine.check_services(&all))?;
    store(services).map_err(|error| Problem::unavailable(format!("that cannot be stored: {error}")))?;
    shared.ask(|engine, now| engine.set_services(now, all))
}
