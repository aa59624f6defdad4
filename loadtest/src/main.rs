//! The command line of the load tester.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use loadtest::options::Options;
use loadtest::run::{RunError, run};

/// Enough to send and read; more would take cores from what is measured beside us.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(options)),
        Err(error) => Err(RunError::Broken(error.into())),
    };
    match result {
        Ok(report) => {
            // Whoever read the output may be gone; the exit code still says it all.
            let _ = writeln!(std::io::stdout(), "{report}");
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
