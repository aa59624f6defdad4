//! `manager completions` and `manager man`: what shells and `man` want to know of the command line.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

/// What `manager completions` takes.
#[derive(clap::Args, Debug)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// What `manager man` takes.
#[derive(clap::Args, Debug)]
pub struct ManArgs {
    /// The directory that gets one page for each command; it is made where there is none.
    directory: PathBuf,
}

/// Prints what completes `command` in a shell.
///
/// # Errors
///
/// When it cannot be written.
pub fn completions(mut command: Command, args: &CompletionsArgs) -> Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    super::print::line(String::from_utf8(script)?.trim_end())
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
