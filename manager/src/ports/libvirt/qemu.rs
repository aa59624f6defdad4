//! A machine's QEMU process.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::ports::machine::process::Process;

/// The process of the machine whose seed disk is `seed`, if it runs.
pub(super) fn find(seed: &Path) -> io::Result<Option<Process>> {
    let seed = seed.as_os_str().as_bytes();
    Process::find(|line| {
        let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        // Others may name the file too: a manager that looks at it, a shell.
        (name.starts_with(b"qemu") || name.starts_with(b"kvm"))
            && line.windows(seed.len()).any(|part| part == seed)
    })
}
