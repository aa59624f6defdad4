//! Machines without virtualization: each is a process, network, mount and host-name namespace with an
//! init of its own, and its own address and MAC on the host's bridge.
//!
//! ```text
//!   manager ── create ──▶ boot (a child of the manager, ends at once)
//!                           │ makes the namespaces and the cable to the bridge
//!                           └──▶ init (process 1 of the machine) ──▶ stateless, or lb run
//!   manager ◀── pidfd ──────────────┘
//! ```
//!
//! The process table is the driver's memory: an init is known by its command line, which names the
//! machine's directory, and in that directory lies what the machine is for. So a restarted manager
//! finds all its machines, and there is no pid file that could lie.

mod boot;
mod files;
mod init;
mod network;
mod processes;
mod spawn;

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::time::timeout;
use wire::cluster::FaultKind;
use wire::{Incarnation, MachineId};

pub use boot::{BootArgs, boot};
pub use init::{InitArgs, init};

use super::hypervisor::{Exit, Exits, Hypervisor, HypervisorError};
use crate::config::Config;
use crate::engine::{MachineSpec, ObservedMachine};
use files::Files;
use network::Network;
use processes::Init;

/// The hidden subcommand of the manager under which boot and init run; also how inits are recognised.
pub const SUBCOMMAND: &str = "namespace-machine";

/// A machine that was asked to end has so long.
const SHUTDOWN_TIME: Duration = Duration::from_secs(14);

/// A killed machine's processes are gone within this, or it counts as not fenced.
const FENCE_TIME: Duration = Duration::from_secs(5);

/// Making a machine takes milliseconds; after this something is wrong.
const BOOT_TIME: Duration = Duration::from_secs(20);

/// The driver.
pub struct Namespaces {
    bridge: String,
    programs: PathBuf,
    /// The program that has the [`SUBCOMMAND`].
    manager: PathBuf,
    machines: PathBuf,
    network: Network,
    exits: Exits,
    /// Inits whose end is awaited: by machine, the incarnation and the process.
    watched: Arc<Mutex<BTreeMap<MachineId, (Incarnation, i32)>>>,
    /// Only one thing is done to a machine at a time.
    locks: Mutex<BTreeMap<MachineId, Arc<tokio::sync::Mutex<()>>>>,
}

impl Namespaces {
    /// The driver for the machines of the host that `config` describes. Tells of ends on `exits`.
    ///
    /// # Errors
    ///
    /// When the state directory cannot be made, or the host's network cannot be asked.
    pub fn new(config: &Config, exits: Exits) -> Result<Self, HypervisorError> {
        let machines = config.state_dir.join("machines");
        std::fs::create_dir_all(&machines)
            .map_err(|error| HypervisorError::Failed(format!("{}: {error}", machines.display())))?;
        Ok(Namespaces {
            bridge: config.bridge.clone(),
            programs: config.programs.clone(),
            manager: std::env::current_exe().map_err(failed)?,
            machines,
            network: Network::new().map_err(failed)?,
            exits,
            watched: Arc::default(),
            locks: Mutex::default(),
        })
    }

    /// Has machines made by the manager's program at `path`, for a driver that runs in another program.
    #[must_use]
    pub fn with_manager(mut self, path: PathBuf) -> Self {
        self.manager = path;
        self
    }

    fn files(&self, machine: &MachineId) -> Files {
        Files::of(&self.machines, machine)
    }

    fn lock_of(&self, machine: &MachineId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.entry(machine.clone()).or_default().clone()
    }

    fn init_of(&self, machine: &MachineId) -> Result<Init, HypervisorError> {
        Init::find(&self.files(machine).directory).map_err(failed)?.ok_or(HypervisorError::NotRunning)
    }

    /// Tells of the end of `init`, once.
    fn watch(&self, machine: &MachineId, incarnation: Incarnation, init: Init) {
        let pid = init.pid();
        {
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            if watched.get(machine) == Some(&(incarnation, pid)) {
                return;
            }
            watched.insert(machine.clone(), (incarnation, pid));
        }
        let (machine, exits, watched) = (machine.clone(), self.exits.clone(), Arc::clone(&self.watched));
        tokio::spawn(async move {
            let reason = match init.ended().await {
                Ok(()) => "its init ended".to_owned(),
                Err(error) => format!("its init cannot be watched: {error}"),
            };
            let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
            if watched.get(&machine) == Some(&(incarnation, pid)) {
                watched.remove(&machine);
            }
            // Nobody listens any more only when the manager ends.
            let _ = exits.send(Exit { machine, incarnation, reason });
        });
    }
}

#[async_trait]
impl Hypervisor for Namespaces {
    async fn list(&self) -> Result<Vec<ObservedMachine>, HypervisorError> {
        let mut machines = Vec::new();
        for id in files::list(&self.machines).map_err(failed)? {
            let files = self.files(&id);
            let Ok(purpose) = files.purpose() else {
                // A manager died while it made this one: it is for nothing yet.
                if self.lock_of(&id).try_lock().is_ok() && files.is_stale() {
                    tracing::warn!(machine = %id, "removing what an interrupted creation left");
                    self.destroy(&id).await?;
                }
                continue;
            };
            let init = Init::find(&files.directory).map_err(failed)?;
            let running = init.is_some();
            if let Some(init) = init {
                self.watch(&id, purpose.incarnation, init);
            }
            machines.push(ObservedMachine { purpose, running });
        }
        Ok(machines)
    }

    async fn create(&self, spec: &MachineSpec) -> Result<(), HypervisorError> {
        let id = &spec.purpose.id;
        let lock = self.lock_of(id);
        let _only = lock.lock().await;
        let files = self.files(id);
        files.create(spec).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => HypervisorError::Exists,
            _ => HypervisorError::Failed(format!("{}: {error}", files.directory.display())),
        })?;
        let program = self.programs.join(&spec.seed.program);
        if !program.is_file() {
            return Err(HypervisorError::Failed(format!(
                "there is no program {}: set `programs` to the directory it is in",
                program.display()
            )));
        }
        let boot = Command::new(&self.manager)
            .args([SUBCOMMAND, "boot"])
            .arg("--directory")
            .arg(&files.directory)
            .arg("--bridge")
            .arg(&self.bridge)
            .arg("--program")
            .arg(&program)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(BOOT_TIME, boot)
            .await
            .map_err(|_| HypervisorError::Failed(format!("not made within {} s", BOOT_TIME.as_secs())))?
            .map_err(failed)?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            return Err(HypervisorError::Failed(reason.trim().to_owned()));
        }
        let init = self.init_of(id)?;
        self.watch(id, spec.purpose.incarnation, init);
        Ok(())
    }

    async fn shutdown(&self, machine: &MachineId) -> Result<(), HypervisorError> {
        let init = self.init_of(machine)?;
        init.signal(Signal::SIGTERM).map_err(failed)?;
        match timeout(SHUTDOWN_TIME, init.ended()).await {
            Ok(ended) => ended.map_err(failed),
            Err(_) => Err(HypervisorError::Failed(format!("it runs on after {} s", SHUTDOWN_TIME.as_secs()))),
        }
    }

    async fn destroy(&self, machine: &MachineId) -> Result<(), HypervisorError> {
        let lock = self.lock_of(machine);
        let _only = lock.lock().await;
        let files = self.files(machine);
        if let Ok(purpose) = files.purpose() {
            let port = network::port_name(purpose.address);
            self.network.remove_port(&port).await.map_err(|error| {
                HypervisorError::NotFenced(format!("its port {port} cannot be removed: {error}"))
            })?;
        }
        while let Some(init) = Init::find(&files.directory).map_err(failed)? {
            init.signal(Signal::SIGKILL).map_err(failed)?;
            match timeout(FENCE_TIME, init.ended()).await {
                Ok(ended) => ended.map_err(failed)?,
                Err(_) => {
                    let reason =
                        format!("process {} lives {} s after SIGKILL", init.pid(), FENCE_TIME.as_secs());
                    return Err(HypervisorError::NotFenced(reason));
                }
            }
        }
        files
            .remove()
            .map_err(|error| HypervisorError::NotFenced(format!("{}: {error}", files.directory.display())))
    }

    async fn inject(&self, machine: &MachineId, fault: FaultKind) -> Result<(), HypervisorError> {
        let init = self.init_of(machine)?;
        let purpose = self.files(machine).purpose().map_err(failed)?;
        let port = network::port_name(purpose.address);
        match fault {
            FaultKind::Kill => {
                self.network.set_port(&port, false).await.map_err(failed)?;
                init.signal(Signal::SIGKILL).map_err(failed)
            }
            FaultKind::Freeze => {
                self.network.set_port(&port, false).await.map_err(failed)?;
                init.signal_all(Signal::SIGSTOP).map_err(failed)
            }
            FaultKind::Thaw => {
                init.signal_all(Signal::SIGCONT).map_err(failed)?;
                self.network.set_port(&port, true).await.map_err(failed)
            }
            FaultKind::StopProcess => init.signal_program(Signal::SIGKILL).map_err(failed),
        }
    }

    async fn console(&self, machine: &MachineId, limit: u64) -> Result<String, HypervisorError> {
        let mut file =
            std::fs::File::open(self.files(machine).console()).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => HypervisorError::NotRunning,
                _ => failed(error),
            })?;
        let length = file.metadata().map_err(failed)?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(limit))).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn failed(error: impl std::fmt::Display) -> HypervisorError {
    HypervisorError::Failed(error.to_string())
}
