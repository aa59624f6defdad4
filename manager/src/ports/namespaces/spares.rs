//! The spares of a host: made, counted, given away, and ended.
//!
//! They belong to the manager that made them. One that is started anew ends those of the one before it, before it looks
//! at any machine: an order that was still on its way to one of them reaches nobody.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};
use tokio::time::{sleep, timeout};
use wire::PoolName;

use super::spare::{Order, channel};
use super::{BOOT_TIME, FENCE_TIME, Namespaces, SUBCOMMAND, failed, processes};
use crate::engine::MachineSpec;
use crate::ports::hypervisor::HypervisorError;
use crate::ports::machine::directory::Directory;
use crate::ports::machine::port_name;
use crate::ports::machine::process::Process;

/// A spare is the machine it was told to be within this, or it is not used.
const BECOME_TIME: Duration = Duration::from_secs(2);

/// How often it is looked whether it is.
const BECOME_POLL: Duration = Duration::from_millis(1);

/// The spares that wait.
pub(super) struct Spares {
    root: PathBuf,
    waiting: Mutex<BTreeMap<PoolName, Vec<Spare>>>,
    /// How many were made: each has a directory of its own.
    made: AsyncMutex<u64>,
    cleared: OnceCell<()>,
}

/// One that waits.
struct Spare {
    directory: PathBuf,
    process: Process,
}

impl Spare {
    fn waits(&self) -> bool {
        processes::is_spare_of(self.process.pid(), &self.directory)
    }

    /// Ends it, whatever it has become.
    async fn end(self) -> Result<(), HypervisorError> {
        end(&self.process).await?;
        remove(&self.directory).map_err(failed)
    }
}

impl Spares {
    pub(super) fn new(state: &Path) -> Self {
        Spares {
            root: state.join("spares"),
            waiting: Mutex::default(),
            made: AsyncMutex::default(),
            cleared: OnceCell::new(),
        }
    }

    /// Ends those that an earlier manager made.
    pub(super) async fn clear(&self) -> Result<(), HypervisorError> {
        self.cleared.get_or_try_init(|| self.clear_root()).await.copied()
    }

    async fn clear_root(&self) -> Result<(), HypervisorError> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.map_err(failed)?,
        };
        for entry in entries {
            let directory = entry.map_err(failed)?.path();
            while let Some(process) = processes::find_spare(&directory).map_err(failed)? {
                end(&process).await?;
            }
            remove(&directory).map_err(failed)?;
        }
        Ok(())
    }

    /// One of those for `service`, which is nobody else's from now on.
    fn take(&self, service: &PoolName) -> Option<Spare> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let spares = waiting.get_mut(service)?;
        // One that has ended by itself is left for whoever counts them.
        let place = spares.iter().position(Spare::waits)?;
        Some(spares.remove(place))
    }

    /// Takes out those that `wanted` does not ask for, and those that have ended.
    fn surplus(&self, wanted: &BTreeMap<PoolName, u32>) -> Vec<Spare> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut surplus = Vec::new();
        for (service, spares) in waiting.iter_mut() {
            let count = wanted.get(service).map_or(0, |count| *count as usize);
            let (waits, ended): (Vec<_>, Vec<_>) = std::mem::take(spares).into_iter().partition(Spare::waits);
            surplus.extend(ended);
            *spares = waits;
            surplus.extend(spares.drain(count.min(spares.len())..));
        }
        waiting.retain(|_, spares| !spares.is_empty());
        surplus
    }

    fn count(&self) -> BTreeMap<PoolName, u32> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().map(|(service, spares)| (service.clone(), spares.len() as u32)).collect()
    }
}

impl Namespaces {
    /// Has as many spares as are `wanted` of each service, and says how many there are.
    pub(super) async fn fill_spares(
        &self,
        wanted: &BTreeMap<PoolName, u32>,
    ) -> Result<BTreeMap<PoolName, u32>, HypervisorError> {
        let mut made = self.spares.made.lock().await;
        self.spares.clear().await?;
        for spare in self.spares.surplus(wanted) {
            spare.end().await?;
        }
        for (service, count) in wanted {
            while self.spares.count().get(service).copied().unwrap_or(0) < *count {
                *made += 1;
                let spare = self.make_spare(service, *made).await?;
                let mut waiting = self.spares.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.entry(service.clone()).or_default().push(spare);
            }
        }
        Ok(self.spares.count())
    }

    async fn make_spare(&self, service: &PoolName, number: u64) -> Result<Spare, HypervisorError> {
        let directory = self.spares.root.join(format!("{service}-{number}"));
        DirBuilder::new().mode(0o700).recursive(true).create(&self.spares.root).map_err(failed)?;
        remove(&directory).map_err(failed)?;
        DirBuilder::new().mode(0o700).create(&directory).map_err(failed)?;
        let boot = Command::new(&self.manager)
            .args([SUBCOMMAND, "boot-spare", "--directory"])
            .arg(&directory)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let late = |_| HypervisorError::Failed(format!("no spare within {} s", BOOT_TIME.as_secs()));
        let output = timeout(BOOT_TIME, boot).await.map_err(late)?.map_err(failed)?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            return Err(HypervisorError::Failed(format!("no spare can be made: {}", reason.trim())));
        }
        let process = processes::find_spare(&directory).map_err(failed)?;
        let process = process.ok_or_else(|| HypervisorError::Failed("a spare ended at once".to_owned()))?;
        Ok(Spare { directory, process })
    }

    /// Makes the machine of `spec`, whose `directory` is there, of a spare, if one waits for its service. Returns its
    /// init; none where there was no spare, or where it did not work: then nothing of it is left.
    pub(super) async fn create_of_spare(
        &self,
        spec: &MachineSpec,
        directory: &Directory,
        program: &Path,
    ) -> Result<Option<Process>, HypervisorError> {
        if spec.persistent {
            return Ok(None);
        }
        let Some(spare) = self.spares.take(&spec.purpose.service) else { return Ok(None) };
        match self.become_machine(&spare, spec, directory, program).await {
            Ok(init) => {
                // Nothing in it is of any more use.
                if let Err(error) = remove(&spare.directory) {
                    tracing::warn!("{}: {error}", spare.directory.display());
                }
                tracing::info!(machine = %spec.purpose.id, "made of a spare");
                Ok(Some(init))
            }
            Err(error) => {
                tracing::warn!(machine = %spec.purpose.id, "its spare is of no use, it is made anew: {error}");
                self.network.remove_port(&port_name(spec.purpose.address)).await?;
                spare.end().await?;
                Ok(None)
            }
        }
    }

    async fn become_machine(
        &self,
        spare: &Spare,
        spec: &MachineSpec,
        directory: &Directory,
        program: &Path,
    ) -> Result<Process, HypervisorError> {
        let pid = spare.process.pid();
        let namespace = fs::File::open(format!("/proc/{pid}/ns/net")).map_err(failed)?;
        self.network.add_port(spec.purpose.address, spec.mac, &self.bridge, namespace.as_raw_fd()).await?;
        let order = Order { directory: directory.path.clone(), program: program.to_owned() };
        let mut order = serde_json::to_vec(&order).map_err(failed)?;
        order.push(b'\n');
        let talk = async {
            let mut stream = UnixStream::connect(channel(&spare.directory)).await?;
            stream.write_all(&order).await?;
            let mut said = String::new();
            stream.read_to_string(&mut said).await?;
            io::Result::Ok(said)
        };
        let late = |_| HypervisorError::Failed(format!("it says nothing for {} s", BECOME_TIME.as_secs()));
        let said = timeout(BECOME_TIME, talk).await.map_err(late)?.map_err(failed)?;
        if !said.is_empty() {
            return Err(HypervisorError::Failed(said));
        }
        let is_init = async {
            while !processes::is_init_of(pid, &directory.path) {
                sleep(BECOME_POLL).await;
            }
        };
        timeout(BECOME_TIME, is_init).await.map_err(late)?;
        spare.process.again().map_err(failed)
    }
}

/// Ends a spare, and waits until it has.
async fn end(process: &Process) -> Result<(), HypervisorError> {
    process.signal(Signal::SIGKILL).map_err(failed)?;
    match timeout(FENCE_TIME, process.ended()).await {
        Ok(ended) => ended.map_err(failed),
        Err(_) => Err(HypervisorError::NotFenced(format!("spare {} does not end", process.pid()))),
    }
}

/// Removes a spare's directory; one that is not there is fine.
fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
