//! What people type: the API from the command line, and a check of the host.

mod access;
mod check;
mod client;
mod console;
mod dump;
mod events;
mod init;
mod join;
mod print;
mod revoke;
mod roll;
mod scaling;
mod service;
mod status;
mod switchover;
mod table;
mod token;
mod top;
mod watch;
mod way;

pub use access::{AccessCommand, AuditArgs, MaintenanceCommand};
pub use check::check;
pub use client::{Client, Usage, VmCommand};
pub use dump::DumpArgs;
pub use events::EventsArgs;
pub use init::{InitArgs, init};
pub use join::{JoinArgs, join};
pub use kit::shell::{CompletionsArgs, ManArgs, completions, man};
pub use print::Output;
pub use revoke::{RevokeArgs, revoke};
pub use roll::{ImageCommand, RollArgs};
pub use service::{ApplyArgs, ServiceCommand};
pub use status::{NotWell, StatusArgs};
pub use switchover::SwitchoverArgs;
pub use token::{TokenArgs, token};
pub use top::TopArgs;
