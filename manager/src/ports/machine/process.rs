//! A machine's process, found in the process table by its command line.
//!
//! The process table is the drivers' memory of what runs: a restarted manager finds all its machines in
//! it, and there is no pid file that could lie.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use kit::readiness::Readiness;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

/// A process, held by a handle that never comes to mean another one.
pub(crate) struct Process {
    pid: i32,
    handle: OwnedFd,
}

impl Process {
    /// The first process whose command line `is_it`, if there is one.
    pub(crate) fn find(is_it: impl Fn(&[u8]) -> bool) -> io::Result<Option<Process>> {
        for pid in pids()? {
            if command_line(pid).is_some_and(|line| is_it(&line))
                && let Some(process) = Process::open(pid, &is_it)?
            {
                return Ok(Some(process));
            }
        }
        Ok(None)
    }

    /// Process `pid`, if its command line still `is_it`.
    fn open(pid: i32, is_it: impl Fn(&[u8]) -> bool) -> io::Result<Option<Process>> {
        let Some(raw) = rustix::process::Pid::from_raw(pid) else { return Ok(None) };
        let handle = match pidfd_open(raw, PidfdFlags::NONBLOCK) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // With the handle open the number cannot be given to another process any more; without
        // this second look it could have been just before.
        let same = command_line(pid).is_some_and(|line| is_it(&line));
        Ok(same.then_some(Process { pid, handle }))
    }

    /// A second handle of the same process.
    pub(crate) fn again(&self) -> io::Result<Process> {
        Ok(Process { pid: self.pid, handle: self.handle.try_clone()? })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Resolves when the process has ended.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        Readiness::new(self.handle.try_clone()?)?.readable().await
    }

    /// Sends `signal` to it. One that has ended is fine.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        send(self.pid, signal)
    }
}

/// The process table as it was at some moment: whoever looks for many processes reads it once.
pub(crate) struct Table(Vec<(i32, Vec<u8>)>);

impl Table {
    pub(crate) fn read() -> io::Result<Self> {
        Ok(Table(pids()?.into_iter().filter_map(|pid| Some((pid, command_line(pid)?))).collect()))
    }

    /// The first process whose command line `is_it`, if there is one: one that was there then, or one that is now.
    pub(crate) fn find(&self, is_it: impl Fn(&[u8]) -> bool) -> io::Result<Option<Process>> {
        for (pid, _) in self.0.iter().filter(|(_, line)| is_it(line)) {
            if let Some(process) = Process::open(*pid, &is_it)? {
                return Ok(Some(process));
            }
        }
        Process::find(is_it)
    }
}

/// Sends `signal` to process `pid`. One that has ended is fine.
pub(crate) fn send(pid: i32, signal: Signal) -> io::Result<()> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// All processes there are.
pub(crate) fn pids() -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// What process `pid` was started as, each argument ended by a zero. Zombies have none, so that a process
/// that has ended is not found.
pub(crate) fn command_line(pid: i32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/cmdline")).ok()
}
