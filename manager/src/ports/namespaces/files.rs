//! A machine's directory: what it is for, its seed, what it writes, and its console.
//!
//! ```text
//!   machines/a-lb/machine.json   what it is for
//!                 seed/          what a real machine finds on its seed disk
//!                 guest/         the machine's own disk: gone with the machine
//!                 console.log
//! ```

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::MachineId;
use wire::seed::{self, Seed};

use crate::engine::{MachinePurpose, MachineSpec};

/// A directory without a purpose is an interrupted creation once it is this old.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// The paths of one machine.
pub(super) struct Files {
    pub(super) directory: PathBuf,
}

impl Files {
    pub(super) fn of(machines: &Path, machine: &MachineId) -> Self {
        Files { directory: machines.join(machine.as_str()) }
    }

    pub(super) fn at(directory: &Path) -> Self {
        Files { directory: directory.to_owned() }
    }

    /// Makes the directory with all that is in it from the start. Only root may look inside: seeds
    /// hold secrets.
    pub(super) fn create(&self, spec: &MachineSpec) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(&self.directory)?;
        for part in ["seed", "guest"] {
            DirBuilder::new().mode(0o700).create(self.directory.join(part))?;
        }
        let Seed { machine, address, prefix, gateway, .. } = &spec.seed;
        write(&self.seed(seed::FILE), &serde_json::to_vec_pretty(&spec.seed)?)?;
        write(
            &self.seed("meta-data"),
            format!("instance-id: {machine}.{}\nlocal-hostname: {machine}\n", spec.purpose.incarnation)
                .as_bytes(),
        )?;
        write(
            &self.seed("network-config"),
            format!(
                "version: 2\nethernets:\n  eth0:\n    match:\n      macaddress: \"{}\"\n    set-name: eth0\n    \
                 addresses: [\"{address}/{prefix}\"]\n    gateway4: {gateway}\n",
                mac_text(&spec.mac),
            )
            .as_bytes(),
        )?;
        write(&self.seed("user-data"), b"#cloud-config\n")?;
        // Last, and in one step: with its purpose the machine exists for a manager that restarts.
        let temporary = self.directory.join("machine.json.new");
        write(&temporary, &serde_json::to_vec_pretty(&spec.purpose)?)?;
        fs::rename(temporary, self.directory.join("machine.json"))
    }

    pub(super) fn purpose(&self) -> io::Result<MachinePurpose> {
        Ok(serde_json::from_slice(&fs::read(self.directory.join("machine.json"))?)?)
    }

    pub(super) fn read_seed(&self) -> io::Result<Seed> {
        Ok(serde_json::from_slice(&fs::read(self.seed(seed::FILE))?)?)
    }

    pub(super) fn is_stale(&self) -> bool {
        let age = fs::metadata(&self.directory).and_then(|meta| meta.modified()).ok();
        age.and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > STALE_AFTER)
    }

    pub(super) fn guest(&self, name: &str) -> PathBuf {
        self.directory.join("guest").join(name)
    }

    pub(super) fn console(&self) -> PathBuf {
        self.directory.join("console.log")
    }

    fn seed(&self, name: &str) -> PathBuf {
        self.directory.join("seed").join(name)
    }

    /// Removes everything; nothing there is fine too.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

/// The machines that have a directory in `machines`, by name.
pub(super) fn list(machines: &Path) -> io::Result<Vec<MachineId>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(machines)? {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Some(name) = entry.file_name().to_str()
        {
            ids.push(MachineId::from(name));
        }
    }
    ids.sort();
    Ok(ids)
}

/// Writes a file that only its owner may read.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(content)
}

fn mac_text(mac: &[u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
