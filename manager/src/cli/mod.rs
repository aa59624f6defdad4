//! What people type: the API from the command line, and a check of the host.

mod access;
mod check;
mod client;
mod console;
mod init;
mod join;
mod revoke;
mod roll;
mod switchover;
mod table;
mod token;
mod way;

pub use access::{AccessCommand, AuditArgs, MaintenanceCommand};
pub use check::check;
pub use client::{Client, Usage, VmCommand};
pub use init::{InitArgs, init};
pub use join::{JoinArgs, join};
pub use revoke::{RevokeArgs, revoke};
pub use roll::{ImageCommand, RollArgs};
pub use switchover::SwitchoverArgs;
pub use token::{TokenArgs, token};

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}
