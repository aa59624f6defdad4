//! One of the two processes: started, waited for, and started again.

use std::ffi::OsString;
use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::time::Instant;
use tracing::{info, warn};

use super::spawn::spawn;

/// A child that lived for this long is started at once when it dies.
const LONG_LIFE: Duration = Duration::from_secs(10);

/// The wait before the second quick restart; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait before a restart.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// What a child is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Proxy,
    Speaker,
}

impl Role {
    /// The subcommand.
    pub(super) const fn command(self) -> &'static str {
        match self {
            Role::Proxy => "proxy",
            Role::Speaker => "vip",
        }
    }

    /// What it gets when we die. The speaker hands the addresses over, which takes it a moment. A proxy
    /// in progress would be in the way of the one that is started next.
    const fn at_our_death(self) -> Signal {
        match self {
            Role::Proxy => Signal::SIGKILL,
            Role::Speaker => Signal::SIGTERM,
        }
    }
}

#[derive(Debug)]
pub(super) struct Child {
    role: Role,
    program: PathBuf,
    arguments: Vec<OsString>,
    state: State,
    /// Deaths in a row after a short life.
    quick_deaths: u32,
}

#[derive(Debug)]
enum State {
    /// To be started then.
    Waiting {
        until: Instant,
    },
    Running {
        process: tokio::process::Child,
        since: Instant,
    },
}

impl Child {
    /// To be started at once.
    pub(super) fn new(role: Role, (program, arguments): (PathBuf, Vec<OsString>)) -> Self {
        let state = State::Waiting { until: Instant::now() };
        Child { role, program, arguments, state, quick_deaths: 0 }
    }

    /// Waits until it is to be started (true) or died (false). Can be cancelled.
    pub(super) async fn next(&mut self) -> bool {
        match &mut self.state {
            State::Waiting { until } => {
                tokio::time::sleep_until(*until).await;
                true
            }
            State::Running { process, .. } => match process.wait().await {
                Ok(status) => {
                    warn!(child = self.role.command(), %status, "died");
                    false
                }
                // Our own child cannot be waited for only if it was waited for already.
                Err(error) => {
                    warn!(child = self.role.command(), %error, "cannot be waited for");
                    pending().await
                }
            },
        }
    }

    /// Starts it, or plans the next attempt.
    pub(super) fn start(&mut self) {
        let now = Instant::now();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).kill_on_drop(true);
        match spawn(&mut command, self.role.at_our_death()) {
            Ok(process) => {
                info!(child = self.role.command(), pid = process.id(), "started");
                self.state = State::Running { process, since: now };
            }
            Err(error) => {
                warn!(child = self.role.command(), %error, "cannot be started; trying on");
                self.quick_deaths += 1;
                self.state = State::Waiting { until: now + wait(self.quick_deaths + 1) };
            }
        }
    }

    /// It died: plans when to start it again.
    pub(super) fn retry_later(&mut self, now: Instant) {
        let lived = match &self.state {
            State::Waiting { .. } => return,
            State::Running { since, .. } => now - *since,
        };
        self.quick_deaths = if lived < LONG_LIFE { self.quick_deaths + 1 } else { 1 };
        self.state = State::Waiting { until: now + wait(self.quick_deaths) };
    }

    /// Sends it `signal`, if it runs.
    pub(super) fn send(&self, signal: Signal) {
        let State::Running { process, .. } = &self.state else { return };
        if let Some(pid) = process.id().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have died just now, which is as good.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Asks it to end, and kills it when it has not by `limit`.
    pub(super) async fn stop(&mut self, limit: Duration) {
        self.send(Signal::SIGTERM);
        let State::Running { process, .. } = &mut self.state else { return };
        match tokio::time::timeout(limit, process.wait()).await {
            Ok(_) => info!(child = self.role.command(), "ended"),
            Err(_) => {
                warn!(child = self.role.command(), ?limit, "did not end in time, killed");
                let _ = process.kill().await;
            }
        }
    }
}

/// The wait before the restart that follows so many quick deaths: none after the first.
fn wait(quick_deaths: u32) -> Duration {
    match quick_deaths {
        0 | 1 => Duration::ZERO,
        more => FIRST_WAIT.saturating_mul(2u32.saturating_pow(more - 2)).min(MAX_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_the_wait_grows_to_its_limit() {
        let waits: Vec<_> = [1, 2, 3, 4, 7, 8, 1000].map(|deaths| wait(deaths).as_millis()).into();
        assert_eq!(waits, [0, 100, 200, 400, 3200, 5000, 5000]);
    }
}
