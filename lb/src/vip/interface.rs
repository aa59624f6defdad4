//! The network interface the addresses are put on, as it is when the speaker starts.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::LinkAddr;

use super::frames::Mac;

/// An interface that has just come up has its link-local address after about two seconds (RFC 4862,
/// section 5.4: first it makes sure that nobody else has it).
pub(super) const LINK_LOCAL_WAIT: Duration = Duration::from_secs(10);

/// How often it is looked for.
const LINK_LOCAL_POLL: Duration = Duration::from_millis(50);

/// Flags of an address that must not be spoken from (`linux/if_addr.h`): tentative, or a duplicate.
const NOT_USABLE: u32 = 0x40 | 0x08;

/// `/proc/net/if_inet6` calls the scope of link-local addresses so.
const SCOPE_LINK: u32 = 0x20;

/// An interface that exists.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mac: Mac,
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
        Self::look_for(name)?.with_context(|| {
            format!(
                "there is no network interface `{name}`: correct `interface` in the settings or create it"
            )
        })
    }

    /// Looks `name` up; none where there is no such interface.
    ///
    /// # Errors
    ///
    /// When it is not Ethernet.
    pub(super) fn look_for(name: &str) -> anyhow::Result<Option<Self>> {
        for entry in getifaddrs().context("the network interfaces cannot be listed")? {
            let link = entry.address.as_ref().and_then(|address| address.as_link_addr());
            let Some(link) = link.filter(|_| entry.interface_name == name) else { continue };
            let (Some(mac), 6) = (link.addr(), link.halen()) else {
                bail!("the interface `{name}` is not Ethernet");
            };
            let index = u32::try_from(link.ifindex())?;
            return Ok(Some(Interface { name: name.to_owned(), index, mac, link: *link }));
        }
        Ok(None)
    }

    /// Its own link-local address, which is none of `virtual_addresses`. Waits for it for so long.
    ///
    /// # Errors
    ///
    /// When it does not get one.
    pub(super) async fn link_local(
        &self,
        virtual_addresses: &[IpAddr],
        wait: Duration,
    ) -> anyhow::Result<Ipv6Addr> {
        let limit = Instant::now() + wait;
        loop {
            // Without IPv6 in the kernel there is no such file.
            let list = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
            let found = link_locals(&list, &self.name)
                .find(|address| !virtual_addresses.contains(&IpAddr::V6(*address)));
            if let Some(found) = found {
                return Ok(found);
            }
            if Instant::now() >= limit {
                bail!(
                    "the interface `{0}` has no IPv6 link-local address to send adverts from: bring it up and \
                     set net.ipv6.conf.{0}.disable_ipv6 = 0",
                    self.name
                );
            }
            tokio::time::sleep(LINK_LOCAL_POLL).await;
        }
    }
}

/// The usable link-local addresses of the interface `name` in the text of `/proc/net/if_inet6`.
fn link_locals<'a>(list: &'a str, name: &'a str) -> impl Iterator<Item = Ipv6Addr> + 'a {
    list.lines().filter_map(move |line| {
        let mut words = line.split_ascii_whitespace();
        let mut hex = || words.next();
        let address = u128::from_str_radix(hex()?, 16).ok()?;
        let (_index, _prefix) = (hex()?, hex()?);
        let scope = u32::from_str_radix(hex()?, 16).ok()?;
        let flags = u32::from_str_radix(hex()?, 16).ok()?;
        let usable = hex()? == name && scope == SCOPE_LINK && flags & NOT_USABLE == 0;
        usable.then(|| Ipv6Addr::from_bits(address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settled_link_local_addresses_of_the_interface_count() {
        let list = "fe800000000000000000000000000001 02 40 20 c0     eth0\n\
                    fd000000000000000000000000000002 02 80 00 82     eth0\n\
                    fe800000000000000000000000000003 03 40 20 80     eth1\n\
                    fe800000000000000000000000000004 02 40 20 80     eth0\n\
                    fe80 broken\n";
        let found: Vec<_> = link_locals(list, "eth0").map(|address| address.to_string()).collect();
        assert_eq!(found, ["fe80::4"]);
    }
}
