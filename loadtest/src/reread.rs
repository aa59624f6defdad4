//! The commands that send nothing: they read reports that runs left, or tell of the command line itself.

use std::fs::File;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command, Subcommand, ValueEnum};
use kit::shell::{self, CompletionsArgs, ManArgs};

use crate::report::compare::compare;
use crate::report::outputs::Outputs;
use crate::report::{Report, json};

/// What can be done without sending anything.
#[derive(Debug, Subcommand)]
pub enum Reread {
    /// Writes a report anew, in other forms, from the JSON that a run left.
    Report(Rerender),
    /// Says what changed from one run to another, and whether it is more than noise.
    ///
    /// Availability and the quantiles of latency are judged, with intervals that are 99 % sure and that know that
    /// requests fail and are slow together. What a run has once, such as its longest outage, is shown beside.
    ///
    /// Exit codes: 0 compared, 1 worse and --fail-on-worse, 2 bad input, 3 one of the runs is invalid.
    Compare(Compare),
    /// Prints what completes this command line in a shell.
    Completions(CompletionsArgs),
    /// Writes this command's manual pages into a directory.
    Man(ManArgs),
}

/// `loadtest report`.
#[derive(Args, Debug)]
pub struct Rerender {
    /// The report, as --json wrote it.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub outputs: Outputs,
    /// Print the report for people, too; printed anyway where no other form is asked for.
    #[arg(long)]
    pub text: bool,
}

/// `loadtest compare`.
#[derive(Args, Debug)]
pub struct Compare {
    /// The report of the run before, as --json wrote it.
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The report of the run after.
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,
    /// End with exit code 1 if anything is worse by more than chance.
    #[arg(long)]
    pub fail_on_worse: bool,
    /// A latency that differs by less than this is the same: two runs of one thing on one machine easily do.
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = tolerance, allow_negative_numbers = true)]
    pub tolerance: f64,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// How a comparison is printed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// What is said of runs that cannot be compared.
const INVALID: u8 = 3;

impl Reread {
    /// Does it; the exit code. `command` is the whole command line.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written; says which and why.
    pub fn run(&self, command: Command) -> anyhow::Result<u8> {
        match self {
            Reread::Report(rerender) => rerender.run(),
            Reread::Compare(compare) => compare.run(),
            Reread::Completions(args) => shell::completions(command, args).map(|()| 0),
            Reread::Man(args) => shell::man(command, args).map(|()| 0),
        }
    }
}

impl Rerender {
    fn run(&self) -> anyhow::Result<u8> {
        let report = read(&self.file)?;
        self.outputs.spare(&self.file)?;
        self.outputs.open(None)?.write(&report)?;
        if self.text || self.outputs.is_empty() {
            say(&report.to_string());
        }
        Ok(0)
    }
}

impl Compare {
    fn run(&self) -> anyhow::Result<u8> {
        let (before, after) = (read(&self.before)?, read(&self.after)?);
        for (path, report) in [(&self.before, &before), (&self.after, &after)] {
            if !report.valid {
                let reasons = report.invalid_reasons.join("; ");
                say(&format!("{} is of an invalid run, which says nothing: {reasons}", path.display()));
                return Ok(INVALID);
            }
        }
        let comparison = compare(&before, &after, self.tolerance);
        match self.output {
            Output::Table => say(&comparison.to_string()),
            Output::Json => say(&serde_json::to_string_pretty(&comparison)?),
        }
        Ok(u8::from(self.fail_on_worse && comparison.is_worse()))
    }
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected a percentage, 0 to 100".to_owned()),
    }
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let file = File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
    json::read(file).with_context(|| path.display().to_string())
}

/// Whoever read the output may be gone; the exit code still says it all.
fn say(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}
