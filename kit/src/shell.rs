//! `completions` and `man` of every command of ours: what shells and `man` want to know of a command line.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

/// What `completions` takes.
#[derive(clap::Args, Debug)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// What `man` takes.
#[derive(clap::Args, Debug)]
pub struct ManArgs {
    /// The directory that gets one page for each command; it is made where there is none.
    directory: PathBuf,
}

/// Prints what completes `command` in a shell.
///
/// # Errors
///
/// When it cannot be written. That nobody reads it is none.
pub fn completions(mut command: Command, args: &CompletionsArgs) -> Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the completions")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes the manual pages of `command`.
///
/// # Errors
///
/// When they cannot be written.
pub fn man(command: Command, args: &ManArgs) -> Result<()> {
    let directory = &args.directory;
    let failed = || format!("cannot write to {}; name another directory", directory.display());
    fs::create_dir_all(directory).with_context(failed)?;
    clap_mangen::generate_to(command, directory).with_context(failed)
}
