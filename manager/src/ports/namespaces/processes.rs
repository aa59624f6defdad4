//! A machine's processes, found in the process table.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::Signal;

use super::SUBCOMMAND;
use crate::ports::machine::process::{Process, Table, command_line, pids, send};

/// The init of the machine in `directory`, if it runs. An init ends only after all others.
pub(super) fn find_init(directory: &Path) -> io::Result<Option<Process>> {
    Process::find(|line| is_init(line, directory))
}

/// The same, for whoever looks for the inits of many machines.
pub(super) fn find_init_in(table: &Table, directory: &Path) -> io::Result<Option<Process>> {
    table.find(|line| is_init(line, directory))
}

/// Whether process `pid` is the init of the machine in `directory`.
pub(super) fn is_init_of(pid: i32, directory: &Path) -> bool {
    command_line(pid).is_some_and(|line| is_init(&line, directory))
}

/// The spare in `directory`, if it runs and has not become anything else.
pub(super) fn find_spare(directory: &Path) -> io::Result<Option<Process>> {
    Process::find(|line| is_process(line, b"spare", directory))
}

/// Whether process `pid` is the spare in `directory`.
pub(super) fn is_spare_of(pid: i32, directory: &Path) -> bool {
    command_line(pid).is_some_and(|line| is_process(&line, b"spare", directory))
}

fn is_init(command_line: &[u8], directory: &Path) -> bool {
    is_process(command_line, b"init", directory)
}

fn is_process(command_line: &[u8], kind: &[u8], directory: &Path) -> bool {
    let mut arguments = command_line.split(|byte| *byte == 0).skip(1);
    arguments.next() == Some(SUBCOMMAND.as_bytes())
        && arguments.next() == Some(kind)
        && arguments.any(|argument| argument == directory.as_os_str().as_bytes())
}

/// Sends `signal` to every process of the machine of `init`, the init first.
pub(super) fn signal_all(init: &Process, signal: Signal) -> io::Result<()> {
    init.signal(signal)?;
    for pid in members(init)? {
        send(pid, signal)?;
    }
    Ok(())
}

/// Sends `signal` to the program that `init` keeps running.
pub(super) fn signal_program(init: &Process, signal: Signal) -> io::Result<()> {
    for pid in members(init)? {
        if pid != init.pid() && parent_of(pid) == Some(init.pid()) {
            send(pid, signal)?;
        }
    }
    Ok(())
}

fn members(init: &Process) -> io::Result<Vec<i32>> {
    let namespace = fs::read_link(format!("/proc/{}/ns/pid", init.pid()))?;
    Ok(pids()?
        .into_iter()
        .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|other| other == namespace))
        .collect())
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name in parentheses, may contain anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
