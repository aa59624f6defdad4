//! Machines as virtual machines: transient domains of this host's libvirt daemon.
//!
//! ```text
//!   create   image + seed disk + overlay ──▶ XML ──▶ libvirtd ──▶ QEMU
//!            or a spare, which waits already, is told which machine it is
//!   list     libvirtd's domains with our metadata  ┐
//!            directories of machines               ├─▶ what there is
//!            QEMU processes                        ┘
//!   end      pidfd of QEMU (at once), libvirt's event, the list (every 2 s): whoever is first
//!   fence    SIGKILL to QEMU, destroy the domain, wait for the interface to go, remove the files
//! ```
//!
//! The daemon is needed to make machines, not to keep them: it may die and come back, and a machine can
//! be fenced while it is away. What a machine is for is in its domain's metadata and in its directory, and what it runs in
//! is its [`Body`]: most are their machine's own, and a domain that was a spare keeps the name it had.

mod acceleration;
mod agent;
mod becoming;
mod body;
mod connection;
mod control;
mod daemon;
mod disks;
mod domain;
mod events;
mod image;
mod making;
mod metadata;
mod qemu;
mod sign;
mod spare;
mod spares;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use guest::channel::Ask;
use nix::sys::signal::Signal;
use tokio::net::UnixStream;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::timeout;
use uuid::Uuid;
use wire::cluster::{Condition, FaultKind};
use wire::{Incarnation, MachineId, PoolName};

pub(crate) use acceleration::Acceleration;
pub(crate) use daemon::daemon_version;
pub(crate) use image::Image;

use self::agent::Agent;
use self::body::Body;
use self::control::Control;
use self::daemon::Daemon;
use self::events::DomainEnded;
use self::sign::Sign;
use self::spares::Spares;
use super::hypervisor::{Exits, Hypervisor, HypervisorError};
use super::machine::directory::{self, Directory, Unreadable};
use super::machine::locks::Locks;
use super::machine::network::Network;
use super::machine::process::{Process, Table};
use super::machine::watched::Watched;
use crate::config::{Config, LB};
use crate::engine::{MachinePurpose, MachineSpec, ObservedMachine, ObservedUsage, SparesWanted};

/// Others may pass through but not look inside: QEMU runs as a user of its own, to whom libvirt gives the
/// files it needs.
const DIRECTORY_MODE: u32 = 0o711;

/// A machine that was asked to end has so long.
const SHUTDOWN_TIME: Duration = Duration::from_secs(14);

/// A killed process is gone within this, and so is its interface, or the machine counts as not fenced.
const FENCE_TIME: Duration = Duration::from_secs(5);

/// How often it is looked whether an interface is gone.
const GONE_POLL: Duration = Duration::from_millis(5);

/// The directory of the spares, and of the machines that were made of them, in the manager's state.
const SPARES: &str = "spares";

/// The driver.
pub struct Libvirt {
    daemon: Daemon,
    /// This host's name.
    host: String,
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
    guests: Guests,
    locks: Locks,
    unreadable: Unreadable,
    spares: Spares,
}

/// The guests that run.
type Guests = Arc<Mutex<BTreeMap<MachineId, Guest>>>;

/// What is known of a machine's guest while it runs.
struct Guest {
    incarnation: Incarnation,
    /// Of its domain.
    uuid: Uuid,
    /// How it tells that it has started.
    sign: Sign,
}

fn lock(guests: &Guests) -> MutexGuard<'_, BTreeMap<MachineId, Guest>> {
    guests.lock().unwrap_or_else(PoisonError::into_inner)
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
        let guests = Guests::default();
        tokio::spawn(hear_ends(ended, watched.clone(), Arc::clone(&guests)));
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
            host: config.name.to_string(),
            machines: state_dir.join("machines"),
            state_dir,
            bridge: config.bridge.clone(),
            network: Network::new().map_err(failed)?,
            acceleration,
            images,
            stand_in,
            watched,
            guests,
            locks: Locks::default(),
            unreadable: Unreadable::default(),
            spares: Spares::default(),
        })
    }

    fn directory(&self, machine: &MachineId) -> Directory {
        Directory::of(&self.machines, machine)
    }

    fn body(&self, machine: &MachineId) -> Body {
        Body::of(&self.directory(machine))
    }

    fn running(&self, machine: &MachineId) -> Result<Process, HypervisorError> {
        self.body(machine).process().map_err(failed)?.ok_or(HypervisorError::NotRunning)
    }

    /// Watches the process of a machine that runs in `body`, and listens for its guest's sign of life, over `control` if
    /// that is connected to it already.
    fn watch(&self, purpose: &MachinePurpose, body: &Body, process: Process, control: Option<Control>) {
        let MachinePurpose { id, incarnation, .. } = purpose;
        self.watched.watch(id, *incarnation, process);
        let mut guests = lock(&self.guests);
        if guests.get(id).is_some_and(|watched| watched.incarnation == *incarnation) {
            return;
        }
        let uuid = body.uuid(&self.state_dir, purpose);
        let sign = match control {
            Some(control) => Sign::Control(control),
            None if body.has_disk() => Sign::Agent(Agent::listen(self.daemon.connection.clone(), uuid)),
            None => Sign::Control(Control::open(body.control_socket())),
        };
        guests.insert(id.clone(), Guest { incarnation: *incarnation, uuid, sign });
    }

    fn has_booted(&self, machine: &MachineId) -> bool {
        lock(&self.guests).get(machine).is_some_and(|guest| guest.sign.has_booted())
    }

    /// Asks one of our own guests something; none for other guests.
    async fn ask_guest(&self, machine: &MachineId, ask: Ask) -> Option<Result<(), HypervisorError>> {
        let asked = lock(&self.guests).get(machine).and_then(|guest| guest.sign.ask(ask))?;
        Some(asked.await)
    }
}

#[async_trait]
impl Hypervisor for Libvirt {
    async fn list(&self) -> Result<Vec<ObservedMachine>, HypervisorError> {
        let domains = self.daemon.list().await?;
        self.mend_spares(&domains).await?;
        let purposes = domains.into_iter().filter_map(|domain| domain.purpose);
        let mut purposes: BTreeMap<MachineId, MachinePurpose> =
            purposes.map(|purpose| (purpose.id.clone(), purpose)).collect();
        // After the domains: a machine that is made between the two is found at least here, and what is said here is not
        // older than what its domain said.
        for id in directory::list(&self.machines).map_err(failed)? {
            let directory = self.directory(&id);
            match directory.purpose() {
                Ok(purpose) => {
                    purposes.insert(id, purpose);
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
            let body = self.body(&purpose.id);
            let process = body.process_in(&table).map_err(failed)?;
            let running = process.is_some();
            if let Some(process) = process {
                self.watch(&purpose, &body, process, None);
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
        if self.make_of_spare(spec, &directory).await? {
            return Ok(());
        }
        self.make(spec, &directory).await?;
        let body = Body::of(&directory);
        let process = body.process().map_err(failed)?.ok_or_else(|| {
            HypervisorError::Failed("its process ended at once: manager vm logs may say why".to_owned())
        })?;
        // Machines that boot must not keep the one that holds the public address from saying so.
        if spec.purpose.service.as_str() == LB
            && let Err(error) = qemu::favour(&process)
        {
            tracing::warn!(machine = %id, "it cannot be favoured over other machines: {error}");
        }
        self.watch(&spec.purpose, &body, process, None);
        Ok(())
    }

    async fn shutdown(&self, machine: &MachineId) -> Result<(), HypervisorError> {
        let process = self.running(machine)?;
        let asked = match self.ask_guest(machine, Ask::Shutdown).await {
            Some(asked) => asked,
            None => self.daemon.shutdown(self.body(machine).key(&self.state_dir, machine)).await,
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
        let body = Body::of(&directory);
        lock(&self.guests).remove(machine);
        let port = directory.purpose().ok().map(|purpose| body.port(&purpose));
        self.end(&body, &body.key(&self.state_dir, machine), port.as_deref()).await?;
        body.remove(&directory)
            .and_then(|()| directory.remove())
            .map_err(|error| HypervisorError::NotFenced(format!("{}: {error}", directory.path.display())))
    }

    async fn keep_spares(
        &self,
        wanted: &BTreeMap<PoolName, SparesWanted>,
    ) -> Result<BTreeMap<PoolName, u32>, HypervisorError> {
        self.fill_spares(wanted).await
    }

    async fn inject(&self, machine: &MachineId, fault: FaultKind) -> Result<(), HypervisorError> {
        let process = self.running(machine)?;
        let purpose = self.directory(machine).purpose().map_err(failed)?;
        let port = self.body(machine).port(&purpose);
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
        let socket = self.body(machine).console_socket();
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

/// Tells of machines whose end libvirt noticed, unless their process told it before.
async fn hear_ends(mut ended: mpsc::UnboundedReceiver<DomainEnded>, watched: Watched, guests: Guests) {
    while let Some(DomainEnded { uuid, crashed }) = ended.recv().await {
        let guest = lock(&guests)
            .iter()
            .find_map(|(machine, guest)| (guest.uuid == uuid).then(|| (machine.clone(), guest.incarnation)));
        if let Some((machine, build)) = guest {
            let reason = if crashed { "libvirt says that it crashed" } else { "libvirt says that it ended" };
            watched.ended(&machine, reason, |incarnation| incarnation == build);
        }
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
