//! The process that undoes one fault, whatever becomes of the manager that started it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep;
use wire::cluster::FaultKind;

use super::{CUT_OFF, LEAD};
use crate::config::{Config, Hypervisor as Driver};
use crate::ports::hypervisor::{Hypervisor, HypervisorError};
use crate::ports::libvirt::Libvirt;
use crate::ports::machine::network::{Network, NetworkError};
use crate::ports::machine::process::Process;
use crate::ports::namespaces::Namespaces;

/// The hidden subcommand under which keepers run; also how they are recognised.
pub const SUBCOMMAND: &str = "fault-keeper";
/// The words for what they keep.
pub(super) const CUT: &str = "cut";
pub(super) const THAW: &str = "thaw";
/// What a keeper says when it is ready.
pub(super) const ARMED: &str = "armed";

/// What cannot be undone is tried again after this pause …
const AGAIN: Duration = Duration::from_secs(1);
/// … so often: a machine that cannot be thawed for so long was given up by its manager, too.
const TRIES: u32 = 60;

/// What a keeper is for.
#[derive(Args, Debug)]
pub struct KeeperArgs {
    /// The host's state directory, by which the keeper is recognised.
    #[arg(long)]
    host: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Switch the uplink off, and on again.
    Cut {
        #[arg(long)]
        for_ms: u64,
    },
    /// Thaw a machine.
    Thaw {
        #[arg(long)]
        machine: String,
        #[arg(long)]
        for_ms: u64,
    },
}

/// The keeper of the host of `config` with this word on its command line.
pub(super) fn find(config: &Config, word: &str) -> io::Result<Option<Process>> {
    Process::find(|line| is_keeper(line, config.state_dir.as_os_str().as_bytes(), word.as_bytes()))
}

fn is_keeper(command_line: &[u8], host: &[u8], word: &[u8]) -> bool {
    let mut words = command_line.split(|byte| *byte == 0).skip_while(|word| *word != SUBCOMMAND.as_bytes());
    words.next().is_some() && words.by_ref().nth(1) == Some(host) && words.any(|other| other == word)
}

/// Does what a keeper is for. A SIGTERM has it undo the fault at once.
///
/// # Errors
///
/// When it cannot begin, and when the fault cannot be undone.
pub fn keep(config: &Config, args: &KeeperArgs) -> Result<()> {
    // It must not end with the terminal or the process group of the manager.
    nix::unistd::setsid().context("cannot leave the manager's session")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &args.what {
            What::Cut { for_ms } => cut(config, Duration::from_millis(*for_ms)).await,
            What::Thaw { machine, for_ms } => thaw(config, machine, Duration::from_millis(*for_ms)).await,
        }
    })
}

async fn cut(config: &Config, time: Duration) -> Result<()> {
    let uplink = config.uplink.as_deref().context("there is no `uplink` in the configuration")?;
    let mark = config.state_dir.join(CUT_OFF);
    let network = Network::new()?;
    let mut told = signal(SignalKind::terminate())?;
    File::create(&mark).with_context(|| format!("{}", mark.display()))?;
    armed()?;
    tokio::select! {
        () = sleep(LEAD) => {
            tracing::warn!(uplink, ?time, "cut off by order");
            let off = network.set_port(uplink, false).await;
            if off.is_ok() {
                tokio::select! {
                    () = sleep(time) => {}
                    _ = told.recv() => {}
                }
            }
            off.context("the uplink cannot be switched off")
        }
        _ = told.recv() => Ok(()),
    }
    .and(mended(|| heal(&network, uplink, &mark)).await.context("the host stays cut off"))
}

/// Switches the uplink on. The file that says it is off goes last.
pub(super) async fn heal(network: &Network, uplink: &str, mark: &Path) -> Result<(), NetworkError> {
    network.set_port(uplink, true).await?;
    // One that cannot be removed has the next manager do this again, which does no harm.
    let _ = fs::remove_file(mark);
    tracing::warn!(uplink, "healed");
    Ok(())
}

async fn thaw(config: &Config, machine: &str, time: Duration) -> Result<()> {
    // Nobody here wants to hear of ends.
    let (exits, _) = mpsc::unbounded_channel();
    let mut told = signal(SignalKind::terminate())?;
    armed()?;
    tokio::select! {
        () = sleep(time) => {}
        _ = told.recv() => {}
    }
    // Only now: a connection to a daemon that was restarted meanwhile would be of no use.
    let hypervisor: Box<dyn Hypervisor> = match config.hypervisor {
        Driver::Namespaces => Box::new(Namespaces::new(config, exits)?),
        Driver::Libvirt => Box::new(Libvirt::new(config, exits)?),
    };
    let machine = &machine.into();
    let thawed = mended(|| async {
        match hypervisor.inject(machine, FaultKind::Thaw).await {
            // It was replaced, or is about to be.
            Err(HypervisorError::NotRunning) => Ok(()),
            result => result,
        }
    });
    thawed.await.with_context(|| format!("{machine} stays frozen"))?;
    tracing::info!(%machine, "the fault's time is over");
    Ok(())
}

fn armed() -> io::Result<()> {
    let mut output = io::stdout();
    writeln!(output, "{ARMED}")?;
    output.flush()
}

async fn mended<E>(mut mend: impl AsyncFnMut() -> Result<(), E>) -> Result<(), E> {
    let mut tries = 0;
    loop {
        tries += 1;
        match mend().await {
            Err(_) if tries < TRIES => sleep(AGAIN).await,
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_is_known_by_its_host_and_what_it_keeps() {
        let line = b"/usr/bin/manager\0--config\0/a.toml\0fault-keeper\0--host\0/a\0thaw\0--machine\0a-lb\0--for-ms\x005\0";
        assert!(is_keeper(line, b"/a", b"a-lb") && is_keeper(line, b"/a", THAW.as_bytes()));
        assert!(!is_keeper(line, b"/b", b"a-lb") && !is_keeper(line, b"/a", b"a-lb-1"));
        assert!(!is_keeper(line, b"/a", b"/a.toml") && !is_keeper(b"manager\0run\0", b"/a", b"run"));
        assert!(!is_keeper(b"", b"/a", b"cut"));
    }
}
