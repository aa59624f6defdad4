//! Makes a machine: runs as a process of its own, because namespaces belong to processes, and ends as
//! soon as the machine's init runs.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
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
    // The machine must not end with the terminal or the process group of the manager.
    nix::unistd::setsid().context("cannot leave the manager's session")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(start(args))
}

async fn start(args: &BootArgs) -> Result<()> {
    let directory = Directory { path: args.directory.clone() };
    let seed = files::read_seed(&directory).context("cannot read the seed")?;
    let host = Network::new().context("cannot reach the host's network")?;
    // The mounts are left to the init: it would take /proc away from this process.
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWPID)
        .context("cannot make namespaces: this needs root, or a user namespace in which one is root")?;
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
    // Its command line, by which it is known, appears a moment after the program was loaded.
    let pid = i32::try_from(init.id())?;
    while !is_init_of(pid, &args.directory) {
        if let Some(status) = init.try_wait()? {
            bail!("the machine's init ended at once ({status}); {} says why", directory.console().display());
        }
        tokio::time::sleep(RECOGNISED_POLL).await;
    }
    Ok(())
}
