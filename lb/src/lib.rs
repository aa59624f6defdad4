//! The balancer: three processes from one binary.
//!
//! ```text
//!              lb run ── starts and watches both, removes the VIP when either dies
//!              /    \
//!       lb proxy     lb vip
//!   [`proxy`] takes    [`vip`] speaks VRRP, holds
//!   requests and       the address, hears from the
//!   [`admin`] orders   proxy over [`link`]
//! ```
//!
//! [`settings`] is the file all three read.

pub mod admin;
mod allocator;
pub mod link;
pub mod proxy;
pub mod settings;
pub mod shown;
pub mod signals;
pub mod supervisor;
pub mod vip;
