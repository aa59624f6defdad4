//! What the hypervisor cannot hold, on disk: the desired state, tokens, and whatever else must outlive a power
//! cut. An embedded database (redb) whose transactions are there as a whole or not at all, whenever the process
//! is killed.
//!
//! ```text
//!   open ──▶ read and checked ──▶ used
//!     ├── damaged, or of a version that this one cannot read ──▶ kept aside, a new one begun
//!     ├── another manager has it ──▶ error
//!     └── the disk does not let us ──▶ tried again with each use
//! ```
//!
//! While a manager runs it alone has the store: other programs ask it by its API.

mod file;
mod import;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use redb::Database;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::engine::Desired;

pub use table::Table;

/// The one row of the desired state.
const DESIRED: Table<Desired> = Table::new("desired");
const HOST: &str = "host";

/// Why the store cannot be used now.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("another manager uses {0}: end it first, or give each a state_dir of its own")]
    Busy(PathBuf),
    /// The disk is full, broken or read-only.
    #[error("{0}")]
    Unavailable(String),
    /// What is there cannot be understood.
    #[error("{0}")]
    Damaged(String),
}

/// The store of one manager. Every call blocks while the disk does.
#[derive(Clone)]
pub struct Store {
    directory: PathBuf,
    /// None while it cannot be opened, and after an error, which redb gets over only by opening it anew.
    database: Arc<Mutex<Option<Database>>>,
}

impl Store {
    /// The store in `directory`, which is made where it is not there.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made, or another manager uses it. A store that is damaged is kept aside; one
    /// that the disk does not let us open is tried again with each use. Both are logged, and the manager goes on
    /// with what the hypervisor knows.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let store = Store { directory: directory.to_owned(), database: Arc::default() };
        match store.with(|_| Ok(())) {
            Ok(()) => {}
            Err(busy @ StoreError::Busy(_)) => return Err(io::Error::new(io::ErrorKind::ResourceBusy, busy)),
            Err(error) => tracing::error!(
                "{} cannot be opened ({error}): what runs is adopted as the hypervisor knows it, and nothing new is \
                 made until this is mended",
                file::path(directory).display()
            ),
        }
        Ok(store)
    }

    /// The desired state that was last saved; nothing on a new host.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn load(&self) -> Result<Option<Desired>, StoreError> {
        self.get(&DESIRED, HOST)
    }

    /// Saves `desired`; when this returns, it stays.
    ///
    /// # Errors
    ///
    /// When it cannot be written; then what was saved before is still there.
    pub fn save(&self, desired: &Desired) -> Result<(), StoreError> {
        self.put(&DESIRED, HOST, desired)
    }

    /// The value at `key`.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the value not understood.
    pub fn get<V: DeserializeOwned>(&self, table: &Table<V>, key: &str) -> Result<Option<V>, StoreError> {
        self.with(|database| table.get(database, key))
    }

    /// All values of a table. One that cannot be understood is left out and logged.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn all<V: DeserializeOwned>(&self, table: &Table<V>) -> Result<BTreeMap<String, V>, StoreError> {
        self.with(|database| table.all(database))
    }

    /// Writes a value; when this returns, it stays.
    ///
    /// # Errors
    ///
    /// When it cannot be written; then nothing has changed.
    pub fn put<V: Serialize>(&self, table: &Table<V>, key: &str, value: &V) -> Result<(), StoreError> {
        self.with(|database| table.put(database, key, value))
    }

    /// Removes the value at `key` and gives it back. Of several who take the same one, one gets it.
    ///
    /// # Errors
    ///
    /// When that cannot be written, or the value not understood; then nothing has changed.
    pub fn take<V: DeserializeOwned>(&self, table: &Table<V>, key: &str) -> Result<Option<V>, StoreError> {
        self.with(|database| table.take(database, key))
    }

    /// Removes the value at `key`, whatever it is. Says whether there was one.
    ///
    /// # Errors
    ///
    /// When that cannot be written; then nothing has changed.
    pub fn remove<V>(&self, table: &Table<V>, key: &str) -> Result<bool, StoreError> {
        self.with(|database| table.remove(database, key))
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut held = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match held.take() {
            Some(database) => database,
            None => file::open(&self.directory)?,
        };
        let done = file::guarded(&database, work);
        // After an error of the disk redb refuses everything: it is opened anew next time.
        if done.is_ok() {
            *held = Some(database);
        }
        done
    }
}
