//! Starts a program that does not outlive us.
#![allow(unsafe_code)]

use std::io;

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};
use tokio::process::{Child, Command};

/// Starts `command`, which gets `at_our_death` when the calling thread ends, however that comes. Call it
/// from the main thread, which ends when the process does.
///
/// # Errors
///
/// When it cannot be started.
pub(super) fn spawn(command: &mut Command, at_our_death: Signal) -> io::Result<Child> {
    let parent = getpid();
    let before_exec = move || {
        set_pdeathsig(at_our_death)?;
        // We may have died before the line above: then nobody will send the signal.
        if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: between fork and exec only async-signal-safe functions may be called. The closure makes
    // the system calls prctl and getppid, and neither allocates nor takes a lock: both kinds of error
    // are plain numbers.
    unsafe { command.pre_exec(before_exec) }.spawn()
}
