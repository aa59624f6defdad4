//! What `deploy/bench.sh proxy` measures with. Never shipped.
//!
//! ```text
//!   bench load ──▶ the proxy that is measured ──▶ bench backend
//!                     ▲              ▲
//!                bench meter     bench push     (its processor time and memory; new sets of upstreams)
//! ```
//!
//! Load and backend share one core with each other and have to be cheaper than any proxy between them, or it would be
//! them that are measured. So both are one thread with one epoll each, and know as much HTTP as they have to.

mod answered;
mod backend;
mod head;
mod load;
mod meter;
mod processes;
mod push;
mod watch;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "What deploy/bench.sh proxy measures with")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests, as cheaply as can be.
    Backend(backend::Options),
    /// Send requests and say how they went.
    Load(load::Options),
    /// Wait until a GET is answered with 200, and print when that was, in microseconds of the Unix epoch.
    Answered(answered::Options),
    /// Run a command and write down what another program used meanwhile.
    Meter(meter::Options),
    /// Print the resident memory of a program with all its processes.
    Memory(meter::ProgramOptions),
    /// Print the ids of a program's processes, the first one first.
    Processes(meter::ProgramOptions),
    /// Push sets of upstreams to a balancer, each with other ones than before.
    Push(push::Options),
    /// Watch a stream of events, as many at a time.
    Watch(watch::Options),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Backend(options) => backend::run(&options),
        Command::Load(options) => load::run(&options),
        Command::Answered(options) => answered::run(&options),
        Command::Meter(options) => meter::run(&options),
        Command::Memory(options) => meter::memory(&options),
        Command::Processes(options) => meter::processes(&options),
        Command::Push(options) => push::run(&options),
        Command::Watch(options) => watch::run(&options),
    }
}
