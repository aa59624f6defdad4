//! Only one thing is done to a machine at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use wire::MachineId;

/// A lock for each machine there ever was: at most as many as the address pool has names for.
#[derive(Default)]
pub(crate) struct Locks(Mutex<BTreeMap<MachineId, Arc<AsyncMutex<()>>>>);

impl Locks {
    /// Waits until nothing else is being done to `machine`.
    pub(crate) async fn lock(&self, machine: &MachineId) -> OwnedMutexGuard<()> {
        self.of(machine).lock_owned().await
    }

    /// Whether nothing is being done to `machine` now.
    pub(crate) fn is_idle(&self, machine: &MachineId) -> bool {
        self.of(machine).try_lock().is_ok()
    }

    fn of(&self, machine: &MachineId) -> Arc<AsyncMutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.entry(machine.clone()).or_default().clone()
    }
}
