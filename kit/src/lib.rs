//! What every daemon of the project does alike, written once.
//!
//! [`config`] reads a TOML file and says where it is wrong, [`guess`] what was meant; [`notify`] is a part that two of those files
//! have; [`descriptors`] says how many files may be open; [`api`] gives HTTP interfaces one shape (problem+json, OpenAPI, metrics, heartbeat);
//! [`telemetry`] starts the log; [`service`] tells systemd how we are; [`shutdown`] turns signals into an orderly end;
//! `page` (a feature) makes pages for people; `shell` (a feature) makes completions and manual pages; `tls` (a feature) is
//! how the daemons prove to each other who they are.

pub mod api;
pub mod config;
pub mod descriptors;
pub mod guess;
pub mod notify;
#[cfg(feature = "page")]
pub mod page;
mod places;
pub mod readiness;
pub mod seldom;
pub mod service;
#[cfg(feature = "shell")]
pub mod shell;
pub mod shutdown;
pub mod telemetry;
#[cfg(feature = "tls")]
pub mod tls;
