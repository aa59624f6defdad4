//! What a program uses while a command runs.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::processes::{memory as memory_of, processor_time, stolen, tree, waiting_time};

/// Whom to watch, and meanwhile.
#[derive(Args)]
pub(crate) struct Options {
    /// The first process of the program.
    #[arg(long)]
    pid: i32,
    /// Where to write what it used, a name and a number on each line.
    #[arg(long)]
    out: PathBuf,
    /// The command.
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<String>,
}

/// Which program.
#[derive(Args)]
pub(crate) struct ProgramOptions {
    /// The first process of the program.
    pid: i32,
}

/// Runs the command and writes `cpu_us`, `wall_us`, `utilisation` and `waiting` (cores that it had, and that it
/// would have had if nobody else had been there), `steal` (a share of the machine), `rss_kb` and `rss_peak_kb`.
///
/// # Errors
///
/// When the command fails, or the program has not the same processes as before.
pub(crate) fn run(options: &Options) -> Result<()> {
    let processes = tree(options.pid)?;
    let [program, arguments @ ..] = &options.command[..] else { anyhow::bail!("there is no command") };
    let mut command = Command::new(program);
    command.args(arguments);
    let stolen_before = stolen()?;
    let waited_before = waiting_time(&processes)?;
    let before = processor_time(&processes)?;
    let start = Instant::now();
    let status = command.status().with_context(|| format!("cannot run {program}"))?;
    let wall = start.elapsed();
    let used = processor_time(&processes)?.saturating_sub(before);
    let waited = waiting_time(&processes)?.saturating_sub(waited_before);
    let stolen_after = stolen()?;
    ensure!(status.success(), "{program} failed: {status}");
    let now = tree(options.pid)?;
    ensure!(
        now == processes,
        "the program that is measured had the processes {processes:?} and now has {now:?}"
    );
    let (rss, peak) = memory_of(&processes)?;
    let ticks = (stolen_after.1 - stolen_before.1).max(1);
    let mut text = String::new();
    writeln!(text, "cpu_us {}", used.as_micros())?;
    writeln!(text, "wall_us {}", wall.as_micros())?;
    writeln!(text, "utilisation {:.3}", used.as_secs_f64() / wall.as_secs_f64())?;
    writeln!(text, "waiting {:.3}", waited.as_secs_f64() / wall.as_secs_f64())?;
    #[allow(clippy::cast_precision_loss)] // ticks of seconds
    writeln!(text, "steal {:.4}", (stolen_after.0 - stolen_before.0) as f64 / ticks as f64)?;
    writeln!(text, "rss_kb {rss}")?;
    writeln!(text, "rss_peak_kb {peak}")?;
    fs::write(&options.out, text).with_context(|| format!("cannot write {}", options.out.display()))
}

/// Prints it in KiB.
///
/// # Errors
///
/// When there is no such process.
pub(crate) fn memory(options: &ProgramOptions) -> Result<()> {
    println!("{}", memory_of(&tree(options.pid)?)?.0);
    Ok(())
}

/// Prints the ids of its processes, each after its parent: the order in which to end them.
///
/// # Errors
///
/// When there is no such process.
pub(crate) fn processes(options: &ProgramOptions) -> Result<()> {
    for pid in tree(options.pid)? {
        println!("{pid}");
    }
    Ok(())
}
