//! A machine's directory on the host: what the machine is for, its disks, its console.
//!
//! What it is for is read by managers of other versions too: a later one adopts the machines of this one, and
//! this one those of a later one that was tried and taken away again. So a field may be added, and is left out
//! where it is not known; what is there must keep its meaning.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::MachineId;

use crate::engine::MachinePurpose;

const PURPOSE: &str = "machine.json";

/// The version of what a machine's purpose says. It is for people and for later versions: whatever it is, what
/// is known of the rest is understood.
pub(crate) const FORMAT: u32 = 1;

/// A purpose as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// None in what the first managers wrote.
    #[serde(default)]
    format: Option<u32>,
    #[serde(flatten)]
    purpose: MachinePurpose,
}

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
        let stored = Stored { format: Some(FORMAT), purpose: purpose.clone() };
        write(&temporary, &serde_json::to_vec_pretty(&stored)?)?;
        fs::rename(temporary, self.file(PURPOSE))
    }

    pub(crate) fn purpose(&self) -> io::Result<MachinePurpose> {
        let stored: Stored = serde_json::from_slice(&fs::read(self.file(PURPOSE))?)?;
        Ok(stored.purpose)
    }

    /// Whether a manager died while it made this one: it is for nothing yet. A purpose that is there and cannot
    /// be read may be that of a machine that serves somebody: it is left alone until its name is needed.
    pub(crate) fn is_unfinished(&self) -> bool {
        !self.file(PURPOSE).exists() && self.is_stale()
    }

    fn is_stale(&self) -> bool {
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
        self.beside("consoles")
    }

    /// What is kept of the machine in another directory of the state.
    fn beside(&self, directory: &str) -> PathBuf {
        let state = self.path.parent().and_then(Path::parent).unwrap_or(&self.path);
        let name = self.path.file_name().unwrap_or_default();
        state.join(directory).join(name)
    }

    /// The disk of a machine that keeps it: it is not in this directory, with which all else of the machine goes.
    pub(crate) fn kept_disk(&self) -> PathBuf {
        self.beside("disks")
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

    /// Removes everything but a disk that is kept, and the console, which says what the machine died of and is kept until the next
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

/// Machines whose purpose cannot be read, each of which is told of once.
#[derive(Default)]
pub(crate) struct Unreadable(Mutex<BTreeSet<MachineId>>);

impl Unreadable {
    /// The purpose of `machine` could not be read because of `error`. One that is not there yet is no news.
    pub(crate) fn tell(&self, machine: &MachineId, error: &io::Error) {
        let fresh = || self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(machine.clone());
        if error.kind() != io::ErrorKind::NotFound && fresh() {
            tracing::error!(
                %machine,
                "its {PURPOSE} cannot be read ({error}): it is left alone until its name is needed; was it made by \
                 another version of the manager?"
            );
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

#[cfg(test)]
mod tests {
    use super::*;

    fn purpose(image: Option<&str>) -> MachinePurpose {
        MachinePurpose {
            id: "a-web-1".into(),
            service: "web".into(),
            incarnation: 1007,
            address: [192, 168, 10, 11].into(),
            image: image.map(str::to_owned),
        }
    }

    /// What is read of a machine of which this is stored.
    fn read(stored: &str) -> io::Result<MachinePurpose> {
        let machines = tempfile::tempdir().expect("a directory");
        let directory = Directory::of(machines.path(), &"a-web-1".into());
        directory.create(0o700).expect("a directory");
        fs::write(directory.file(PURPOSE), stored).expect("writable");
        assert!(!directory.is_unfinished());
        directory.purpose()
    }

    #[test]
    fn what_managers_of_other_versions_wrote_is_understood() {
        let first = r#"{"id": "a-web-1", "service": "web", "incarnation": 1007, "address": "192.168.10.11"}"#;
        assert_eq!(read(first).expect("understood"), purpose(None));
        let this = r#"{"format": 1, "id": "a-web-1", "service": "web", "incarnation": 1007,
            "address": "192.168.10.11", "image": "12ab"}"#;
        assert_eq!(read(this).expect("understood"), purpose(Some("12ab")));
        let next = r#"{"format": 2, "id": "a-web-1", "service": "web", "incarnation": 1007,
            "address": "192.168.10.11", "image": "12ab", "zone": {"rack": [1, 2]}, "address6": "fd00::11"}"#;
        assert_eq!(read(next).expect("understood"), purpose(Some("12ab")));
    }

    #[test]
    fn what_is_written_stays_as_managers_of_this_version_read_it() {
        let machines = tempfile::tempdir().expect("a directory");
        let directory = Directory::of(machines.path(), &"a-web-1".into());
        directory.create(0o700).expect("a directory");
        directory.store_purpose(&purpose(None)).expect("writable");
        let written: serde_json::Value =
            serde_json::from_slice(&fs::read(directory.file(PURPOSE)).expect("there")).expect("JSON");
        let expected = serde_json::json!({
            "format": 1, "id": "a-web-1", "service": "web", "incarnation": 1007, "address": "192.168.10.11",
        });
        assert_eq!(written, expected);
        assert_eq!(directory.purpose().expect("readable"), purpose(None));
    }

    #[test]
    fn what_cannot_be_read_is_no_interrupted_creation() {
        for odd in ["", "{ half", r#"{"format": 3, "name": "a-web-1"}"#] {
            assert_ne!(read(odd).expect_err("not understood").kind(), io::ErrorKind::NotFound, "{odd}");
        }
    }
}
