//! A machine's QEMU process.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, setpriority_process};

use crate::ports::machine::process::{Process, Table, command_line};

/// The niceness of a machine that others depend on: about ten times the processor time of an ordinary one.
const FAVOURED: i32 = -10;

/// The process of the machine whose seed disk is `seed`, if it runs.
pub(super) fn find(seed: &Path) -> io::Result<Option<Process>> {
    Process::find(|line| is_it(line, seed))
}

/// The same, for whoever looks for many machines.
pub(super) fn find_in(table: &Table, seed: &Path) -> io::Result<Option<Process>> {
    table.find(|line| is_it(line, seed))
}

/// Whether `process` is that of the machine whose seed disk is `seed`, and has not ended.
pub(super) fn is(process: &Process, seed: &Path) -> bool {
    command_line(process.pid()).is_some_and(|line| is_it(&line, seed))
}

fn is_it(line: &[u8], seed: &Path) -> bool {
    let seed = seed.as_os_str().as_bytes();
    let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    // Others may name the file too: a manager that looks at it, a shell.
    (name.starts_with(b"qemu") || name.starts_with(b"kvm"))
        && line.windows(seed.len()).any(|part| part == seed)
}

/// Lets `process` go before the host's other machines when there is not enough processor for all: each of
/// its threads, and those that they start.
pub(super) fn favour(process: &Process) -> io::Result<()> {
    for thread in fs::read_dir(format!("/proc/{}/task", process.pid()))? {
        let name = thread?.file_name();
        let id = name.to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
        // One that has just ended needs nothing.
        match setpriority_process(id, FAVOURED) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
