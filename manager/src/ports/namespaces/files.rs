//! What is in a namespace machine's directory.
//!
//! ```text
//!   machines/a-lb/machine.json   what it is for
//!                 seed/          what a real machine finds on its seed disk
//!                 guest/         the machine's own disk: gone with the machine
//!                 console.log
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use wire::seed::{self, Seed};

use crate::engine::MachineSpec;
use crate::ports::machine::directory::{Directory, write};
use crate::ports::machine::nocloud;

/// Only root may look inside: seeds hold secrets.
const MODE: u32 = 0o700;

/// Makes the directory with all that is in it from the start.
pub(super) fn create(directory: &Directory, spec: &MachineSpec) -> io::Result<()> {
    directory.create(MODE)?;
    for part in ["seed", "guest"] {
        DirBuilder::new().mode(MODE).create(directory.file(part))?;
    }
    for (name, content) in nocloud::files(spec, None)? {
        write(&seed_file(directory, name), &content)?;
    }
    directory.store_purpose(&spec.purpose)
}

pub(super) fn read_seed(directory: &Directory) -> io::Result<Seed> {
    Ok(serde_json::from_slice(&fs::read(seed_file(directory, seed::FILE))?)?)
}

fn seed_file(directory: &Directory, name: &str) -> PathBuf {
    directory.file("seed").join(name)
}
