//! The command line of the load tester.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use loadtest::options::Options;
use loadtest::run::{RunError, run};

fn main() -> ExitCode {
    let options = Options::parse();
    // For what goes on beside the load, which has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
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
