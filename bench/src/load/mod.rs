//! The load: one thread, one epoll, all connections in one table.
//!
//! ```text
//!   closed loop     each connection sends as soon as its answer is complete
//!   --rate R        a request is due each 1/R s, whether or not answers come; latency counts from then
//!   --idle          each connection asks once and stays open until standard input ends
//! ```
//!
//! With `--fresh` each request has a connection of its own, which the other side closes, as it was asked to.

mod connection;
mod idle;
mod report;
mod run;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use self::connection::Target;

/// What to send, and how.
#[derive(Args)]
pub(crate) struct Options {
    /// The address and port.
    target: SocketAddr,
    /// What is asked for.
    #[arg(long, default_value = "/")]
    path: String,
    /// Ask with POST, with a body of so many bytes.
    #[arg(long)]
    post: Option<usize>,
    /// A connection of its own for each request.
    #[arg(long)]
    fresh: bool,
    /// How many connections; with --rate, at most so many requests are in progress.
    #[arg(long, default_value = "64")]
    connections: usize,
    /// Requests per second; without it each connection sends again at once.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// For how many seconds.
    #[arg(long, default_value = "3", value_parser = seconds)]
    duration: Duration,
    /// Speak TLS; the server's certificate is in this file, or of a CA in it.
    #[arg(long)]
    tls: Option<PathBuf>,
    /// Resume TLS sessions where the server lets us; without it each handshake is a full one.
    #[arg(long, requires = "tls")]
    resume: bool,
    /// Ask once over each connection and keep all of them open until standard input ends.
    #[arg(long, conflicts_with_all = ["rate", "fresh"])]
    idle: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Sends it and prints how it went, a name and a number on each line.
///
/// # Errors
///
/// When the load cannot be sent at all; that requests fail is counted.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.connections > 0, "expected at least one connection");
    let target = Target::new(options)?;
    if options.idle { idle::run(options, &target) } else { run::run(options, &target) }
}
