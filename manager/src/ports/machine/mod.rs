//! What the drivers share about one machine: its directory, its process, and that only one thing is done
//! to it at a time.

pub(super) mod directory;
pub(super) mod locks;
pub(crate) mod network;
pub(super) mod nocloud;
pub(crate) mod process;
pub(super) mod watched;

use std::net::Ipv4Addr;

/// The name of the host's end of the cable of the machine with `address`.
pub(super) fn port_name(address: Ipv4Addr) -> String {
    format!("hf{:08x}", address.to_bits())
}
