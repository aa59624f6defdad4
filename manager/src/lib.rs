//! The manager: keeps the machines of one host alive and tells balancers and peers about them.
//!
//! [`engine`] decides, [`executor`] does what it decided through the [`ports`], [`api`] lets people and
//! peers ask, [`cli`] is what people type, [`page`] what they look at.

pub mod access;
pub mod address_pool;
pub mod api;
pub mod certificates;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod executor;
pub mod faults;
pub mod maintenance;
pub mod metrics;
pub mod page;
pub mod pki;
pub mod ports;
pub mod services;
#[cfg(test)]
mod sim;
pub mod store;
pub mod tls;
pub mod vip_plan;
