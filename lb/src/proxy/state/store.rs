//! Keeps what was accepted on disk, so that a balancer that starts alone serves what it last served.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::Problem;

/// The directory of the accepted documents.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Uses `directory`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Store { directory: directory.to_owned() })
    }

    /// The document in `file`; none where there is no such file. One that cannot be used is moved aside,
    /// so that it can be looked at and the balancer starts all the same.
    pub(crate) fn load<T: DeserializeOwned>(
        &self,
        file: &str,
        check: fn(&T) -> Result<(), Problem>,
    ) -> Option<T> {
        let path = self.directory.join(file);
        let error = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => error.to_string(),
            Ok(text) => match serde_json::from_slice(&text) {
                Err(error) => error.to_string(),
                Ok(document) => match check(&document) {
                    Err(problem) => problem.detail,
                    Ok(()) => return Some(document),
                },
            },
        };
        self.set_aside(file, &error);
        None
    }

    /// Moves `file`, which cannot be used, out of the way.
    pub(super) fn set_aside(&self, file: &str, error: &str) {
        let path = self.directory.join(file);
        let aside = self.directory.join(format!("{file}.unusable"));
        let moved = fs::rename(&path, &aside);
        tracing::error!(
            path = %path.display(), aside = %aside.display(), moved = moved.is_ok(), %error,
            "WHAT WAS STORED CANNOT BE USED; starting without it"
        );
    }

    /// What is in `file`; none where there is no such file, or it cannot be read.
    pub(super) fn read(&self, file: &str) -> Option<Vec<u8>> {
        fs::read(self.directory.join(file)).ok()
    }

    /// How long `file` is, in bytes, if it is there.
    pub(super) fn length(&self, file: &str) -> Option<u64> {
        fs::metadata(self.directory.join(file)).ok().map(|metadata| metadata.len())
    }

    /// Writes `bytes` behind what is in `file`. After a power cut, or when the disk refuses it, a part of them may be
    /// there.
    ///
    /// # Errors
    ///
    /// When the disk refuses it.
    pub(super) fn append(&self, file: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.directory.join(file);
        let is_new = !path.exists();
        let mut output = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        output.write_all(bytes)?;
        output.sync_data()?;
        if is_new { File::open(&self.directory)?.sync_all() } else { Ok(()) }
    }

    /// Takes `file` away, if it is there.
    ///
    /// # Errors
    ///
    /// When the disk refuses it.
    pub(crate) fn remove(&self, file: &str) -> io::Result<()> {
        match fs::remove_file(self.directory.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => File::open(&self.directory)?.sync_all(),
        }
    }

    /// Puts `document` into `file`: after a power cut there is the old one or the new one, whole. Returns how long it is,
    /// in bytes.
    ///
    /// # Errors
    ///
    /// When the disk refuses it; the old one is then still there.
    pub(crate) fn save<T: Serialize>(&self, file: &str, document: &T) -> io::Result<u64> {
        let temporary = self.directory.join(format!("{file}.new"));
        // A configuration may hold keys, and credentials do: only the owner reads any of it.
        let mut output =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let text = serde_json::to_vec(document)?;
        output.write_all(&text)?;
        output.sync_all()?;
        fs::rename(&temporary, self.directory.join(file))?;
        File::open(&self.directory)?.sync_all()?;
        Ok(text.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corrupt_file_is_moved_aside() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(directory.path()).expect("store");
        fs::write(directory.path().join("x.json"), "[1, 2").expect("written");
        assert_eq!(store.load::<Vec<u8>>("x.json", |_| Ok(())), None);
        assert!(directory.path().join("x.json.unusable").exists());
        store.save("x.json", &[1u8, 2]).expect("saved");
        assert_eq!(store.load::<Vec<u8>>("x.json", |_| Ok(())), Some(vec![1, 2]));
    }
}
