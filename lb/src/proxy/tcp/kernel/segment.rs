//! What the kernel knows of the network that packets are passed on in: who its neighbours are, through which interface
//! an upstream is reached, and whether packets may come in through it that are for somebody else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{AfSpecInet, AfSpecInet6, AfSpecUnspec, InetDevConf, LinkAttribute};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use rtnetlink::packet_route::route::RouteAttribute;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

/// Where the kernel is told how interfaces behave.
const SYSCTL: &str = "/proc/sys/net";

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mac([u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::str::FromStr for Mac {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16));
        let bytes = bytes.collect::<Result<Vec<_>, _>>().map_err(|_not_hex| ())?;
        Ok(Mac(bytes.try_into().map_err(|_other_length| ())?))
    }
}

/// The link-layer address of the interface `name`.
pub(super) fn own_mac(name: &str) -> Option<Mac> {
    let all = nix::ifaddrs::getifaddrs().ok()?;
    let mut links = all.filter(|entry| entry.interface_name == name);
    links.find_map(|entry| Some(Mac(entry.address?.as_link_addr()?.addr()?)))
}

/// The link-layer addresses of neighbours. One that was known stays so while the kernel asks for it anew: it asks for
/// those whom it sends something, as checks do.
#[derive(Debug, Default)]
pub(super) struct Neighbours(BTreeMap<IpAddr, Mac>);

impl Neighbours {
    pub(super) fn of(&self, address: IpAddr) -> Option<Mac> {
        self.0.get(&address).copied()
    }

    /// Who has each link-layer address: one of them, if several have the same.
    pub(super) fn by_mac(&self) -> BTreeMap<Mac, IpAddr> {
        self.0.iter().map(|(address, mac)| (*mac, *address)).collect()
    }

    /// Learns what the kernel knows now of those at the interface `name` that have an address of IPv4.
    pub(super) async fn learn(&mut self, handle: &Handle, name: &str) -> Result<(), rtnetlink::Error> {
        let Some(index) = index_of(name) else { return Ok(()) };
        let mut all = handle.neighbours().get().execute();
        while let Some(message) = all.try_next().await? {
            let no_use = [NeighbourState::Failed, NeighbourState::Incomplete, NeighbourState::None];
            if message.header.ifindex != index || no_use.contains(&message.header.state) {
                continue;
            }
            let (mut address, mut mac) = (None, None);
            for attribute in message.attributes {
                match attribute {
                    NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(v4),
                    NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes).ok(),
                    _ => {}
                }
            }
            if let (Some(address), Some(mac)) = (address, mac) {
                self.0.insert(IpAddr::V4(address), Mac(mac));
            }
        }
        Ok(())
    }
}

fn index_of(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

/// The interfaces through which `addresses` are reached.
pub(super) async fn ways_to(handle: &Handle, addresses: &BTreeSet<IpAddr>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for address in addresses {
        let message = match address {
            IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(*v4, 32).build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(*v6, 128).build(),
        };
        // Where there is no way, checks say so.
        let Ok(Some(route)) = handle.route().get(message).execute().try_next().await else { continue };
        let index = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
        let name = index.and_then(|index| nix::net::if_::if_indextoname(index).ok());
        found.extend(name.and_then(|name| name.into_string().ok()));
    }
    found
}

/// Whether packets that come in through an interface may be passed on, of IPv4 and of IPv6.
#[derive(Clone, Copy, Debug, Default)]
struct Forwards {
    v4: bool,
    v6: bool,
}

/// The kernel's word on the interface `index`. Not read from `/proc/sys`, which services are often not shown.
async fn forwards(handle: &Handle, index: u32) -> Forwards {
    let mut found = Forwards::default();
    let Ok(Some(link)) = handle.link().get().match_index(index).execute().try_next().await else {
        return found;
    };
    for attribute in link.attributes {
        let LinkAttribute::AfSpecUnspec(families) = attribute else { continue };
        for family in families {
            match family {
                AfSpecUnspec::Inet(all) => {
                    found.v4 |=
                        all.iter().any(|of| matches!(of, AfSpecInet::DevConf(conf) if conf.forwarding != 0));
                }
                AfSpecUnspec::Inet6(all) => {
                    found.v6 |=
                        all.iter().any(|of| matches!(of, AfSpecInet6::DevConf(conf) if conf.forwarding != 0));
                }
                _ => {}
            }
        }
    }
    found
}

/// Has packets of IPv4 that come in through the interface `name` be passed on.
///
/// # Errors
///
/// What to do, where that is not to be had.
pub(super) async fn forward_v4(handle: &Handle, name: &str) -> Result<(), String> {
    let Some(index) = index_of(name) else {
        return Err(format!("there is no network interface `{name}`: correct `interface` in the settings"));
    };
    if forwards(handle, index).await.v4 {
        return Ok(());
    }
    // By the file it is said to drivers, too; who is not shown that has another way.
    if fs::write(format!("{SYSCTL}/ipv4/conf/{name}/forwarding"), "1").is_err() {
        let mut conf = InetDevConf::default();
        conf.forwarding = 1;
        let of_inet = AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(conf)]);
        let link = LinkUnspec::new_with_index(index);
        let link = link.append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![of_inet])).build();
        if let Err(error) = handle.link().set(link).execute().await {
            return Err(format!(
                "packets that come in through {name} are not passed on, and the balancer may not change that ({error}): \
                 set net.ipv4.conf.{name}.forwarding = 1"
            ));
        }
    }
    tracing::info!(
        interface = name,
        "packets that come in here may be passed on from now on (forwarding = 1)"
    );
    Ok(())
}

/// Whether packets of IPv6 that come in through the interface `name` are passed on. It is set for all interfaces together,
/// and has them ignore routers: that is nothing for us to decide.
///
/// # Errors
///
/// What to do.
pub(super) async fn forwards_v6(handle: &Handle, name: &str) -> Result<(), String> {
    if let Some(index) = index_of(name)
        && forwards(handle, index).await.v6
    {
        return Ok(());
    }
    Err("packets of IPv6 are not passed on: set net.ipv6.conf.all.forwarding = 1 (and accept_ra = 2 for interfaces whose \
         routes come from router advertisements)"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        let mac: Mac = "02:00:5e:00:01:fF\n".parse().expect("an address");
        assert_eq!(mac.to_string(), "02:00:5e:00:01:ff");
        for wrong in ["", "02:00:5e:00:01", "02:00:5e:00:01:00:00", "02:00:5e:00:01:gg"] {
            wrong.parse::<Mac>().expect_err(wrong);
        }
    }
}
