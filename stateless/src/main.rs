//! The command line of the sample service.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use stateless::{server, settings::Settings};

/// Answers with random values; the sample service of the cluster.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The settings file; without one every setting has its default.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Only say whether the settings are valid.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    kit::telemetry::init();
    let cli = Cli::parse();
    let settings = match Settings::load(cli.config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => return complain(&error.to_string(), 2),
    };
    if cli.check {
        println!("{}: valid", cli.config.unwrap_or_else(|| "defaults".into()).display());
        return ExitCode::SUCCESS;
    }
    match server::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:#}"), 1),
    }
}

#[allow(clippy::print_stderr)]
fn complain(message: &str, code: u8) -> ExitCode {
    eprintln!("stateless: {message}");
    ExitCode::from(code)
}
