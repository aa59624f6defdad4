//! The contract of the hypervisor port (see `tests/hypervisor_contract`) with real virtual machines: the
//! libvirt driver, a libvirt daemon of the test's own, and guests of our image.
//!
//! `HOLDFAST_IMAGES` is the directory of the image bundles; `deploy/test.sh machines` builds them.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[macro_use]
#[path = "../hypervisor_contract/promises.rs"]
mod promises;

mod cloud_init;
#[path = "../hypervisor_contract/deaths.rs"]
mod deaths;
#[path = "../hypervisor_contract/failures.rs"]
mod failures;
mod libvirt;
#[path = "../hypervisor_contract/lives.rs"]
mod lives;
mod own;
mod own_spares;
#[path = "../hypervisor_contract/spares.rs"]
mod spares;
#[path = "../hypervisor_contract/stage.rs"]
mod stage;
#[path = "../hypervisor_contract/tap.rs"]
mod tap;
#[path = "../hypervisor_contract/usage.rs"]
mod usage;
