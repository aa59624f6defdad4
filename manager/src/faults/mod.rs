//! Faults that are brought about because somebody ordered them, and that end by themselves.
//!
//! ```text
//!   POST /vms/x/fault freeze ──▶ keeper armed ──▶ frozen ──── ttl ────▶ the keeper thaws it
//!   POST /host/fault cut ──────▶ keeper armed ──▶ answered ──▶ it switches the uplink off ── ttl ──▶ on again
//!   POST /host/fault stop ─────▶ answered ──▶ the manager becomes a process that only waits ── ttl ──▶ a new manager
//! ```
//!
//! A keeper is a process of its own, in a session of its own: it does what it was started for whatever becomes of the
//! manager. Like machines it is known by its command line, so that a manager that was restarted finds it. Were it
//! killed, the manager that started it undoes the fault at once, or else the next one does when it starts: for as long
//! as the uplink is off there is a file that says so.

mod keeper;
mod stop;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use wire::MachineId;

pub use keeper::{KeeperArgs, SUBCOMMAND, keep};
pub use stop::{STOPPED_FOR, become_waiting, wait_out};

use crate::config::Config;
use crate::ports::machine::network::Network;

/// An answer has this long to leave the host before the host is out of reach.
pub const LEAD: Duration = Duration::from_millis(100);

/// A keeper is ready within this, or something is wrong.
const ARMED_WITHIN: Duration = Duration::from_secs(10);

/// A keeper that was told to undo its fault has done so within this.
const UNDONE_WITHIN: Duration = Duration::from_secs(5);

/// There is a file of this name in `state_dir` while the uplink is switched off.
const CUT_OFF: &str = "cut-off";

/// The faults of this host.
pub struct Faults {
    config: Config,
    /// The file that the configuration is in.
    file: PathBuf,
    stop: mpsc::Sender<Duration>,
    /// Only one is begun or ended at a time.
    only: Mutex<()>,
}

impl Faults {
    /// The faults of the host that `config`, read from `file`, describes. The manager is to end for the time that is
    /// sent on `stop`.
    pub fn new(config: Config, file: PathBuf, stop: mpsc::Sender<Duration>) -> Self {
        Faults { config, file, stop, only: Mutex::default() }
    }

    /// Switches on what a keeper that was killed left off.
    ///
    /// # Errors
    ///
    /// When the uplink cannot be switched on.
    pub async fn mend(config: &Config) -> anyhow::Result<()> {
        let Some(uplink) = &config.uplink else { return Ok(()) };
        let mark = config.state_dir.join(CUT_OFF);
        if mark.exists() && keeper::find(config, keeper::CUT)?.is_none() {
            keeper::heal(&Network::new()?, uplink, &mark).await?;
            tracing::warn!(uplink, "the host was cut off by order, and nobody was left to heal it: healed");
        }
        Ok(())
    }

    /// The interface that is switched off where the host is cut off.
    pub fn uplink(&self) -> Option<&str> {
        self.config.uplink.as_deref()
    }

    /// Whether the host is cut off.
    ///
    /// # Errors
    ///
    /// When the process table cannot be read.
    pub fn is_cut(&self) -> std::io::Result<bool> {
        Ok(keeper::find(&self.config, keeper::CUT)?.is_some())
    }

    /// Cuts the host off for `ttl`, [`LEAD`] from now; `false` if it is cut off already.
    ///
    /// # Errors
    ///
    /// When there is no keeper for it; then nothing was done.
    pub async fn cut(&self, ttl: Duration) -> anyhow::Result<bool> {
        let _only = self.only.lock().await;
        if self.is_cut()? {
            return Ok(false);
        }
        let keeper = self.arm(&[keeper::CUT], ttl).await?;
        let config = self.config.clone();
        tokio::spawn(async move {
            let mut keeper = keeper;
            let _ = keeper.wait().await;
            // Nothing to do where it did what it was for.
            if let Err(error) = Faults::mend(&config).await {
                tracing::error!("the host was cut off by order and cannot be healed: {error:#}");
            }
        });
        Ok(true)
    }

    /// Ends what [`Faults::cut`] began, before its time.
    ///
    /// # Errors
    ///
    /// When the uplink cannot be switched on.
    pub async fn heal(&self) -> anyhow::Result<()> {
        let _only = self.only.lock().await;
        if let Some(keeper) = keeper::find(&self.config, keeper::CUT)? {
            keeper.signal(Signal::SIGTERM)?;
            timeout(UNDONE_WITHIN, keeper.ended()).await.context("the uplink is not on yet")??;
        }
        Faults::mend(&self.config).await
    }

    /// Has `machine` thawed after `ttl`, whatever becomes of this manager. To be called before it is frozen.
    ///
    /// # Errors
    ///
    /// When there is no keeper for it.
    pub async fn thaw_after(&self, machine: &MachineId, ttl: Duration) -> anyhow::Result<()> {
        let _only = self.only.lock().await;
        // The time of the latest order counts.
        self.dismiss(machine)?;
        let mut keeper = self.arm(&[keeper::THAW, "--machine", machine.as_str()], ttl).await?;
        tokio::spawn(async move { keeper.wait().await });
        Ok(())
    }

    /// Ends the keeper of `machine`, if there is one: it is not frozen any more.
    ///
    /// # Errors
    ///
    /// When the process table cannot be read.
    pub async fn thawed(&self, machine: &MachineId) -> std::io::Result<()> {
        let _only = self.only.lock().await;
        self.dismiss(machine)
    }

    fn dismiss(&self, machine: &MachineId) -> std::io::Result<()> {
        match keeper::find(&self.config, machine.as_str())? {
            Some(keeper) => keeper.signal(Signal::SIGKILL),
            None => Ok(()),
        }
    }

    /// Ends the manager for `ttl`, [`LEAD`] from now, by what [`become_waiting`] does; `false` if it is about to already.
    pub fn stop_manager(&self, ttl: Duration) -> bool {
        self.stop.try_send(ttl).is_ok()
    }

    /// Starts a keeper, and waits until nothing can keep it any more from undoing what it is for.
    async fn arm(&self, what: &[&str], ttl: Duration) -> anyhow::Result<Child> {
        let mut keeper = Command::new(stop::program()?)
            .arg("--config")
            .arg(&self.file)
            .args([SUBCOMMAND, "--host"])
            .arg(&self.config.state_dir)
            .args(what)
            .args(["--for-ms", &ttl.as_millis().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the process that undoes the fault")?;
        let output = keeper.stdout.take().context("it has no output")?;
        let mut said = String::new();
        let mut output = BufReader::new(output);
        match timeout(ARMED_WITHIN, output.read_line(&mut said)).await {
            Ok(Ok(_)) if said.trim_end() == keeper::ARMED => Ok(keeper),
            _ => {
                let _ = keeper.start_kill();
                bail!("the process that undoes the fault did not start; the manager's log says why")
            }
        }
    }
}
