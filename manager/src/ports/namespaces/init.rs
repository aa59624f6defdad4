//! Process 1 of a namespace machine: writes the program's files from the seed, keeps the program
//! running, and collects what ends.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use wire::seed::Seed;

use super::files;
use super::spawn::spawn;
use crate::ports::machine::directory::Directory;

/// The pause before a program that ended is started again, unless it had run for longer than
/// [`SETTLED`]; doubled up to [`LONGEST_PAUSE`] when it keeps ending.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const SETTLED: Duration = Duration::from_secs(5);

/// A program that was asked to end has so long.
const STOP_TIME: Duration = Duration::from_secs(12);

/// The variable that says where a machine that keeps its disk finds it, as systemd calls it.
const STATE: &str = "STATE_DIRECTORY";

/// What an init needs to know.
#[derive(Args, Debug)]
pub struct InitArgs {
    /// The machine's directory.
    #[arg(long)]
    directory: PathBuf,
    /// The program to keep running.
    #[arg(long)]
    program: PathBuf,
}

/// Runs the machine until it is asked to end (SIGTERM). The kernel ends all its processes with it.
///
/// # Errors
///
/// When the machine cannot be set up. A program that fails is no error: it is started again.
pub fn init(args: &InitArgs) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make mounts of its own")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("cannot make the mounts private")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)
        .context("cannot mount /proc")?;
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    let signal_fd = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;

    let directory = Directory { path: args.directory.clone() };
    let seed = files::read_seed(&directory).context("cannot read the seed")?;
    let mut keeper = Keeper::new(command(&args.program, &directory, &seed)?);
    loop {
        keeper.start_if_due();
        let wait = keeper.next_look().map_or(PollTimeout::NONE, |wait| {
            PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut [PollFd::new(signal_fd.as_fd(), PollFlags::POLLIN)], wait) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for signals"),
        }
        while let Some(signal) = signal_fd.read_signal()? {
            if signal.ssi_signo == Signal::SIGTERM as u32 {
                keeper.stop();
            }
        }
        while let Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) =
            waitpid(None, Some(WaitPidFlag::WNOHANG))
        {
            keeper.ended(pid);
        }
        if keeper.is_done() {
            return Ok(());
        }
    }
}

/// How the program is started: as in any other machine, but from where the driver found it.
fn command(program: &Path, directory: &Directory, seed: &Seed) -> Result<Command> {
    let guest = directory.file("guest");
    let unpacked =
        guest::program::unpack(seed, Path::new(""), &guest).context("cannot write the program's files")?;
    let mut command = Command::new(program);
    command.args(unpacked.iter().skip(1));
    command.envs(guest::program::environment(seed, &guest));
    if let Some(data) = files::data(directory) {
        command.env(STATE, data);
    }
    Ok(command)
}

/// Keeps one program running.
struct Keeper {
    command: Command,
    child: Option<(Child, Instant)>,
    start_at: Instant,
    pause: Duration,
    /// Set once the machine was asked to end: then the program must have ended by this time.
    end_by: Option<Instant>,
}

impl Keeper {
    fn new(command: Command) -> Self {
        Keeper { command, child: None, start_at: Instant::now(), pause: FIRST_PAUSE, end_by: None }
    }

    fn start_if_due(&mut self) {
        if self.child.is_some() || self.end_by.is_some() || Instant::now() < self.start_at {
            return;
        }
        match spawn(&mut self.command) {
            Ok(child) => self.child = Some((child, Instant::now())),
            Err(error) => {
                tracing::error!("cannot start {:?}: {error}", self.command.get_program());
                self.again_after_pause();
            }
        }
    }

    fn again_after_pause(&mut self) {
        self.start_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn ended(&mut self, pid: Pid) {
        let Some((_, since)) =
            self.child.take_if(|(child, _)| i64::from(child.id()) == i64::from(pid.as_raw()))
        else {
            return;
        };
        tracing::warn!("{:?} ended", self.command.get_program());
        if since.elapsed() > SETTLED {
            self.pause = FIRST_PAUSE;
        }
        self.again_after_pause();
    }

    fn stop(&mut self) {
        self.end_by.get_or_insert(Instant::now() + STOP_TIME);
        if let Some((child, _)) = &self.child
            && let Ok(pid) = i32::try_from(child.id())
        {
            // One that has just ended is collected in a moment.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    fn is_done(&self) -> bool {
        self.end_by.is_some_and(|end_by| self.child.is_none() || Instant::now() >= end_by)
    }

    /// How long nothing is to be done, unless a signal comes.
    fn next_look(&self) -> Option<Duration> {
        let at = match (self.end_by, &self.child) {
            (Some(end_by), _) => end_by,
            (None, Some(_)) => return None,
            (None, None) => self.start_at,
        };
        Some(at.saturating_duration_since(Instant::now()))
    }
}
