//! The virtual addresses on the interface, by netlink.
//!
//! Each is put there for a few seconds only and renewed while it is held: whatever happens to this
//! process, the kernel takes the address off soon after.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use nix::libc;
use rtnetlink::packet_route::address::{AddressAttribute, CacheInfo};
use rtnetlink::{AddressMessageBuilder, Error, Handle};

/// How long the kernel keeps an address that is not renewed, in seconds.
pub(crate) const LIFETIME_S: u32 = 5;

/// The kernel answers netlink requests at once; what takes longer is lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Adds and removes addresses on one interface.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    handle: Handle,
    index: u32,
}

impl Addresses {
    /// Opens the netlink socket. Needs a tokio runtime, on which it spawns the task that reads it.
    ///
    /// # Errors
    ///
    /// When the kernel has no netlink.
    pub(crate) fn open(index: u32) -> anyhow::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("no netlink socket")?;
        tokio::spawn(connection);
        Ok(Addresses { handle, index })
    }

    /// Puts `address`/32 on the interface, or extends its lifetime where it is there.
    ///
    /// # Errors
    ///
    /// Without the right to (CAP_NET_ADMIN), or when the interface is gone.
    pub(crate) async fn hold(&self, address: Ipv4Addr) -> anyhow::Result<()> {
        let mut request = self.handle.address().add(self.index, address.into(), 32).replace();
        let mut lifetime = CacheInfo::default();
        (lifetime.ifa_preferred, lifetime.ifa_valid) = (LIFETIME_S, LIFETIME_S);
        request.message_mut().attributes.push(AddressAttribute::CacheInfo(lifetime));
        answered(request.execute()).await.map_err(|error| explained(&error, "put on", address))
    }

    /// Takes `address`/32 off the interface; whether it was there.
    ///
    /// # Errors
    ///
    /// Without the right to (CAP_NET_ADMIN), or when the interface is gone.
    pub(crate) async fn remove(&self, address: Ipv4Addr) -> anyhow::Result<bool> {
        let message = AddressMessageBuilder::<Ipv4Addr>::new().index(self.index).address(address, 32).build();
        match answered(self.handle.address().del(message).execute()).await {
            Ok(()) => Ok(true),
            Err(error) if errno(&error) == libc::EADDRNOTAVAIL => Ok(false),
            Err(error) => Err(explained(&error, "taken off", address)),
        }
    }
}

async fn answered(request: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::time::timeout(ANSWER_TIMEOUT, request).await.unwrap_or(Err(Error::RequestFailed))
}

/// The kernel's error number, 0 when it is not the kernel's error.
fn errno(error: &Error) -> i32 {
    match error {
        Error::NetlinkError(message) => -message.raw_code(),
        _ => 0,
    }
}

fn explained(error: &Error, deed: &str, address: Ipv4Addr) -> anyhow::Error {
    match errno(error) {
        libc::EPERM => anyhow!("{address} cannot be {deed} the interface: it needs CAP_NET_ADMIN"),
        libc::ENODEV => anyhow!("{address} cannot be {deed} the interface: the interface is gone"),
        _ => anyhow!("{address} cannot be {deed} the interface: {error}"),
    }
}
