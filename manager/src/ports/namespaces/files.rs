//! What is in a namespace machine's directory.
//!
//! ```text
//!   machines/a-lb/machine.json   what it is for
//!                 seed/          what a real machine finds on its seed disk
//!                 guest/         the machine's own disk: gone with the machine
//!                 data           of one that keeps its disk, where that is
//!                 console.log
//!   disks/a-db-1/                that disk: left to the next machine of the name
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::PathBuf;

use wire::seed::{self, Seed};

use crate::engine::MachineSpec;
use crate::ports::machine::directory::{Directory, write};
use crate::ports::machine::nocloud;

/// Only root may look inside: seeds hold secrets.
const MODE: u32 = 0o700;

const DATA: &str = "data";

/// Makes the directory with all that is in it from the start.
pub(super) fn create(directory: &Directory, spec: &MachineSpec) -> io::Result<()> {
    directory.create(MODE)?;
    for part in ["seed", "guest"] {
        DirBuilder::new().mode(MODE).create(directory.file(part))?;
    }
    if spec.persistent {
        let disk = directory.kept_disk();
        DirBuilder::new().mode(MODE).recursive(true).create(&disk)?;
        symlink(disk, directory.file(DATA))?;
    }
    for (name, content) in nocloud::files(spec, None)? {
        write(&seed_file(directory, name), &content)?;
    }
    directory.store_purpose(&spec.purpose)
}

pub(super) fn read_seed(directory: &Directory) -> io::Result<Seed> {
    Ok(serde_json::from_slice(&fs::read(seed_file(directory, seed::FILE))?)?)
}

/// Where the machine keeps what is to outlive it, if it may.
pub(super) fn data(directory: &Directory) -> Option<PathBuf> {
    fs::read_link(directory.file(DATA)).ok()
}

fn seed_file(directory: &Directory, name: &str) -> PathBuf {
    directory.file("seed").join(name)
}
