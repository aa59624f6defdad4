//! Starts a program as a program expects to be started.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::sys::signal::SigSet;

/// Starts `command` with no signal blocked. The init blocks the signals that it reads from a file, and
/// a child inherits that: unless it is undone, the program never hears that it shall end.
///
/// # Errors
///
/// When it cannot be started.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let before_exec = || Ok(SigSet::empty().thread_set_mask()?);
    // SAFETY: between fork and exec only async-signal-safe functions may be called. The closure makes
    // the one system call of pthread_sigmask, and neither allocates nor takes a lock.
    unsafe { command.pre_exec(before_exec) }.spawn()
}
