//! What the drivers share about one machine: its directory, its process, and that only one thing is done
//! to it at a time.

pub(super) mod directory;
pub(super) mod locks;
pub(crate) mod network;
pub(super) mod nocloud;
pub(crate) mod process;
pub(super) mod watched;

use std::net::IpAddr;

use crate::address_pool::last_octets;

/// The name of the host's end of the cable of the machine with `address`.
pub(super) fn port_name(address: IpAddr) -> String {
    format!("hf{:08x}", u32::from_be_bytes(last_octets(address)))
}
