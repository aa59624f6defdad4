//! The commands that send nothing: they read reports that runs left.

use std::fs::File;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::report::outputs::Outputs;
use crate::report::{Report, json};

/// What can be done without sending anything.
#[derive(Debug, Subcommand)]
pub enum Reread {
    /// Writes a report anew, in other forms, from the JSON that a run left.
    Report(Rerender),
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

impl Reread {
    /// Does it; the exit code.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written; says which and why.
    pub fn run(&self) -> anyhow::Result<u8> {
        match self {
            Reread::Report(rerender) => rerender.run(),
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

fn read(path: &Path) -> anyhow::Result<Report> {
    let file = File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
    json::read(file).with_context(|| path.display().to_string())
}

/// Whoever read the output may be gone; the exit code still says it all.
fn say(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}
