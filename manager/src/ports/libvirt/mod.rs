//! Machines as virtual machines: transient domains of this host's libvirt daemon.
//!
//! ```text
//!   create   image + seed disk + overlay ──▶ XML ──▶ libvirtd ──▶ QEMU
//!   list     libvirtd's domains with our metadata  ┐
//!            directories of machines               ├─▶ what there is
//!            QEMU processes                        ┘
//!   end      pidfd of QEMU (at once), libvirt's event, the list (every 2 s): whoever is first
//!   fence    SIGKILL to QEMU, destroy the domain, wait for the interface to go, remove the files
//! ```
//!
//! The daemon is needed to make machines, not to keep them: it may die and come back, and a machine can
//! be fenced while it is away. What a machine is for is in its domain's metadata and in its directory.

mod acceleration;
mod agent;
mod connection;
mod control;
mod daemon;
mod disks;
mod domain;
mod events;
mod image;
mod metadata;
mod qemu;
mod sign;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use guest::channel::Ask;
use nix::sys::signal::Signal;
use tokio::net::UnixStream;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::{sleep, timeout};
use wire::cluster::{Condition, FaultKind};
use wire::{Incarnation, MachineId, PoolName};

pub(crate) use acceleration::Acceleration;
pub(crate) use daemon::daemon_version;
pub(crate) use image::Image;

use self::agent::Agent;
use self::control::Control;
use self::daemon::Daemon;
use self::domain::{Domain, Files};
use self::events::DomainEnded;
use self::metadata::{Metadata, uuid};
use self::sign::Sign;
use super::hypervisor::{Exits, Hypervisor, HypervisorError};
use super::machine::directory::{self, Directory, Unreadable};
use super::machine::locks::Locks;
use super::machine::network::Network;
use super::machine::port_name;
use super::machine::process::{Process, Table};
use super::machine::watched::Watched;
use crate::config::{Config, LB};
use crate::engine::{MachinePurpose, MachineSpec, ObservedMachine, ObservedUsage};

/// Others may pass through but not look inside: QEMU runs as a user of its own, to whom libvirt gives the
/// files it needs.
const DIRECTORY_MODE: u32 = 0o711;

/// A machine that was asked to end has so long.
const SHUTDOWN_TIME: Duration = Duration::from_secs(14);

/// A killed process is gone within this, and so is its interface, or the machine counts as not fenced.
const FENCE_TIME: Duration = Duration::from_secs(5);

/// How often it is looked whether an interface is gone.
const GONE_POLL: Duration = Duration::from_millis(5);

/// A unix socket's path has at most so many bytes.
const SOCKET_PATH_MAX: usize = 107;

/// The driver.
pub struct Libvirt {
    daemon: Daemon,
    state_dir: PathBuf,
    machines: PathBuf,
    bridge: String,
    network: Network,
    acceleration: Arc<OnceCell<Acceleration>>,
    /// What each service's machines, and the balancer's, boot from.
    images: BTreeMap<PoolName, PathBuf>,
    /// Whether one of those is a stand-in for the real image.
    stand_in: bool,
    watched: Watched,
    /// How guests that run tell that they have started.
    signs: Mutex<BTreeMap<MachineId, (Incarnation, Sign)>>,
    locks: Locks,
    unreadable: Unreadable,
}

impl Libvirt {
    /// The driver for the machines of the host that `config` describes. Tells of ends on `exits`. The
    /// daemon need not run yet.
    ///
    /// # Errors
    ///
    /// When the state directory cannot be made, or the host's network cannot be asked.
    pub fn new(config: &Config, exits: Exits) -> Result<Self, HypervisorError> {
        let machines = config.state_dir.join("machines");
        std::fs::create_dir_all(&machines).map_err(|error| refused(&machines, &error))?;
        // The daemon has a working directory of its own.
        let state_dir = config.state_dir.canonicalize().map_err(|error| refused(&machines, &error))?;
        let (tell_ended, ended) = mpsc::unbounded_channel();
        let watched = Watched::new(exits);
        tokio::spawn(hear_ends(ended, watched.clone(), state_dir.clone()));
        let acceleration = Arc::new(OnceCell::new());
        // Found out while the machines that run are listed; the first to be created waits for it.
        let (finding, probe_in) = (Arc::clone(&acceleration), state_dir.clone());
        tokio::spawn(async move {
            finding.get_or_init(|| Acceleration::find(&probe_in)).await;
        });
        let own = config.services.iter().filter(|service| !service.is_external());
        let services = own.map(|service| (service.name.clone(), &service.hardware));
        let images: BTreeMap<PoolName, PathBuf> = services
            .chain([(PoolName::from(LB), &config.lb)])
            .map(|(name, hardware)| (name, hardware.image.clone()))
            .collect();
        let stand_in = images
            .values()
            .filter_map(|image| Image::load(image).ok())
            .any(|image| matches!(image, Image::Bundle(bundle) if bundle.stand_in));
        Ok(Libvirt {
            daemon: Daemon::new(&config.libvirt_uri, &state_dir, tell_ended),
            machines: state_dir.join("machines"),
            state_dir,
            bridge: config.bridge.clone(),
            network: Network::new().map_err(failed)?,
            acceleration,
            images,
            stand_in,
            watched,
            signs: Mutex::default(),
            locks: Locks::default(),
            unreadable: Unreadable::default(),
        })
    }

    fn directory(&self, machine: &MachineId) -> Directory {
        Directory::of(&self.machines, machine)
    }

    fn process(&self, machine: &MachineId) -> Result<Option<Process>, HypervisorError> {
        qemu::find(&seed(&self.directory(machine))).map_err(failed)
    }

    fn running(&self, machine: &MachineId) -> Result<Process, HypervisorError> {
        self.process(machine)?.ok_or(HypervisorError::NotRunning)
    }

    fn signs(&self) -> MutexGuard<'_, BTreeMap<MachineId, (Incarnation, Sign)>> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a machine's process, and listens for its guest's sign of life.
    fn watch(&self, purpose: &MachinePurpose, process: Process) {
        let MachinePurpose { id, incarnation, .. } = purpose;
        self.watched.watch(id, *incarnation, process);
        let mut signs = self.signs();
        if signs.get(id).is_some_and(|(watched, _)| watched == incarnation) {
            return;
        }
        let directory = self.directory(id);
        let sign = if directory.file(DISK).exists() {
            Sign::Agent(Agent::listen(
                self.daemon.connection.clone(),
                uuid(&self.state_dir, id, *incarnation),
            ))
        } else {
            Sign::Control(Control::open(directory.file(CONTROL_SOCKET)))
        };
        signs.insert(id.clone(), (*incarnation, sign));
    }

    fn has_booted(&self, machine: &MachineId) -> bool {
        self.signs().get(machine).is_some_and(|(_, sign)| sign.has_booted())
    }

    /// Asks one of our own guests something; none for other guests.
    async fn ask_guest(&self, machine: &MachineId, ask: Ask) -> Option<Result<(), HypervisorError>> {
        let asked = self.signs().get(machine).and_then(|(_, sign)| sign.ask(ask))?;
        Some(asked.await)
    }

    async fn make(&self, spec: &MachineSpec, directory: &Directory) -> Result<(), HypervisorError> {
        let MachineSpec { purpose, mac, seed: given, hardware, persistent } = spec;
        let image = Image::load(&hardware.image)?;
        self.network.bridge(&self.bridge).await?;
        let mut files = files(directory);
        let longest = files.control_socket.as_os_str().len().max(files.console_socket.as_os_str().len());
        if longest > SOCKET_PATH_MAX {
            let message = format!(
                "{} is too long for a socket by {} bytes: choose a shorter state_dir",
                files.control_socket.display(),
                longest - SOCKET_PATH_MAX
            );
            return Err(HypervisorError::Failed(message));
        }
        disks::make_seed(&files.seed, spec)?;
        match &image {
            Image::Disk { path, format } if *persistent => {
                let kept = disks::keep_overlay(&image, path, *format, &directory.kept_disk()).await?;
                // Whoever looks for the disk in the machine's directory finds it, and it does not go with that.
                symlink(&kept, &files.disk).map_err(|error| refused(&files.disk, &error))?;
                files.disk = kept;
            }
            Image::Disk { path, format } => disks::make_overlay(path, *format, &files.disk).await?,
            Image::Bundle(_) if *persistent => {
                let message = format!(
                    "`persistent` keeps a disk, and {} has none: name the disk image of a cloud in `image`",
                    hardware.image.display()
                );
                return Err(HypervisorError::Prevented(Condition::MissingImage, message));
            }
            Image::Bundle(_) => {}
        }
        let purpose = &MachinePurpose { image: Some(image.id()), ..purpose.clone() };
        directory.store_purpose(purpose).map_err(|error| refused(&directory.path, &error))?;
        let acceleration = self.acceleration.get_or_init(|| Acceleration::find(&self.state_dir)).await;
        let metadata = Metadata {
            state_dir: self.daemon.state_dir.clone(),
            purpose: purpose.clone(),
            generation: given.proxy_config.as_ref().map_or(0, |config| config.generation),
        };
        let xml = Domain {
            metadata: &metadata,
            uuid: uuid(&self.state_dir, &purpose.id, purpose.incarnation),
            accelerator: acceleration.accelerator(),
            hardware,
            image: &image,
            mac: *mac,
            bridge: &self.bridge,
            files,
        }
        .to_xml()
        .map_err(failed)?;
        self.daemon.create(&purpose.id, xml).await
    }
}

#[async_trait]
impl Hypervisor for Libvirt {
    async fn list(&self) -> Result<Vec<ObservedMachine>, HypervisorError> {
        let mut purposes: BTreeMap<MachineId, MachinePurpose> =
            self.daemon.list().await?.into_iter().map(|purpose| (purpose.id.clone(), purpose)).collect();
        // After the domains: a machine that is made between the two is found at least here.
        for id in directory::list(&self.machines).map_err(failed)? {
            let directory = self.directory(&id);
            match directory.purpose() {
                Ok(purpose) => {
                    purposes.entry(id).or_insert(purpose);
                }
                Err(_) if self.locks.is_idle(&id) && directory.is_unfinished() => {
                    tracing::warn!(machine = %id, "removing what an interrupted creation left");
                    self.destroy(&id).await?;
                }
                Err(error) => self.unreadable.tell(&id, &error),
            }
        }
        let mut machines = Vec::new();
        let table = Table::read().map_err(failed)?;
        for purpose in purposes.into_values() {
            // The daemon learns of a death later than the process table.
            let process = qemu::find_in(&table, &seed(&self.directory(&purpose.id))).map_err(failed)?;
            let running = process.is_some();
            if let Some(process) = process {
                self.watch(&purpose, process);
            }
            let booted = running && self.has_booted(&purpose.id);
            machines.push(ObservedMachine { purpose, running, booted });
        }
        Ok(machines)
    }

    async fn usage(&self) -> Result<Vec<ObservedUsage>, HypervisorError> {
        self.daemon.usage().await
    }

    async fn create(&self, spec: &MachineSpec) -> Result<(), HypervisorError> {
        let id = &spec.purpose.id;
        let _only = self.locks.lock(id).await;
        let directory = self.directory(id);
        directory.create(DIRECTORY_MODE).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => HypervisorError::Exists,
            _ => refused(&directory.path, &error),
        })?;
        self.make(spec, &directory).await?;
        let process = self.process(id)?.ok_or_else(|| {
            HypervisorError::Failed("its process ended at once: manager vm logs may say why".to_owned())
        })?;
        // Machines that boot must not keep the one that holds the public address from saying so.
        if spec.purpose.service.as_str() == LB
            && let Err(error) = qemu::favour(&process)
        {
            tracing::warn!(machine = %id, "it cannot be favoured over other machines: {error}");
        }
        self.watch(&spec.purpose, process);
        Ok(())
    }

    async fn shutdown(&self, machine: &MachineId) -> Result<(), HypervisorError> {
        let process = self.running(machine)?;
        let asked = match self.ask_guest(machine, Ask::Shutdown).await {
            Some(asked) => asked,
            None => self.daemon.shutdown(machine).await,
        };
        asked?;
        match timeout(SHUTDOWN_TIME, process.ended()).await {
            Ok(ended) => ended.map_err(failed),
            Err(_) => Err(HypervisorError::Failed(format!("it runs on after {} s", SHUTDOWN_TIME.as_secs()))),
        }
    }

    async fn destroy(&self, machine: &MachineId) -> Result<(), HypervisorError> {
        let _only = self.locks.lock(machine).await;
        let directory = self.directory(machine);
        self.signs().remove(machine);
        // By its process first: a QEMU that is itself stopped would make the daemon wait for seconds.
        while let Some(process) = self.process(machine)? {
            process.signal(Signal::SIGKILL).map_err(failed)?;
            match timeout(FENCE_TIME, process.ended()).await {
                Ok(ended) => ended.map_err(failed)?,
                Err(_) => {
                    let (pid, seconds) = (process.pid(), FENCE_TIME.as_secs());
                    let reason = format!("process {pid} lives {seconds} s after SIGKILL");
                    return Err(HypervisorError::NotFenced(reason));
                }
            }
        }
        self.daemon.destroy(machine).await?;
        if let Ok(purpose) = directory.purpose() {
            let port = port_name(purpose.address);
            // The kernel takes it away with the process that has it open.
            let gone = timeout(FENCE_TIME, async {
                while self.network.has(&port).await? {
                    sleep(GONE_POLL).await;
                }
                Ok(())
            });
            gone.await.unwrap_or_else(|_| {
                Err(HypervisorError::NotFenced(format!("the host still has its interface {port}")))
            })?;
        }
        directory
            .remove()
            .map_err(|error| HypervisorError::NotFenced(format!("{}: {error}", directory.path.display())))
    }

    async fn inject(&self, machine: &MachineId, fault: FaultKind) -> Result<(), HypervisorError> {
        let process = self.running(machine)?;
        let purpose = self.directory(machine).purpose().map_err(failed)?;
        let port = port_name(purpose.address);
        match fault {
            FaultKind::Kill => {
                self.network.set_port(&port, false).await.map_err(failed)?;
                process.signal(Signal::SIGKILL).map_err(failed)
            }
            FaultKind::Freeze => {
                self.network.set_port(&port, false).await.map_err(failed)?;
                process.signal(Signal::SIGSTOP).map_err(failed)
            }
            FaultKind::Thaw => {
                process.signal(Signal::SIGCONT).map_err(failed)?;
                self.network.set_port(&port, true).await.map_err(failed)
            }
            FaultKind::StopProcess => match self.ask_guest(machine, Ask::StopProgram).await {
                Some(asked) => asked,
                None => Err(HypervisorError::Unsupported(
                    "only a machine of an image of ours can be told to stop its program".to_owned(),
                )),
            },
        }
    }

    async fn console(&self, machine: &MachineId, limit: u64) -> Result<String, HypervisorError> {
        self.directory(machine).read_console(limit).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => HypervisorError::NotRunning,
            _ => failed(error),
        })
    }

    async fn open_console(&self, machine: &MachineId) -> Result<UnixStream, HypervisorError> {
        self.running(machine)?;
        let socket = self.directory(machine).file(CONSOLE_SOCKET);
        UnixStream::connect(&socket).await.map_err(|error| refused(&socket, &error))
    }

    async fn images(&self) -> BTreeMap<PoolName, String> {
        let images = self.images.iter();
        images.filter_map(|(name, path)| Some((name.clone(), Image::load(path).ok()?.id()))).collect()
    }

    fn describe(&self) -> String {
        let how = match self.acceleration.get() {
            Some(found) if found.kvm => "libvirt, KVM",
            Some(_) => "libvirt, emulated without KVM",
            None => "libvirt",
        };
        let stand_in = if self.stand_in { ", stand-in image" } else { "" };
        format!("{how}{stand_in}")
    }
}

const DISK: &str = "disk.qcow2";
const CONTROL_SOCKET: &str = "control.sock";
const CONSOLE_SOCKET: &str = "console.sock";

fn seed(directory: &Directory) -> PathBuf {
    directory.file("seed.img")
}

fn files(directory: &Directory) -> Files {
    Files {
        seed: seed(directory),
        disk: directory.file(DISK),
        console: directory.console(),
        console_socket: directory.file(CONSOLE_SOCKET),
        control_socket: directory.file(CONTROL_SOCKET),
    }
}

/// Tells of machines whose end libvirt noticed, unless their process told it before.
async fn hear_ends(mut ended: mpsc::UnboundedReceiver<DomainEnded>, watched: Watched, state_dir: PathBuf) {
    while let Some(DomainEnded { name, uuid: of, crashed }) = ended.recv().await {
        let machine = MachineId::from(name.as_str());
        let reason = if crashed { "libvirt says that it crashed" } else { "libvirt says that it ended" };
        watched.ended(&machine, reason, |incarnation| uuid(&state_dir, &machine, incarnation) == of);
    }
}

fn refused(path: &Path, error: &io::Error) -> HypervisorError {
    let message = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            HypervisorError::Prevented(Condition::NoSpace, message)
        }
        io::ErrorKind::PermissionDenied => HypervisorError::Prevented(Condition::Denied, message),
        _ => HypervisorError::Failed(message),
    }
}

fn failed(error: impl std::fmt::Display) -> HypervisorError {
    HypervisorError::Failed(error.to_string())
}
