//! Changes of services at run time: one at a time, agreed on where all hosts have the same, and stored before they are in use.

use std::sync::{Mutex, MutexGuard, PoisonError};

use wire::service::ServiceSpec;
use wire::{PoolName, Problem};

use super::{Change, Services};
use crate::config::Service;
use crate::executor::Shared;

/// Defines the service that `spec` is, or defines it anew; it blocks while the disk does.
///
/// # Errors
///
/// What of it cannot be used or carried out, or that it cannot be stored; then nothing has changed.
pub fn put(services: &Mutex<Services>, shared: &Shared, spec: ServiceSpec) -> Result<(), Problem> {
    let mut services = begin(services, shared)?;
    let (service, all) = services.with(spec)?;
    carry_out(&mut services, shared, all, Change::Put(service))
}

/// Forgets what was put as `name`; it blocks while the disk does.
///
/// # Errors
///
/// 404 where there is none; 409 for one of the file, where what would be left does not fit, and in maintenance; 503 where
/// that cannot be stored.
pub fn remove(services: &Mutex<Services>, shared: &Shared, name: &PoolName) -> Result<(), Problem> {
    let mut services = begin(services, shared)?;
    let all = services.without(name)?;
    carry_out(&mut services, shared, all, Change::Remove(name.clone()))
}

/// Makes the service `name` again what it was before it was last put; it blocks while the disk does.
///
/// # Errors
///
/// 404 where there is no such service; 409 where there is nothing to go back to, and in maintenance; 503 where that
/// cannot be stored.
pub fn take_back(services: &Mutex<Services>, shared: &Shared, name: &PoolName) -> Result<(), Problem> {
    let mut services = begin(services, shared)?;
    let (before, all) = services.before(name)?;
    let change = before.map_or_else(|| Change::Remove(name.clone()), Change::PutBack);
    carry_out(&mut services, shared, all, change)
}

/// Who holds them waits for the disk.
pub fn lock(services: &Mutex<Services>) -> MutexGuard<'_, Services> {
    services.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The services as they are now, on all hosts where they are agreed on.
fn begin<'a>(services: &'a Mutex<Services>, shared: &Shared) -> Result<MutexGuard<'a, Services>, Problem> {
    let mut services = lock(services);
    if let Some(agreed) = services.agreed() {
        agreed.catch_up(&mut services, shared)?;
    }
    Ok(services)
}

fn carry_out(
    services: &mut Services,
    shared: &Shared,
    all: Vec<Service>,
    change: Change,
) -> Result<(), Problem> {
    shared.look(|engine, _| engine.check_services(&all))?;
    let agreed = services.agreed();
    let (rows, next) = (services.rows(), services.rows_after(&change));
    let agreement = match &agreed {
        Some(agreed) if rows != next => Some((agreed, agreed.agree(shared, next)?)),
        _ => None,
    };
    services
        .carry_out(change)
        .map_err(|error| Problem::unavailable(format!("that cannot be stored: {error}")))?;
    if let Some((agreed, agreement)) = agreement {
        agreed.note(shared, agreement);
    }
    shared.ask(|engine, now| engine.set_services(now, all))
}
