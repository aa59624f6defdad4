//! The contract of the hypervisor port (`manager::ports::hypervisor`), as a suite that every driver runs.
//!
//! ```text
//!   lives.rs     machines are made, found again, stopped        ┐
//!   deaths.rs    from a killed or frozen one nothing comes      │
//!   usage.rs     what machines use is told                      ├ the contract: knows no driver
//!   spares.rs    spares wait, and become machines               │
//!   failures.rs  what cannot be done says why and leaves nothing┘
//!   promises.rs  all of them, for every driver
//!   stage.rs     what the suite needs of a host with a driver
//!   tap.rs       hears every frame that reaches the host
//!   namespaces.rs  the driver for namespace machines on its stage
//! ```

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[macro_use]
mod promises;

mod deaths;
mod failures;
mod lives;
mod namespaces;
mod spares;
mod stage;
mod tap;
mod usage;
