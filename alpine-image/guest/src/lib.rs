//! What runs in a virtual machine of ours beside the program it is for, and what its manager must know
//! of it.
//!
//! ```text
//!   host                               guest
//!   ────                               ─────
//!   seed_disk::write ──▶ disk ──▶ seed_disk::read ──▶ configure ──▶ network, host name, /run/holdfast
//!                                                                                          │
//!                                                        program::run ◀────────────────────┤
//!   channel::Ask ────▶ virtio-serial ──▶ channel::daemon ──▶ machine::Machine ◀────────────┘
//!   channel::Told ◀──────────────────────────┘
//!   channel::Ask::Become ────────────────────▶ spare ──▶ network, host name, /run/holdfast, program::run
//! ```
//!
//! [`seed_disk`], [`program::unpack`], the messages of [`channel`] and what says that a machine is a [`spare`] are shared with the manager; the
//! rest is the program `holdfast-guest`, whose subcommands are the image's services.

pub mod channel;
pub mod configure;
pub mod machine;
mod network;
pub mod pause;
pub mod places;
mod processes;
pub mod program;
pub mod seed_disk;
pub mod spare;
mod wait;
