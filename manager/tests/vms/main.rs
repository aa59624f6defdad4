//! The whole system with real virtual machines: two hosts, each with a libvirt daemon of its own, made by
//! `deploy/lab.sh`; a load on the public address, and faults.
//!
//! Guests may be emulated, so the load is light and the bounds are wide. `HOLDFAST_IMAGES` is the directory
//! of the image bundles; `deploy/test.sh machines` builds them.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod conditions;
mod consoles;
mod daemons;
mod deaths;
mod images;
#[allow(dead_code)]
#[path = "../cluster/lab.rs"]
mod lab;
#[allow(dead_code)]
#[path = "../cluster/load.rs"]
mod load;
#[path = "../cluster/run.rs"]
mod run;
mod spares;

use std::path::PathBuf;

use lab::Lab;

/// Requests per second that emulated guests on two busy cores have no trouble with.
pub(crate) const RATE: u32 = 40;

/// Where the image bundles are.
pub(crate) fn images() -> PathBuf {
    std::env::var("HOLDFAST_IMAGES").expect("HOLDFAST_IMAGES: deploy/test.sh machines sets it").into()
}

/// A lab of virtual machines whose managers were started.
pub(crate) fn begin() -> Lab {
    Lab::begin_with(&[("HOLDFAST_MACHINES", "vms")])
}

/// A lab of virtual machines whose cluster is whole.
pub(crate) fn start() -> Lab {
    let lab = begin();
    lab.wait_until_whole();
    lab
}
