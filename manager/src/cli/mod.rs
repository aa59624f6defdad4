//! What people type: the API from the command line, and a check of the host.

mod access;
mod check;
mod client;
mod console;
mod roll;
mod switchover;
mod table;
mod way;

pub use access::{AccessCommand, AuditArgs, MaintenanceCommand};
pub use check::check;
pub use client::{Client, Usage, VmCommand};
pub use roll::{ImageCommand, RollArgs};
pub use switchover::SwitchoverArgs;

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}
