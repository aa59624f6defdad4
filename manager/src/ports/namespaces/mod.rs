//! Machines without virtualization: each is a process, network, mount and host-name namespace with an
//! init of its own, and its own address and MAC on the host's bridge.
//!
//! ```text
//!   manager ── create ──▶ boot (a child of the manager, ends at once)
//!                           │ makes the namespaces and the cable to the bridge
//!                           └──▶ init (process 1 of the machine) ──▶ stateless, or lb run
//!   manager ◀── pidfd ──────────────┘
//!
//!   manager ── create ──▶ spare, which waits already ──▶ init      where the service has spares
//! ```
//!
//! The process table is the driver's memory: an init is known by its command line, which names the
//! machine's directory, and in that directory lies what the machine is for. So a restarted manager
//! finds all its machines, and there is no pid file that could lie.

mod boot;
mod files;
mod init;
mod processes;
mod spare;
mod spares;
mod spawn;
mod usage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::timeout;
use wire::cluster::{Condition, FaultKind};
use wire::{MachineId, PoolName};

pub use boot::{BootArgs, boot};
pub use init::{InitArgs, init};
pub use spare::{SpareArgs, boot_spare, spare};

use self::spares::Spares;
use super::hypervisor::{Exits, Hypervisor, HypervisorError};
use super::machine::directory::{self, Directory, Unreadable};
use super::machine::locks::Locks;
use super::machine::network::Network;
use super::machine::port_name;
use super::machine::process::{Process, Table};
use super::machine::watched::Watched;
use crate::config::Config;
use crate::engine::{MachinePurpose, MachineSpec, ObservedMachine, ObservedUsage, SparesWanted};

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
    watched: Watched,
    locks: Locks,
    unreadable: Unreadable,
    spares: Spares,
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
            watched: Watched::new(exits),
            locks: Locks::default(),
            unreadable: Unreadable::default(),
            spares: Spares::new(&config.state_dir),
        })
    }

    /// Has machines made by the manager's program at `path`, for a driver that runs in another program.
    #[must_use]
    pub fn with_manager(mut self, path: PathBuf) -> Self {
        self.manager = path;
        self
    }

    fn directory(&self, machine: &MachineId) -> Directory {
        Directory::of(&self.machines, machine)
    }

    fn init_of(&self, machine: &MachineId) -> Result<Process, HypervisorError> {
        processes::find_init(&self.directory(machine).path)
            .map_err(failed)?
            .ok_or(HypervisorError::NotRunning)
    }
}

#[async_trait]
impl Hypervisor for Namespaces {
    async fn list(&self) -> Result<Vec<ObservedMachine>, HypervisorError> {
        self.spares.clear().await?;
        let mut machines = Vec::new();
        let table = Table::read().map_err(failed)?;
        for id in directory::list(&self.machines).map_err(failed)? {
            let directory = self.directory(&id);
            let purpose = match directory.purpose() {
                Ok(purpose) => purpose,
                Err(_) if self.locks.is_idle(&id) && directory.is_unfinished() => {
                    tracing::warn!(machine = %id, "removing what an interrupted creation left");
                    self.destroy(&id).await?;
                    continue;
                }
                Err(error) => {
                    self.unreadable.tell(&id, &error);
                    continue;
                }
            };
            let init = processes::find_init_in(&table, &directory.path).map_err(failed)?;
            let running = init.is_some();
            if let Some(init) = init {
                self.watched.watch(&id, purpose.incarnation, init);
            }
            machines.push(ObservedMachine { purpose, running, booted: running });
        }
        Ok(machines)
    }

    async fn usage(&self) -> Result<Vec<ObservedUsage>, HypervisorError> {
        let machines = self.machines.clone();
        // It reads files of each process of this host.
        let read = tokio::task::spawn_blocking(move || {
            let table = Table::read()?;
            let (mut purposes, mut inits) = (Vec::new(), Vec::new());
            for id in directory::list(&machines)? {
                let directory = Directory::of(&machines, &id);
                // Of one that is being made, or cannot be read, nothing is known yet.
                if let Ok(purpose) = directory.purpose()
                    && let Some(init) = processes::find_init_in(&table, &directory.path)?
                {
                    purposes.push(purpose);
                    inits.push(init);
                }
            }
            let used = purposes.into_iter().zip(usage::of(&inits)?);
            Ok::<_, std::io::Error>(
                used.filter_map(|(purpose, used)| Some((purpose, used?))).collect::<Vec<_>>(),
            )
        });
        let read = read.await.map_err(failed)?.map_err(failed)?;
        let observed = |(purpose, used): (MachinePurpose, usage::Used)| ObservedUsage {
            machine: purpose.id,
            incarnation: purpose.incarnation,
            cpu: used.cpu,
            memory_bytes: used.memory_bytes,
        };
        Ok(read.into_iter().map(observed).collect())
    }

    async fn create(&self, spec: &MachineSpec) -> Result<(), HypervisorError> {
        let id = &spec.purpose.id;
        let _only = self.locks.lock(id).await;
        let directory = self.directory(id);
        files::create(&directory, spec).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => HypervisorError::Exists,
            _ => HypervisorError::Failed(format!("{}: {error}", directory.path.display())),
        })?;
        let program = self.programs.join(&spec.seed.program);
        if !program.is_file() {
            let message = format!(
                "there is no program {}: set `programs` to the directory it is in",
                program.display()
            );
            return Err(HypervisorError::Prevented(Condition::MissingImage, message));
        }
        self.network.bridge(&self.bridge).await?;
        if let Some(init) = self.create_of_spare(spec, &directory, &program).await? {
            self.watched.watch(id, spec.purpose.incarnation, init);
            return Ok(());
        }
        let boot = Command::new(&self.manager)
            .args([SUBCOMMAND, "boot"])
            .arg("--directory")
            .arg(&directory.path)
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
        self.watched.watch(id, spec.purpose.incarnation, init);
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
        let _only = self.locks.lock(machine).await;
        let directory = self.directory(machine);
        if let Ok(purpose) = directory.purpose() {
            let port = port_name(purpose.address);
            self.network.remove_port(&port).await.map_err(|error| {
                HypervisorError::NotFenced(format!("its port {port} cannot be removed: {error}"))
            })?;
        }
        while let Some(init) = processes::find_init(&directory.path).map_err(failed)? {
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
        directory
            .remove()
            .map_err(|error| HypervisorError::NotFenced(format!("{}: {error}", directory.path.display())))
    }

    async fn keep_spares(
        &self,
        wanted: &BTreeMap<PoolName, SparesWanted>,
    ) -> Result<BTreeMap<PoolName, u32>, HypervisorError> {
        let count = |(service, wanted): (&PoolName, &SparesWanted)| (service.clone(), wanted.count);
        self.fill_spares(&wanted.iter().map(count).collect()).await
    }

    async fn inject(&self, machine: &MachineId, fault: FaultKind) -> Result<(), HypervisorError> {
        let init = self.init_of(machine)?;
        let purpose = self.directory(machine).purpose().map_err(failed)?;
        let port = port_name(purpose.address);
        match fault {
            FaultKind::Kill => {
                self.network.set_port(&port, false).await.map_err(failed)?;
                init.signal(Signal::SIGKILL).map_err(failed)
            }
            FaultKind::Freeze => {
                self.network.set_port(&port, false).await.map_err(failed)?;
                processes::signal_all(&init, Signal::SIGSTOP).map_err(failed)
            }
            FaultKind::Thaw => {
                processes::signal_all(&init, Signal::SIGCONT).map_err(failed)?;
                self.network.set_port(&port, true).await.map_err(failed)
            }
            FaultKind::StopProcess => processes::signal_program(&init, Signal::SIGKILL).map_err(failed),
        }
    }

    async fn console(&self, machine: &MachineId, limit: u64) -> Result<String, HypervisorError> {
        self.directory(machine).read_console(limit).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => HypervisorError::NotRunning,
            _ => failed(error),
        })
    }

    async fn open_console(&self, machine: &MachineId) -> Result<UnixStream, HypervisorError> {
        self.init_of(machine)?;
        Err(HypervisorError::Unsupported(
            "a namespace machine has no console to type at; `manager vm logs` shows what it wrote".to_owned(),
        ))
    }

    fn describe(&self) -> String {
        "namespaces".to_owned()
    }
}

fn failed(error: impl std::fmt::Display) -> HypervisorError {
    HypervisorError::Failed(error.to_string())
}
