//! The command line of the load tester.

use std::io::Write;
use std::process::ExitCode;

use clap::{Command, CommandFactory, FromArgMatches, Subcommand};
use loadtest::options::Options;
use loadtest::reread::Reread;
use loadtest::run::{Finished, RunError, run};

fn main() -> ExitCode {
    let options = Options::command();
    // What the commands are together is not what this program is.
    let (about, more) = (
        options.get_about().cloned().unwrap_or_default(),
        options.get_long_about().cloned().unwrap_or_default(),
    );
    let command = Reread::augment_subcommands(options)
        .about(about)
        .long_about(more)
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .subcommand_required(false)
        .arg_required_else_help(false);
    let words = command.clone().get_matches();
    if words.subcommand_name().is_some() {
        return reread(&Reread::from_arg_matches(&words).unwrap_or_else(|error| error.exit()), command);
    }
    load(Options::from_arg_matches(&words).unwrap_or_else(|error| error.exit()))
}

fn reread(reread: &Reread, command: Command) -> ExitCode {
    match reread.run(command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => complain(&RunError::Input(error)),
    }
}

fn load(options: Options) -> ExitCode {
    // For what goes on beside the load, which has threads of its own.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&RunError::Broken(error.into())),
    };
    match runtime.block_on(run(options)) {
        Ok(Finished { report, exporter }) => {
            // Whoever read the output may be gone; the exit code still says it all.
            let _ = writeln!(std::io::stdout(), "{report}");
            if let Some(exporter) = exporter.filter(|_| !report.interrupted) {
                runtime.block_on(exporter.last_scrape());
            }
            ExitCode::from(report.exit_code())
        }
        Err(error) => complain(&error),
    }
}

#[allow(clippy::print_stderr)]
fn complain(error: &RunError) -> ExitCode {
    eprintln!("loadtest: {error}");
    match error {
        RunError::Input(_) => ExitCode::from(2),
        RunError::Broken(_) => ExitCode::from(3),
    }
}
