//! The desired state of managers that kept it in `desired.json`: taken over once, and kept aside.
//!
//! Somebody may have gone back to such a manager for a while: then its file, of a later life, is the newer
//! one, and is taken over again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redb::Database;

use super::file::unavailable;
use super::{DESIRED, HOST, StoreError};
use crate::engine::Desired;

fn path(directory: &Path) -> PathBuf {
    directory.join("desired.json")
}

/// What the file says, where there is one. One that cannot be understood is put aside and counts as none.
pub(super) fn read(directory: &Path) -> Result<Option<Desired>, StoreError> {
    let path = path(directory);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unavailable(error)),
    };
    match serde_json::from_slice(&bytes) {
        Ok(desired) => Ok(Some(desired)),
        Err(error) => {
            let aside = path.with_extension("json.broken");
            fs::rename(&path, &aside).map_err(unavailable)?;
            tracing::error!(
                "{} cannot be understood ({error}); it is kept as {}, and the counts start from the configuration",
                path.display(),
                aside.display()
            );
            Ok(None)
        }
    }
}

/// What it said is in the store now.
pub(super) fn keep_aside(directory: &Path) -> Result<(), StoreError> {
    let path = path(directory);
    let aside = path.with_extension("json.imported");
    match fs::rename(&path, &aside) {
        Ok(()) => {
            tracing::info!(
                "{} was taken over into the store and kept as {}",
                path.display(),
                aside.display()
            );
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unavailable(error)),
    }
}

/// Takes a file over that is beside a store that exists already, where it is of a later life.
pub(super) fn newer_desired(directory: &Path, database: &Database) -> Result<(), StoreError> {
    let Some(desired) = read(directory)? else { return Ok(()) };
    let held = DESIRED.get(database, HOST)?;
    if held.is_none_or(|held| held.epoch < desired.epoch) {
        DESIRED.put(database, HOST, &desired)?;
    }
    keep_aside(directory)
}
