//! What a machine runs in: files, a domain and a cable that are its own, or those of the spare that it was made of.
//!
//! ```text
//!   machines/a-web-1/  machine.json  what it is for
//!                      seed.img …    its files
//!   machines/a-web-2/  machine.json
//!                      body ───────▶ spares/1f3a9c02: a spare's files are where its process found them,
//!                                    and its domain keeps its name for as long as it runs
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};
use uuid::Uuid;
use wire::MachineId;

use super::daemon::Key;
use super::domain::Files;
use super::metadata::uuid;
use super::spare::Number;
use super::{FENCE_TIME, GONE_POLL, Libvirt, SPARES, failed, qemu};
use crate::engine::MachinePurpose;
use crate::ports::hypervisor::HypervisorError;
use crate::ports::machine::directory::Directory;
use crate::ports::machine::port_name;
use crate::ports::machine::process::{Process, Table};

/// The link in a machine's directory that leads to the spare's.
const BODY: &str = "body";

const DISK: &str = "disk.qcow2";

/// Where the files are that a process uses, and which spare that is, if it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) path: PathBuf,
    pub(super) spare: Option<Number>,
}

impl Body {
    /// That of the machine in `directory`.
    pub(super) fn of(directory: &Directory) -> Self {
        let linked = fs::read_link(directory.file(BODY)).ok();
        match linked.and_then(|path| Some((Number::of_directory(&path)?, path))) {
            Some((number, path)) => Body { path, spare: Some(number) },
            None => Body { path: directory.path.clone(), spare: None },
        }
    }

    /// That of the spare `number`.
    pub(super) fn of_spare(state_dir: &Path, number: Number) -> Self {
        Body { path: state_dir.join(SPARES).join(number.to_string()), spare: Some(number) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The disk by which its process is known.
    pub(super) fn seed(&self) -> PathBuf {
        self.file("seed.img")
    }

    pub(super) fn control_socket(&self) -> PathBuf {
        self.file("control.sock")
    }

    pub(super) fn console_socket(&self) -> PathBuf {
        self.file("console.sock")
    }

    /// Whether its guest is a cloud's, with a disk.
    pub(super) fn has_disk(&self) -> bool {
        self.file(DISK).exists()
    }

    pub(super) fn files(&self) -> Files {
        Files {
            seed: self.seed(),
            disk: self.file(DISK),
            console: self.file("console.log"),
            console_socket: self.console_socket(),
            control_socket: self.control_socket(),
        }
    }

    pub(super) fn process(&self) -> io::Result<Option<Process>> {
        qemu::find(&self.seed())
    }

    pub(super) fn process_in(&self, table: &Table) -> io::Result<Option<Process>> {
        qemu::find_in(table, &self.seed())
    }

    /// By what libvirt finds its domain; `machine` is what it is.
    pub(super) fn key(&self, state_dir: &Path, machine: &MachineId) -> Key {
        match self.spare {
            Some(number) => Key::Uuid(number.uuid(state_dir)),
            None => Key::Name(machine.clone()),
        }
    }

    /// The UUID of its domain, when it is what `purpose` says.
    pub(super) fn uuid(&self, state_dir: &Path, purpose: &MachinePurpose) -> Uuid {
        match self.spare {
            Some(number) => number.uuid(state_dir),
            None => uuid(state_dir, &purpose.id, purpose.incarnation),
        }
    }

    /// The name of the host's end of its cable, when it is what `purpose` says.
    pub(super) fn port(&self, purpose: &MachinePurpose) -> String {
        self.spare.map_or_else(|| port_name(purpose.address), Number::port)
    }

    /// From now on this is what the machine in `directory` runs in, and its console that machine's.
    pub(super) fn become_of(&self, directory: &Directory) -> io::Result<()> {
        symlink(&self.path, directory.file(BODY))?;
        symlink(self.files().console, directory.console())
    }

    /// Removes its files, if they are not in the machine's own `directory`; that keeps the console.
    pub(super) fn remove(&self, directory: &Directory) -> io::Result<()> {
        if self.spare.is_none() {
            return Ok(());
        }
        let console = directory.console();
        match fs::rename(self.files().console, &console) {
            // It wrote nothing, or this was begun before: a link leads nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !console.exists() => {
                remove_link(&console)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        remove(&self.path)?;
        remove_link(&directory.file(BODY))
    }
}

/// Removes a directory; one that is not there is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn remove_link(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Libvirt {
    /// Ends whatever runs in `body`: when this returns, no process of it is left, no domain and, where it is known, no
    /// `port`.
    pub(super) async fn end(
        &self,
        body: &Body,
        key: &Key,
        port: Option<&str>,
    ) -> Result<(), HypervisorError> {
        // By its process first: a QEMU that is itself stopped would make the daemon wait for seconds.
        while let Some(process) = body.process().map_err(failed)? {
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
        self.daemon.destroy(key).await?;
        let Some(port) = port else { return Ok(()) };
        // The kernel takes it away with the process that has it open.
        let gone = timeout(FENCE_TIME, async {
            while self.network.has(port).await? {
                sleep(GONE_POLL).await;
            }
            Ok(())
        });
        gone.await.unwrap_or_else(|_| {
            Err(HypervisorError::NotFenced(format!("the host still has its interface {port}")))
        })
    }
}
