//! A manager that is gone for a while, because somebody ordered it.
//!
//! It may be kept by systemd, by a script or by nobody, and is to be away for as long as was ordered, and back after
//! that, with each of them. So the process does not end: it becomes another one, under the same number, that has
//! nothing of the manager (no socket, no connection, no memory of it) and does nothing but wait, and then becomes a
//! manager again. To everybody else the manager was killed, and came back. A supervisor that is told to restart it
//! meanwhile has it back at once.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// The hidden option of `manager run` that has it wait first, in milliseconds.
pub const STOPPED_FOR: &str = "stopped-for-ms";

/// The program of this process, as it is installed now: it may have been replaced since it was started.
///
/// # Errors
///
/// Where the kernel does not say.
pub(super) fn program() -> io::Result<PathBuf> {
    let path = env::current_exe()?;
    let installed = match path.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(replaced) => PathBuf::from(replaced),
        None => path,
    };
    // What was taken away and not replaced still runs.
    Ok(if installed.exists() { installed } else { PathBuf::from("/proc/self/exe") })
}

/// Makes this process one that waits for `time` and then starts the manager as this one was started.
///
/// # Errors
///
/// Only when it could not; then it still is what it was.
pub fn become_waiting(time: Duration) -> io::Error {
    let program = match program() {
        Ok(program) => program,
        Err(error) => return error,
    };
    tracing::warn!(?time, "manager is stopped by order, machines live on");
    let words = without_waiting(env::args_os().skip(1));
    Command::new(program).args(words).arg(format!("--{STOPPED_FOR}")).arg(time.as_millis().to_string()).exec()
}

/// Waits for as long as the manager is to be away.
pub fn wait_out(time: Duration) {
    sleep(time);
    tracing::info!("the time for which the manager was stopped is over");
}

/// The words that this process was started with, without those that had it wait.
fn without_waiting(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let flag = format!("--{STOPPED_FOR}");
    let mut words = words.peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == OsStr::new(&flag) {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_started_again_as_it_was_started() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let started = "--config /etc/holdfast/manager.toml run";
        assert_eq!(without_waiting(words(started).into_iter()), words(started));
        let stopped_before = format!("{started} --stopped-for-ms 500");
        assert_eq!(without_waiting(words(&stopped_before).into_iter()), words(started));
    }
}
