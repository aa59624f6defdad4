//! A machine's processes, found in the process table.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kit::readiness::Readiness;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

use super::SUBCOMMAND;

/// Process 1 of a machine.
pub(super) struct Init {
    pid: i32,
    handle: OwnedFd,
}

impl Init {
    /// The init of the machine in `directory`, if it runs.
    pub(super) fn find(directory: &Path) -> io::Result<Option<Init>> {
        for pid in pids()? {
            if !is_init_of(pid, directory) {
                continue;
            }
            let Some(raw) = rustix::process::Pid::from_raw(pid) else { continue };
            let handle = match pidfd_open(raw, PidfdFlags::NONBLOCK) {
                Ok(handle) => handle,
                Err(rustix::io::Errno::SRCH) => continue,
                Err(error) => return Err(error.into()),
            };
            // With the handle open the number cannot be given to another process any more; without
            // this second look it could have been just before.
            if is_init_of(pid, directory) {
                return Ok(Some(Init { pid, handle }));
            }
        }
        Ok(None)
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Resolves when the machine's last process has ended: an init ends only after all others.
    pub(super) async fn ended(&self) -> io::Result<()> {
        Readiness::new(self.handle.try_clone()?)?.readable().await
    }

    /// Sends `signal` to the init itself. One that has ended is fine.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        send(self.pid, signal)
    }

    /// Sends `signal` to every process of the machine, the init first.
    pub(super) fn signal_all(&self, signal: Signal) -> io::Result<()> {
        self.signal(signal)?;
        for pid in self.members()? {
            send(pid, signal)?;
        }
        Ok(())
    }

    /// Sends `signal` to the program that the init keeps running.
    pub(super) fn signal_program(&self, signal: Signal) -> io::Result<()> {
        for pid in self.members()? {
            if pid != self.pid && parent_of(pid) == Some(self.pid) {
                send(pid, signal)?;
            }
        }
        Ok(())
    }

    fn members(&self) -> io::Result<Vec<i32>> {
        let namespace = fs::read_link(format!("/proc/{}/ns/pid", self.pid))?;
        Ok(pids()?
            .into_iter()
            .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|other| other == namespace))
            .collect())
    }
}

fn send(pid: i32, signal: Signal) -> io::Result<()> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn pids() -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// Zombies have no command line, so that an init that has ended is not found.
pub(super) fn is_init_of(pid: i32, directory: &Path) -> bool {
    let Ok(command_line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut arguments = command_line.split(|byte| *byte == 0).skip(1);
    arguments.next() == Some(SUBCOMMAND.as_bytes())
        && arguments.next() == Some(b"init")
        && arguments.any(|argument| argument == directory.as_os_str().as_bytes())
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name in parentheses, may contain anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
