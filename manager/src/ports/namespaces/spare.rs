//! A spare: a machine's namespaces with an init that waits in them, without name, address or cable, until it is told
//! which machine it is to be. Then it becomes that machine's init, by which it is known from then on.
//!
//! ```text
//!   manager ── boot-spare ──▶ spare (process 1)          waits at its channel
//!           ── cable, order ──▶ name, address, route ──▶ exec: init of the machine
//! ```
//!
//! What the machine is for, its environment and its secrets are in the machine's own directory, which is written
//! when it is made, as for every other: before it has its order, a spare has nothing of a service.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::SUBCOMMAND;
use super::boot::{leave_session, make_namespaces, recognise};
use super::files;
use super::processes::is_spare_of;
use crate::ports::machine::directory::Directory;
use crate::ports::machine::network::Network;

/// Where a spare is told what it is to be.
const CHANNEL: &str = "channel";

/// What a spare needs to know.
#[derive(Args, Debug)]
pub struct SpareArgs {
    /// The spare's directory.
    #[arg(long)]
    directory: PathBuf,
}

/// Which machine a spare is to be.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The machine's directory, with purpose and seed.
    pub(super) directory: PathBuf,
    /// The program to keep running.
    pub(super) program: PathBuf,
}

/// Where the spare in `directory` listens.
pub(super) fn channel(directory: &Path) -> PathBuf {
    directory.join(CHANNEL)
}

/// Makes the spare's namespaces, and starts it in them.
///
/// Must be called while the process has only one thread: the namespaces are this thread's.
///
/// # Errors
///
/// Says which step failed.
pub fn boot_spare(args: &SpareArgs) -> Result<()> {
    leave_session()?;
    make_namespaces()?;
    let console = File::options().create(true).append(true).open(args.directory.join("console.log"))?;
    let mut init = Command::new(std::env::current_exe()?)
        .args([SUBCOMMAND, "spare", "--directory"])
        .arg(&args.directory)
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console)
        .spawn()
        .context("cannot start the spare")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(recognise(&mut init, |pid| {
        is_spare_of(pid, &args.directory) && channel(&args.directory).exists()
    }))
}

/// Waits to be told which machine this is, and becomes its init.
///
/// # Errors
///
/// When it cannot: then it ends, and with it its namespaces.
pub fn spare(args: &SpareArgs) -> Result<()> {
    let listener = UnixListener::bind(channel(&args.directory)).context("cannot listen at its channel")?;
    let (stream, _) = listener.accept().context("cannot take its order")?;
    drop(listener);
    // Only a failure returns: the program that takes this one's place closes the stream without a word.
    let failed = told(&stream).err().unwrap_or_else(|| anyhow::anyhow!("it was told nothing"));
    // Whoever asked may be gone.
    let _ = (&stream).write_all(format!("{failed:#}").as_bytes());
    Err(failed)
}

fn told(stream: &UnixStream) -> Result<()> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("cannot read its order")?;
    let order: Order = serde_json::from_str(&line).context("cannot understand its order")?;
    let directory = Directory { path: order.directory.clone() };
    let seed = files::read_seed(&directory).context("cannot read the seed")?;
    nix::unistd::sethostname(seed.machine.as_str()).context("cannot set the host name")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let guest = Network::new().context("cannot reach the machine's network")?;
        anyhow::Ok(guest.configure_guest(seed.address, seed.prefix, seed.gateway).await?)
    })?;
    drop(runtime);
    let console = File::options().create(true).append(true).open(directory.console())?;
    // By this name even where the program's file was replaced meanwhile.
    let error = Command::new("/proc/self/exe")
        .args([SUBCOMMAND, "init", "--directory"])
        .arg(&order.directory)
        .arg("--program")
        .arg(&order.program)
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console)
        .exec();
    Err(error).context("cannot become the machine's init")
}
