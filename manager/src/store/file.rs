//! The store's file: made as a whole, checked when it is opened, kept aside when it is no good.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError};

use super::{DESIRED, HOST, StoreError, Table, import};

/// The version of what the tables hold. It rises when a table changes its meaning; a table or field that is
/// only added raises nothing.
const SCHEMA: u64 = 1;

/// The oldest version that can read what this one writes.
const READABLE_FROM: u64 = 1;

/// So many damaged ones are kept.
const MOST_ASIDE: u32 = 5;

/// Memory for what was read, in bytes: the store is small.
const CACHE: usize = 1 << 20;

/// The versions, by what they mean.
const VERSIONS: Table<u64> = Table::new("versions");

/// The file in `directory`.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join("store.redb")
}

/// Opens the file in `directory`, or makes it. One that is no good is kept aside.
pub(super) fn open(directory: &Path) -> Result<Database, StoreError> {
    let path = path(directory);
    if path.try_exists().map_err(unavailable)? {
        match open_and_check(&path) {
            Ok(database) => {
                import::newer_desired(directory, &database)?;
                return Ok(database);
            }
            Err(StoreError::Damaged(why)) => keep_aside(&path, &why)?,
            Err(error) => return Err(error),
        }
    }
    make(directory, &path)
}

/// What `work` does with the database; a panic over something unforeseen in the file counts as damage.
pub(super) fn guarded<T>(
    database: &Database,
    work: impl FnOnce(&Database) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    unpanicked(|| work(database))
}

fn unpanicked<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // Whatever the panic left half done is dropped with the database, and what is on disk is whole.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(StoreError::Damaged("the store's file is not what it should be".to_owned())))
}

fn open_and_check(path: &Path) -> Result<Database, StoreError> {
    unpanicked(|| {
        let mut database =
            Builder::new().set_cache_size(CACHE).open(path).map_err(|error| cannot_open(path, error))?;
        // Mends what a power cut left; an error means that it cannot.
        database.check_integrity().map_err(|error| cannot_open(path, error))?;
        let version = |name| VERSIONS.get(&database, name).map(Option::unwrap_or_default);
        let (schema, readable_from) = (version("schema")?, version("readable-from")?);
        if schema == 0 {
            return Err(StoreError::Damaged("it does not say of which version it is".to_owned()));
        }
        if readable_from > SCHEMA {
            return Err(StoreError::Damaged(format!(
                "it is of version {schema}, readable from {readable_from} on, and this manager's is {SCHEMA}"
            )));
        }
        DESIRED.get(&database, HOST)?;
        Ok(database)
    })
}

/// Makes the file under another name first: whatever happens meanwhile, there is a whole one or none.
fn make(directory: &Path, path: &Path) -> Result<Database, StoreError> {
    let fresh = path.with_extension("redb.new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unavailable(error)),
        _ => {}
    }
    unpanicked(|| {
        let database = Builder::new()
            .create_with_file_format_v3(true)
            .set_cache_size(CACHE)
            .create(&fresh)
            .map_err(|error| cannot_open(&fresh, error))?;
        VERSIONS.put(&database, "schema", &SCHEMA)?;
        VERSIONS.put(&database, "readable-from", &READABLE_FROM)?;
        if let Some(desired) = import::read(directory)? {
            DESIRED.put(&database, HOST, &desired)?;
        }
        Ok(())
    })?;
    only_for_its_owner(&fresh).map_err(unavailable)?;
    fs::rename(&fresh, path).map_err(unavailable)?;
    sync(directory)?;
    import::keep_aside(directory)?;
    open_and_check(path)
}

fn only_for_its_owner(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

fn keep_aside(path: &Path, why: &str) -> Result<(), StoreError> {
    let aside = aside(path);
    fs::rename(path, &aside).map_err(unavailable)?;
    tracing::error!(
        "{} cannot be used ({why}). It is kept as {}; what runs is adopted as the hypervisor knows it, the counts are \
         those of the configuration, and tokens have to be made anew",
        path.display(),
        aside.display()
    );
    Ok(())
}

/// A name that no earlier one has; the last of them is replaced when there are too many.
fn aside(path: &Path) -> PathBuf {
    let name = |number| match number {
        1 => path.with_extension("redb.broken"),
        number => path.with_extension(format!("redb.broken.{number}")),
    };
    (1..MOST_ASIDE).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(MOST_ASIDE))
}

pub(super) fn sync(directory: &Path) -> Result<(), StoreError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(unavailable)
}

fn cannot_open(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Busy(path.to_owned()),
        DatabaseError::RepairAborted | DatabaseError::UpgradeRequired(_) => {
            StoreError::Damaged(error.to_string())
        }
        DatabaseError::Storage(error) => broken(error),
        other => StoreError::Damaged(other.to_string()),
    }
}

/// What an error of redb means for us.
pub(super) fn broken(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => match error.kind() {
            // It ends too early, or does not begin as it should.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                StoreError::Damaged(error.to_string())
            }
            _ => unavailable(error),
        },
        redb::Error::PreviousIo => StoreError::Unavailable("the disk refused a write before".to_owned()),
        error @ redb::Error::ValueTooLarge(_) => StoreError::Unavailable(error.to_string()),
        other => StoreError::Damaged(other.to_string()),
    }
}

pub(super) fn unavailable(error: io::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

#[cfg(test)]
pub(super) fn set_versions(database: &Database, schema: u64, readable_from: u64) {
    VERSIONS.put(database, "schema", &schema).expect("writable");
    VERSIONS.put(database, "readable-from", &readable_from).expect("writable");
}
