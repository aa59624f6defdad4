//! The cable between a machine and the host's bridge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::RawFd;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::{Error, Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use thiserror::Error as ThisError;

use super::port_name;
use crate::address_pool::last_octets;

/// The machine's end of the cable.
pub(crate) const GUEST_INTERFACE: &str = "eth0";

/// The network of one namespace.
pub(crate) struct Network {
    handle: Handle,
}

#[derive(Debug, ThisError)]
pub(crate) enum NetworkError {
    #[error(
        "there is no bridge `{0}`: ip link add {0} type bridge stp_state 0 forward_delay 0 && ip link set {0} up, or \
         name another one in `bridge`"
    )]
    NoInterface(String),
    #[error("`{0}` is no bridge: name one in `bridge`")]
    NoBridge(String),
    #[error("{what}: {error}")]
    Refused { what: &'static str, error: Error },
}

fn refused(what: &'static str) -> impl FnOnce(Error) -> NetworkError {
    move |error| NetworkError::Refused { what, error }
}

/// The MAC address of that end. A bridge without an address of its own takes the lowest of its ports',
/// so that with a random one here the host's MAC could change with every machine, and whatever its
/// neighbours sent to the old one would be lost for seconds. This one is higher than any real card's.
fn port_mac(address: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = last_octets(address);
    [0xfe, 0x48, a, b, c, d]
}

/// A bridge, as far as machines depend on it.
#[derive(Debug, Default)]
pub(crate) struct Bridge {
    pub(crate) up: bool,
    pub(crate) spanning_tree: bool,
    /// In hundredths of a second.
    pub(crate) forward_delay: u32,
    pub(crate) mac: String,
    /// Whether its MAC address was given to it, and does not change with its ports; also where that is not
    /// known.
    pub(crate) fixed_mac: bool,
}

impl Bridge {
    fn read(&mut self, settings: &[InfoBridge]) {
        for setting in settings {
            match setting {
                InfoBridge::StpState(state) => self.spanning_tree = *state != BridgeStpState::Disabled,
                InfoBridge::ForwardDelay(delay) => self.forward_delay = *delay,
                _ => {}
            }
        }
    }
}

impl Network {
    /// The network of the namespace this is called in, wherever it is used from later.
    pub(crate) fn new() -> std::io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Network { handle })
    }

    /// Lays a cable between `bridge` and the network namespace `guest`.
    pub(crate) async fn add_port(
        &self,
        address: IpAddr,
        mac: [u8; 6],
        bridge: &str,
        guest: RawFd,
    ) -> Result<(), NetworkError> {
        let bridge = self.index(bridge).await?.ok_or_else(|| NetworkError::NoInterface(bridge.to_owned()))?;
        let far_end = LinkMessageBuilder::<LinkUnspec>::new()
            .name(GUEST_INTERFACE)
            .address(mac.to_vec())
            .setns_by_fd(guest)
            .build();
        let cable = LinkMessageBuilder::<LinkVeth>::new(&port_name(address), GUEST_INTERFACE)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far_end)))
            .address(port_mac(address).to_vec())
            .controller(bridge)
            .up()
            .build();
        self.handle
            .link()
            .add(cable)
            .execute()
            .await
            .map_err(refused("the cable to the bridge cannot be laid"))
    }

    /// Gives the machine its address, in its own namespace.
    pub(crate) async fn configure_guest(
        &self,
        address: IpAddr,
        prefix: u8,
        gateway: IpAddr,
    ) -> Result<(), NetworkError> {
        self.set_port("lo", true).await?;
        let index = self
            .index(GUEST_INTERFACE)
            .await?
            .ok_or_else(|| NetworkError::NoInterface(GUEST_INTERFACE.to_owned()))?;
        let mut add = self.handle.address().add(index, address, prefix);
        // Whether somebody else has it was asked before the machine was made; it must answer at once.
        if address.is_ipv6() {
            add.message_mut().header.flags.insert(AddressHeaderFlags::Nodad);
        }
        add.execute().await.map_err(refused("the address cannot be set"))?;
        self.set_port(GUEST_INTERFACE, true).await?;
        let route = match gateway {
            IpAddr::V4(gateway) => {
                RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(index).build()
            }
            IpAddr::V6(gateway) => {
                RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).output_interface(index).build()
            }
        };
        self.handle.route().add(route).execute().await.map_err(refused("the gateway cannot be set"))
    }

    /// Plugs the interface `name` into `bridge`, and switches it on.
    pub(crate) async fn plug(&self, name: &str, bridge: &str) -> Result<(), NetworkError> {
        let index =
            |found: Option<u32>, name: &str| found.ok_or_else(|| NetworkError::NoInterface(name.to_owned()));
        let bridge = index(self.index(bridge).await?, bridge)?;
        let port = index(self.index(name).await?, name)?;
        let change = LinkMessageBuilder::<LinkUnspec>::new().index(port).controller(bridge).up().build();
        self.handle.link().set(change).execute().await.map_err(refused("the cable cannot be plugged in"))
    }

    /// Switches an interface on or off; one that is not there counts as off.
    pub(crate) async fn set_port(&self, name: &str, up: bool) -> Result<(), NetworkError> {
        let Some(index) = self.index(name).await? else {
            return if up { Err(NetworkError::NoInterface(name.to_owned())) } else { Ok(()) };
        };
        let builder = LinkMessageBuilder::<LinkUnspec>::new().index(index);
        let change = if up { builder.up() } else { builder.down() };
        match self.handle.link().set(change.build()).execute().await {
            Err(error) if !up && is_gone(&error) => Ok(()),
            result => result.map_err(refused("the interface cannot be switched")),
        }
    }

    /// Takes a cable away; one that is not there is fine.
    pub(crate) async fn remove_port(&self, name: &str) -> Result<(), NetworkError> {
        let Some(index) = self.index(name).await? else { return Ok(()) };
        match self.handle.link().del(index).execute().await {
            Err(error) if is_gone(&error) => Ok(()),
            result => result.map_err(refused("the cable cannot be taken away")),
        }
    }

    /// Whether there is an interface called `name`.
    pub(crate) async fn has(&self, name: &str) -> Result<bool, NetworkError> {
        Ok(self.index(name).await?.is_some())
    }

    /// The bridge called `name`.
    pub(crate) async fn bridge(&self, name: &str) -> Result<Bridge, NetworkError> {
        let link = self.link(name).await?.ok_or_else(|| NetworkError::NoInterface(name.to_owned()))?;
        let mut bridge = Bridge { up: link.header.flags.contains(LinkFlags::Up), ..Bridge::default() };
        let mut is_bridge = false;
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Address(address) => {
                    let bytes: Vec<String> = address.iter().map(|byte| format!("{byte:02x}")).collect();
                    bridge.mac = bytes.join(":");
                }
                LinkAttribute::LinkInfo(infos) => {
                    is_bridge |= infos.contains(&LinkInfo::Kind(InfoKind::Bridge));
                    for info in infos {
                        if let LinkInfo::Data(InfoData::Bridge(settings)) = info {
                            bridge.read(settings);
                        }
                    }
                }
                _ => {}
            }
        }
        // The kernel remembers whether an address was given or taken from a port (NET_ADDR_SET is 3).
        let assigned = std::fs::read_to_string(format!("/sys/class/net/{name}/addr_assign_type"));
        bridge.fixed_mac = assigned.map_or(true, |how| how.trim() == "3");
        if is_bridge { Ok(bridge) } else { Err(NetworkError::NoBridge(name.to_owned())) }
    }

    async fn index(&self, name: &str) -> Result<Option<u32>, NetworkError> {
        Ok(self.link(name).await?.map(|link| link.header.index))
    }

    async fn link(&self, name: &str) -> Result<Option<LinkMessage>, NetworkError> {
        let mut links = self.handle.link().get().match_name(name.to_owned()).execute();
        match links.try_next().await {
            Ok(link) => Ok(link),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(refused("the interfaces cannot be listed")(error)),
        }
    }
}

fn is_gone(error: &Error) -> bool {
    let Error::NetlinkError(message) = error else { return false };
    message.code.is_some_and(|code| -code.get() == nix::errno::Errno::ENODEV as i32)
}
