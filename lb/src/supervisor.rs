//! `lb run`: starts the proxy and the VIP speaker, and watches over both.
//!
//! ```text
//!            spawn                dies: its VIPs are removed at once
//!   ┌─────┐ ──────▶ ┌─────────┐ ─────────────────────────────────────▶ ┌─────────┐
//!   │ due │         │ running │                                        │ waiting │
//!   └─────┘ ◀────── └─────────┘                                        └─────────┘
//!      ▲                          after a wait that grows with each quick death │
//!      └────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The children are waited for by pidfd (tokio's), so a death is seen in less than a millisecond.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::settings::Settings;
use crate::signals;
use crate::vip::{self, Network};

mod child;
mod spawn;

use child::{Child, Role};

/// How long the speaker has to hand the addresses over.
const HAND_OVER: Duration = Duration::from_secs(1);

/// What the proxy has beyond its own limit before it is killed.
const STOP_MARGIN: Duration = Duration::from_secs(1);

/// Runs until it is asked to end; the children end before it does.
///
/// # Errors
///
/// When the state directory cannot be made. A child that dies is no error: it is started again.
pub fn run(config: &Path, settings: &Settings) -> anyhow::Result<()> {
    std::fs::create_dir_all(&settings.state_dir)
        .with_context(|| format!("{} cannot be made", settings.state_dir.display()))?;
    // Before any child: it goes on with it if the file is wrong by the time it is started again.
    if let Err(error) = settings.keep() {
        warn!(%error, "the settings were not copied to the state directory");
    }
    vip::runtime()?.block_on(Supervisor::new(config, settings)?.watch())
}

/// How often it is asked whether the proxy serves, until it does.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until the proxy answers at `admin`: it opens its listeners for clients before that.
async fn serves(admin: SocketAddr) {
    while tokio::net::TcpStream::connect(admin).await.is_err() {
        tokio::time::sleep(LOOK).await;
    }
}

struct Supervisor<'a> {
    settings: &'a Settings,
    proxy: Child,
    /// There is none where there are no VIPs.
    speaker: Option<Child>,
}

enum Event {
    Died(Role),
    Due(Role),
    End(&'static str),
    /// Something is asked of the proxy.
    PassOn(Signal),
}

impl<'a> Supervisor<'a> {
    fn new(config: &Path, settings: &'a Settings) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let arguments = |role: Role| -> (PathBuf, Vec<std::ffi::OsString>) {
            let mut all = vec![role.command().into(), "--config".into(), config.into()];
            all.extend(["--supervised".into(), "--state-dir".into(), settings.state_dir.clone().into()]);
            (program.clone(), all)
        };
        Ok(Supervisor {
            settings,
            proxy: Child::new(Role::Proxy, arguments(Role::Proxy)),
            speaker: settings.has_speaker().then(|| Child::new(Role::Speaker, arguments(Role::Speaker))),
        })
    }

    async fn watch(mut self) -> anyhow::Result<()> {
        let mut requests = signals::requests()?;
        let end = kit::shutdown::requested();
        tokio::pin!(end);
        // It runs where the children are waited for, so that it says something. How they are is the speaker's to see.
        let watchdog = kit::service::watchdog(|| std::future::ready(true));
        tokio::pin!(watchdog);
        let served = serves(self.settings.admin);
        tokio::pin!(served);
        let mut is_told = false;
        loop {
            let event = tokio::select! {
                name = &mut end => Event::End(name?),
                () = &mut watchdog => continue,
                () = &mut served, if !is_told => {
                    is_told = true;
                    kit::service::ready();
                    continue;
                }
                Some(()) = requests.reopen.recv() => Event::PassOn(Signal::SIGUSR1),
                Some(()) = requests.reload.recv() => Event::PassOn(Signal::SIGHUP),
                due = self.proxy.next() => if due { Event::Due(Role::Proxy) } else { Event::Died(Role::Proxy) },
                due = next_of(&mut self.speaker) => {
                    if due { Event::Due(Role::Speaker) } else { Event::Died(Role::Speaker) }
                }
            };
            match event {
                Event::Due(role) => {
                    if let Some(child) = self.child(role) {
                        child.start();
                    }
                }
                Event::Died(role) => {
                    self.remove_vips(role).await;
                    if let Some(child) = self.child(role) {
                        child.retry_later(Instant::now());
                    }
                }
                // One that is not there reads its files when it starts.
                Event::PassOn(signal) => self.proxy.send(signal),
                Event::End(signal) => {
                    info!(signal, "ending");
                    kit::service::stopping();
                    self.stop().await;
                    return Ok(());
                }
            }
        }
    }

    fn child(&mut self, role: Role) -> Option<&mut Child> {
        match role {
            Role::Proxy => Some(&mut self.proxy),
            Role::Speaker => self.speaker.as_mut(),
        }
    }

    /// Takes the addresses off. A living speaker, which saw the proxy's ticks end, does the same; in the
    /// name of a dead one we tell the others too.
    async fn remove_vips(&self, dead: Role) {
        if !self.settings.has_speaker() {
            return;
        }
        let removed = async {
            let mut network = Network::open_at_once(self.settings).await?;
            network.remove_left_over(self.settings).await?;
            match dead {
                Role::Proxy => {}
                Role::Speaker => network.say_released(&self.settings.vips),
            }
            anyhow::Ok(())
        };
        if let Err(error) = removed.await {
            warn!("{error:#}");
        }
    }

    /// The addresses first, so that no new request comes; then the requests in progress.
    async fn stop(&mut self) {
        if let Some(speaker) = &mut self.speaker {
            speaker.stop(HAND_OVER).await;
        }
        let limit = Duration::from_millis(self.settings.limits.stop_timeout_ms);
        self.proxy.stop(limit + STOP_MARGIN).await;
    }
}

async fn next_of(child: &mut Option<Child>) -> bool {
    match child {
        Some(child) => child.next().await,
        None => std::future::pending().await,
    }
}
