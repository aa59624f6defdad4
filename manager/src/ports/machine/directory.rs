//! A machine's directory on the host: what the machine is for, its disks, its console.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::MachineId;

use crate::engine::MachinePurpose;

const PURPOSE: &str = "machine.json";

/// A directory without a purpose is an interrupted creation once it is this old.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// The directory of one machine.
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
}

impl Directory {
    pub(crate) fn of(machines: &Path, machine: &MachineId) -> Self {
        Directory { path: machines.join(machine.as_str()) }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory, which must not be there yet.
    pub(crate) fn create(&self, mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(&self.path)
    }

    /// With its purpose the machine exists for a manager that restarts: to be written last.
    pub(crate) fn store_purpose(&self, purpose: &MachinePurpose) -> io::Result<()> {
        let temporary = self.file("machine.json.new");
        write(&temporary, &serde_json::to_vec_pretty(purpose)?)?;
        fs::rename(temporary, self.file(PURPOSE))
    }

    pub(crate) fn purpose(&self) -> io::Result<MachinePurpose> {
        Ok(serde_json::from_slice(&fs::read(self.file(PURPOSE))?)?)
    }

    pub(crate) fn is_stale(&self) -> bool {
        let age = fs::metadata(&self.path).and_then(|meta| meta.modified()).ok();
        age.and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > STALE_AFTER)
    }

    /// What the machine writes to its console.
    pub(crate) fn console(&self) -> PathBuf {
        self.file("console.log")
    }

    fn keep_console(&self) -> io::Result<()> {
        let last = self.last_console();
        if let Some(consoles) = last.parent() {
            DirBuilder::new().mode(0o700).recursive(true).create(consoles)?;
        }
        fs::rename(self.console(), last)
    }

    /// What the one before it had written when it died.
    fn last_console(&self) -> PathBuf {
        let state = self.path.parent().and_then(Path::parent).unwrap_or(&self.path);
        let name = self.path.file_name().unwrap_or_default();
        state.join("consoles").join(name)
    }

    /// The end of that; where it has written nothing, of what the one before it had. At most `limit` bytes.
    pub(crate) fn read_console(&self, limit: u64) -> io::Result<String> {
        let written = self.console().metadata().is_ok_and(|meta| meta.len() > 0);
        let mut file = fs::File::open(if written { self.console() } else { self.last_console() })?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Removes everything but the console, which says what the machine died of and is kept until the next
    /// one of this name dies. Nothing there is fine too.
    pub(crate) fn remove(&self) -> io::Result<()> {
        if self.console().exists()
            && let Err(error) = self.keep_console()
        {
            tracing::warn!("{}: its console is lost: {error}", self.path.display());
        }
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

/// The machines that have a directory in `machines`, by name.
pub(crate) fn list(machines: &Path) -> io::Result<Vec<MachineId>> {
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
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(content)
}
