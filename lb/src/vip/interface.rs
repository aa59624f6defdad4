//! The network interface the addresses are put on, as it is when the speaker starts.

use anyhow::{Context, bail};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::LinkAddr;

/// An interface that exists.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mac: [u8; 6],
    /// The address a packet socket is bound to.
    pub(crate) link: LinkAddr,
}

impl Interface {
    /// Looks `name` up.
    ///
    /// # Errors
    ///
    /// When there is no such interface or it is not Ethernet.
    pub(crate) fn find(name: &str) -> anyhow::Result<Self> {
        for entry in getifaddrs().context("the network interfaces cannot be listed")? {
            let link = entry.address.as_ref().and_then(|address| address.as_link_addr());
            let Some(link) = link.filter(|_| entry.interface_name == name) else { continue };
            let (Some(mac), 6) = (link.addr(), link.halen()) else {
                bail!("the interface `{name}` is not Ethernet");
            };
            let index = u32::try_from(link.ifindex())?;
            return Ok(Interface { name: name.to_owned(), index, mac, link: *link });
        }
        bail!("there is no network interface `{name}`: correct `interface` in the settings or create it")
    }
}
