//! Tells of the end of each machine, once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::{Incarnation, MachineId};

use super::process::Process;
use crate::ports::hypervisor::{Exit, Exits};

/// The machines whose end is awaited.
#[derive(Clone)]
pub(crate) struct Watched {
    exits: Exits,
    /// By machine, the build and the process.
    processes: Arc<Mutex<BTreeMap<MachineId, (Incarnation, i32)>>>,
}

impl Watched {
    pub(crate) fn new(exits: Exits) -> Self {
        Watched { exits, processes: Arc::default() }
    }

    /// Tells of the end of `process`, which is what build `incarnation` of `machine` runs in. One that is
    /// watched already is not watched twice.
    pub(crate) fn watch(&self, machine: &MachineId, incarnation: Incarnation, process: Process) {
        let build = (incarnation, process.pid());
        {
            let mut processes = self.lock();
            if processes.get(machine) == Some(&build) {
                return;
            }
            processes.insert(machine.clone(), build);
        }
        let (watched, machine) = (self.clone(), machine.clone());
        tokio::spawn(async move {
            let reason = match process.ended().await {
                Ok(()) => "its process ended".to_owned(),
                Err(error) => format!("its process cannot be watched: {error}"),
            };
            watched.tell(&machine, build, reason);
        });
    }

    /// Tells that `machine` ended, as somebody else says of the build that `is_it`. Nothing happens if
    /// that is not the build that is watched, or its end was told already.
    pub(crate) fn ended(&self, machine: &MachineId, reason: &str, is_it: impl FnOnce(Incarnation) -> bool) {
        let held = self.lock().get(machine).copied();
        if let Some(build) = held.filter(|(incarnation, _)| is_it(*incarnation)) {
            self.tell(machine, build, reason.to_owned());
        }
    }

    fn tell(&self, machine: &MachineId, build: (Incarnation, i32), reason: String) {
        let mut processes = self.lock();
        if processes.get(machine) == Some(&build) {
            processes.remove(machine);
            // Nobody listens any more only when the manager ends.
            let _ = self.exits.send(Exit { machine: machine.clone(), incarnation: build.0, reason });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MachineId, (Incarnation, i32)>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
