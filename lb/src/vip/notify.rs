//! Tells programs and URLs of every change of a virtual router, from a thread of its own: whatever they do
//! and however long they take, no advert waits for them. Even starting a program stops the thread that
//! starts it for as long as the disk takes to find it.
//!
//! ```text
//!   speaker ── at most MAX_WAITING changes ──▶ thread `notify`: one after the other, to each in turn
//! ```

use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::process::Command;
use tokio::sync::mpsc;
use tracing::{debug, warn};
use wire::vip::RouterState;

use crate::settings::Notify;

/// Changes that nobody has been told of yet; beyond these the newest are lost, and it is said so.
const MAX_WAITING: usize = 64;

/// A command or a request that takes longer is ended.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// At the end, so much time for what has not been told yet.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// One change: what a command gets as arguments and a URL as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) machine: String,
    pub(super) vrid: u8,
    pub(super) address: IpAddr,
    pub(super) state: RouterState,
    /// None while no holder is known.
    pub(super) holder: Option<IpAddr>,
    pub(super) reason: String,
}

/// The speaker's end.
#[derive(Debug)]
pub(super) struct Notifier {
    changes: Option<mpsc::Sender<Change>>,
    ended: std_mpsc::Receiver<()>,
}

impl Notifier {
    /// Starts the thread, unless there is nobody to tell. To be called before this thread asks for
    /// real-time priority, which the new one would inherit.
    ///
    /// # Errors
    ///
    /// When there can be no thread.
    pub(super) fn start(targets: &[Notify]) -> anyhow::Result<Self> {
        let (end, ended) = std_mpsc::channel();
        if targets.is_empty() {
            return Ok(Notifier { changes: None, ended });
        }
        let (changes, waiting) = mpsc::channel(MAX_WAITING);
        let (targets, runtime) = (targets.to_vec(), super::runtime()?);
        let client = reqwest::Client::builder().timeout(TIME_LIMIT).no_proxy().build()?;
        std::thread::Builder::new()
            .name("notify".to_owned())
            .spawn(move || {
                runtime.block_on(tell_all(&targets, &client, waiting));
                // Nobody may be waiting for it.
                let _ = end.send(());
            })
            .context("no thread for [[notify]]")?;
        Ok(Notifier { changes: Some(changes), ended })
    }

    /// Has `change` told, some time soon.
    pub(super) fn tell(&self, change: Change) {
        let Some(changes) = &self.changes else { return };
        if let Err(error) = changes.try_send(change) {
            warn!(%error, "a change of a VIP is not told of: [[notify]] is too slow");
        }
    }

    /// Waits a moment for what has not been told yet. Blocks: there is nothing else to do any more.
    pub(super) fn finish(&mut self) {
        if self.changes.take().is_some() && self.ended.recv_timeout(LAST_WORDS).is_err() {
            warn!("ending before all changes of VIPs were told of: [[notify]] is too slow");
        }
    }
}

async fn tell_all(targets: &[Notify], client: &reqwest::Client, mut waiting: mpsc::Receiver<Change>) {
    while let Some(change) = waiting.recv().await {
        for target in targets {
            let told = match target {
                Notify::Command(program) => run(program, &change).await,
                Notify::Url(url) => post(client, url, &change).await,
            };
            match told {
                Ok(()) => debug!(?target, ?change, "told"),
                Err(error) => warn!(?target, "not told of a change of a VIP: {error:#}"),
            }
        }
    }
}

async fn run(program: &Path, change: &Change) -> anyhow::Result<()> {
    let Change { machine: _, vrid, address, state, holder, reason: _ } = change;
    let mut child = Command::new(program)
        .arg(vrid.to_string())
        .arg(address.to_string())
        .arg(state.name())
        .arg(holder.map_or_else(|| "none".to_owned(), |holder| holder.to_string()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Of its own, so that what it started ends with it.
        .process_group(0)
        .spawn()
        .context("cannot be started")?;
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    match tokio::time::timeout(TIME_LIMIT, child.wait()).await {
        Ok(status) => {
            let status = status?;
            anyhow::ensure!(status.success(), "ended with {status}");
        }
        Err(_) => {
            if let Some(group) = group {
                // It may have ended just now, which is as good.
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            child.wait().await?;
            anyhow::bail!("took longer than {} s and was killed", TIME_LIMIT.as_secs());
        }
    }
    Ok(())
}

async fn post(client: &reqwest::Client, url: &str, change: &Change) -> anyhow::Result<()> {
    client.post(url).json(change).send().await?.error_for_status()?;
    Ok(())
}
