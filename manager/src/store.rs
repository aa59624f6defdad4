//! Keeps the desired state on disk, so that it survives a power cut: written beside, flushed, and
//! renamed into place.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::Desired;

/// Where the desired state is kept.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    /// One save at a time: one that the disk held up must not overwrite a later one.
    saving: Arc<Mutex<()>>,
}

impl Store {
    /// The store in `directory`.
    pub fn new(directory: &Path) -> Self {
        Store { directory: directory.to_owned(), saving: Arc::default() }
    }

    fn path(&self) -> PathBuf {
        self.directory.join("desired.json")
    }

    /// What was last saved; nothing on a new host. A file that cannot be understood is put aside, so
    /// that nothing is lost, and counts as nothing.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read or made.
    pub fn load(&self) -> io::Result<Option<Desired>> {
        fs::create_dir_all(&self.directory)?;
        let bytes = match fs::read(self.path()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match serde_json::from_slice(&bytes) {
            Ok(desired) => Ok(Some(desired)),
            Err(error) => {
                let aside = self.path().with_extension("json.broken");
                fs::rename(self.path(), &aside)?;
                tracing::error!(
                    "{} cannot be understood ({error}); it is kept as {}, and the counts start from the configuration",
                    self.path().display(),
                    aside.display()
                );
                Ok(None)
            }
        }
    }

    /// Saves `desired`; when this returns, it stays.
    ///
    /// # Errors
    ///
    /// When it cannot be written; then what was saved before is still there.
    pub fn save(&self, desired: &Desired) -> io::Result<()> {
        let _one = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let temporary = self.path().with_extension("json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(desired)?)?;
        file.sync_all()?;
        fs::rename(&temporary, self.path())?;
        File::open(&self.directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::config;

    #[test]
    fn what_is_saved_is_loaded_and_a_broken_file_is_kept_aside() {
        let directory = std::env::temp_dir().join(format!("holdfast-store-{}", std::process::id()));
        let store = Store::new(&directory);
        assert_eq!(store.load().expect("readable"), None);
        let desired = Desired::reconcile(None, &config(2));
        store.save(&desired).expect("writable");
        assert_eq!(store.load().expect("readable"), Some(desired));
        fs::write(store.path(), "{ half").expect("writable");
        assert_eq!(store.load().expect("readable"), None);
        assert!(directory.join("desired.json.broken").exists());
        fs::remove_dir_all(&directory).expect("removable");
    }
}
