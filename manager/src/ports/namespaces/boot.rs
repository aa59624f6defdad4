//! Makes a machine: runs as a process of its own, because namespaces belong to processes, and ends as
//! soon as the machine's init runs.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sched::{CloneFlags, unshare};

use super::SUBCOMMAND;
use super::files;
use super::processes::is_init_of;
use crate::address_pool::mac_of;
use crate::ports::machine::directory::Directory;
use crate::ports::machine::network::Network;

/// How often it is looked whether a new init can be recognised.
const RECOGNISED_POLL: Duration = Duration::from_millis(1);

/// What to make a machine from.
#[derive(Args, Debug)]
pub struct BootArgs {
    /// The machine's directory, with purpose and seed.
    #[arg(long)]
    directory: PathBuf,
    /// The bridge to connect it to.
    #[arg(long)]
    bridge: String,
    /// The program its init runs.
    #[arg(long)]
    program: PathBuf,
}

/// Makes the machine's namespaces and its cable, and starts its init in them.
///
/// Must be called while the process has only one thread: the namespaces are this thread's.
///
/// # Errors
///
/// Says which step failed; what was made until then is left to be fenced.
pub fn boot(args: &BootArgs) -> Result<()> {
    leave_session()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(start(args))
}

async fn start(args: &BootArgs) -> Result<()> {
    let directory = Directory { path: args.directory.clone() };
    let seed = files::read_seed(&directory).context("cannot read the seed")?;
    let host = Network::new().context("cannot reach the host's network")?;
    make_namespaces()?;
    nix::unistd::sethostname(seed.machine.as_str()).context("cannot set the host name")?;
    let namespace = File::open("/proc/thread-self/ns/net").context("cannot open the machine's network")?;
    host.add_port(seed.address, mac_of(seed.address), &args.bridge, namespace.as_raw_fd()).await?;
    let guest = Network::new().context("cannot reach the machine's network")?;
    guest.configure_guest(seed.address, seed.prefix, seed.gateway).await?;

    let console = File::options().create(true).append(true).open(directory.console())?;
    let mut init = Command::new(std::env::current_exe()?)
        .args([SUBCOMMAND, "init", "--directory"])
        .arg(&args.directory)
        .arg("--program")
        .arg(&args.program)
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console)
        .spawn()
        .context("cannot start the machine's init")?;
    let recognised = recognise(&mut init, |pid| is_init_of(pid, &args.directory)).await;
    recognised.with_context(|| format!("{} says why", directory.console().display()))
}

/// The machine must not end with the terminal or the process group of the manager.
pub(super) fn leave_session() -> Result<()> {
    nix::unistd::setsid().map(drop).context("cannot leave the manager's session")
}

/// What is started from now on is in namespaces of its own. The mounts are left to the init: it would take /proc away
/// from this process.
pub(super) fn make_namespaces() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWPID)
        .context("cannot make namespaces: this needs root, or a user namespace in which one is root")
}

/// Waits until `init` `is_it`: its command line, by which it is known, appears a moment after the program was loaded.
pub(super) async fn recognise(init: &mut Child, is_it: impl Fn(i32) -> bool) -> Result<()> {
    let pid = i32::try_from(init.id())?;
    while !is_it(pid) {
        if let Some(status) = init.try_wait()? {
            bail!("the machine's init ended at once ({status})");
        }
        tokio::time::sleep(RECOGNISED_POLL).await;
    }
    Ok(())
}
