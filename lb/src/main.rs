//! The command line of the balancer.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use kit::shell::{self, CompletionsArgs, ManArgs};
use lb::settings::Settings;

/// A load balancer that answers from a shared virtual IP address.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the proxy and the VIP speaker and watch over both.
    Run(Common),
    /// Forward requests (started by `run`).
    Proxy(Common),
    /// Speak VRRP and hold the VIP (started by `run`).
    Vip(Common),
    /// Print the connections of the TCP services, as `ipvsadm -Ln` has them.
    Connections(ConnectionsArgs),
    /// Print what completes this command line in a shell.
    Completions(CompletionsArgs),
    /// Write this command's manual pages into a directory.
    Man(ManArgs),
}

#[derive(Args)]
struct Common {
    /// The settings file.
    #[arg(long, default_value = "/etc/holdfast/lb.toml")]
    config: PathBuf,
    /// Where accepted upstream sets are kept; overrides the file's `state_dir`.
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Where the settings file cannot be used, go on with the one that was taken last.
    #[arg(long, hide = true, requires = "state_dir", conflicts_with = "check")]
    supervised: bool,
    /// Only say whether the settings are valid.
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
struct ConnectionsArgs {
    /// The settings file of the balancer that runs.
    #[arg(long, default_value = "/etc/holdfast/lb.toml")]
    config: PathBuf,
    /// One by one, as `ipvsadm -Lnc` has them; at most 10,000.
    #[arg(long, short = 'c')]
    connections: bool,
}

fn main() -> ExitCode {
    // Before anything else: whoever sends signals does not know how far we are.
    let held = lb::signals::hold();
    kit::telemetry::init();
    if let Err(error) = held {
        return complain(&format!("SIGUSR1 and SIGHUP cannot be held back: {error}"), 1);
    }
    let cli = Cli::parse();
    match cli.command {
        Command::Run(common) => start(Part::Supervisor, &common),
        Command::Proxy(common) => start(Part::Proxy, &common),
        Command::Vip(common) => start(Part::Speaker, &common),
        Command::Connections(args) => connections(&args),
        Command::Completions(args) => ended(shell::completions(Cli::command(), &args)),
        Command::Man(args) => ended(shell::man(Cli::command(), &args)),
    }
}

/// One of the processes that a balancer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Supervisor,
    Proxy,
    Speaker,
}

fn start(part: Part, common: &Common) -> ExitCode {
    let is_speaker = part == Part::Speaker && !common.check;
    let load = if is_speaker { Settings::load_for_speaker } else { Settings::load };
    let loaded = match &common.state_dir {
        Some(state_dir) if common.supervised => Settings::load_or_kept(load, &common.config, state_dir),
        _ => load(&common.config),
    };
    let mut settings = match loaded {
        Ok(settings) => settings,
        Err(error) => return complain(&error.to_string(), 2),
    };
    if let Some(error) = settings.refused() {
        tracing::error!("THE SETTINGS FILE CANNOT BE USED; going on with the one before\n{error}");
    }
    if common.check {
        println!("{}: valid", common.config.display());
        return ExitCode::SUCCESS;
    }
    if let Some(state_dir) = &common.state_dir {
        settings.use_state_dir(state_dir);
    }
    ended(match part {
        Part::Supervisor => lb::supervisor::run(&common.config, &settings),
        Part::Proxy => lb::proxy::run(settings),
        Part::Speaker => lb::vip::run(&settings),
    })
}

fn connections(args: &ConnectionsArgs) -> ExitCode {
    match Settings::load(&args.config) {
        Ok(settings) => ended(lb::shown::connections(settings.admin, args.connections)),
        Err(error) => complain(&error.to_string(), 2),
    }
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:#}"), 1),
    }
}

#[allow(clippy::print_stderr)]
fn complain(message: &str, code: u8) -> ExitCode {
    eprintln!("lb: {message}");
    ExitCode::from(code)
}
