//! The virtual addresses on an interface, by netlink.
//!
//! Each is put there for a few seconds only and renewed while it is held: whatever happens to this
//! process, the kernel takes the address off soon after.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, anyhow};
use nix::libc;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, CacheInfo};
use rtnetlink::{AddressMessageBuilder, Error, Handle};

/// How long the kernel keeps an address that is not renewed, in seconds.
pub(crate) const LIFETIME_S: u32 = 5;

/// The kernel answers netlink requests at once; what takes longer is lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Adds and removes addresses.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(super) handle: Handle,
}

impl Addresses {
    /// Opens the netlink socket. Needs a tokio runtime, on which it spawns the task that reads it.
    ///
    /// # Errors
    ///
    /// When the kernel has no netlink.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("no netlink socket")?;
        tokio::spawn(connection);
        Ok(Addresses { handle })
    }

    /// Puts `address`, alone in its prefix, on the interface `index` for so many seconds, or extends its lifetime where it
    /// is there.
    ///
    /// An IPv6 address is usable at once: the segment has just been told that it is here, and another
    /// holder must not keep us from it (RFC 4862, section 5.4 would have us wait for a second). The
    /// kernel answers from it but begins no connection of its own from it.
    ///
    /// # Errors
    ///
    /// Without the right to (CAP_NET_ADMIN), or when the interface is gone.
    pub(crate) async fn hold(&self, index: u32, address: IpAddr, seconds: u32) -> anyhow::Result<()> {
        let mut request = self.handle.address().add(index, address, prefix(address)).replace();
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = seconds;
        lifetime.ifa_preferred = if address.is_ipv4() { seconds } else { 0 };
        let message = request.message_mut();
        if address.is_ipv6() {
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        answered(request.execute()).await.map_err(|error| explained(&error, "put on", address))
    }

    /// Takes `address` off the interface `index`; whether it was there.
    ///
    /// # Errors
    ///
    /// Without the right to (CAP_NET_ADMIN), or when the interface is gone.
    pub(crate) async fn remove(&self, index: u32, address: IpAddr) -> anyhow::Result<bool> {
        let length = prefix(address);
        let message = match address {
            IpAddr::V4(address) => {
                AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, length).build()
            }
            IpAddr::V6(address) => {
                AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(address, length).build()
            }
        };
        match answered(self.handle.address().del(message).execute()).await {
            Ok(()) => Ok(true),
            Err(error) if errno(&error) == libc::EADDRNOTAVAIL => Ok(false),
            Err(error) => Err(explained(&error, "taken off", address)),
        }
    }
}

/// The length of a prefix that has one address.
fn prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

pub(super) async fn answered(request: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::time::timeout(ANSWER_TIMEOUT, request).await.unwrap_or(Err(Error::RequestFailed))
}

/// The kernel's error number, 0 when it is not the kernel's error.
pub(super) fn errno(error: &Error) -> i32 {
    match error {
        Error::NetlinkError(message) => -message.raw_code(),
        _ => 0,
    }
}

fn explained(error: &Error, deed: &str, address: IpAddr) -> anyhow::Error {
    match errno(error) {
        libc::EPERM => anyhow!("{address} cannot be {deed} the interface: it needs CAP_NET_ADMIN"),
        libc::ENODEV => anyhow!("{address} cannot be {deed} the interface: the interface is gone"),
        libc::EACCES if address.is_ipv6() => anyhow!(
            "{address} cannot be {deed} the interface: IPv6 is off there, set its sysctl disable_ipv6 = 0"
        ),
        _ => anyhow!("{address} cannot be {deed} the interface: {error}"),
    }
}
