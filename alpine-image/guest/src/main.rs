//! The command line of the guest program: each subcommand is a service of the image.

use std::convert::Infallible;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use guest::places::Places;
use guest::{channel, configure, pause, program, spare};
use nix::time::{ClockId, clock_gettime};

/// Makes a virtual machine what its seed disk says.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The directory below which run, sys, dev and proc are.
    #[arg(long, global = true, hide = true, default_value = "/")]
    root: PathBuf,
    /// How many seconds a device may take to appear.
    #[arg(long, global = true, default_value_t = 10)]
    wait: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Set the host name and the network, and unpack the program's files, as the seed says; or become a spare.
    Configure,
    /// Become the program that the seed names; on a spare, once it was told which machine it is.
    Run,
    /// Answer the host on the control channel.
    Channel,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let places = Places::below(&cli.root);
    let patience = Duration::from_secs(cli.wait);
    let result = match cli.command {
        Command::Configure => configure::configure(&places, patience),
        Command::Run => spare::await_order(&places).and_then(|()| {
            thread::sleep(pause::before_start(&places.starts(), uptime()));
            never(program::run(&places.command(), &places.environment()))
        }),
        Command::Channel => never(channel::daemon(&places, patience)),
    };
    match result {
        Ok(line) => {
            println!("holdfast-guest: {line}");
            ExitCode::SUCCESS
        }
        Err(error) => complain(&format!("{error:#}")),
    }
}

/// How long the machine has been running.
fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

fn never<T>(result: Result<Infallible>) -> Result<T> {
    result.map(|never| match never {})
}

#[allow(clippy::print_stderr)]
fn complain(message: &str) -> ExitCode {
    eprintln!("holdfast-guest: {message}");
    ExitCode::FAILURE
}
