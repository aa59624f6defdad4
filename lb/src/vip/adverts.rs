//! The raw socket that adverts go through: IP protocol 112, TTL or hop limit 255 (RFC 9568, section 5.1).
//! One for each family. The kernel hands it nothing but this protocol on this interface.

use std::io::{self, IoSliceMut, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;

use anyhow::Context;
use nix::libc;
use nix::sys::socket::sockopt::{Ipv6RecvHopLimit, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, recvmsg, sendmsg, setsockopt,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use vrrp::packet::{Advert, MULTICAST, MULTICAST_V6, Malformed, PROTOCOL, TTL};

use super::interface::Interface;

/// The longest IP packet.
const MAX_PACKET: usize = 1 << 16;

/// Type of service: network control, as routing protocols use it.
const TOS_NETWORK_CONTROL: u32 = 0xc0;

/// Sends and receives adverts of one family on one interface.
#[derive(Debug)]
pub(crate) struct AdvertSocket {
    socket: Socket,
    /// The same socket, watched by the runtime, which knows only the usual kinds by name.
    readiness: UdpSocket,
    pub(super) own: IpAddr,
    index: u32,
    buffer: Vec<u8>,
}

/// One packet that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Who sent it.
    pub(super) source: IpAddr,
    /// Whom it was sent to: the group, or this machine alone.
    pub(super) destination: IpAddr,
    /// The virtual router it seems to be for, whatever else is wrong with it.
    pub(super) vrid: Option<u8>,
    /// What it says.
    pub(super) advert: Result<Advert, Malformed>,
}

impl AdvertSocket {
    /// Opens it on `interface`, where `own` is the address to speak from, and joins the group if
    /// `multicast`. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// Without the right to (CAP_NET_RAW), or when `own` is not an address of this machine.
    pub(crate) fn open(interface: &Interface, own: IpAddr, multicast: bool) -> anyhow::Result<Self> {
        let protocol = Protocol::from(i32::from(PROTOCOL));
        let domain = if own.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))
            .context("no raw socket for VRRP (it needs CAP_NET_RAW)")?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(interface.name.as_bytes()))?;
        let not_there = || {
            format!("{own} is not an address of this machine: correct `address` in the settings or add it")
        };
        let not_joined = || format!("the VRRP group cannot be joined on {}", interface.name);
        match own {
            IpAddr::V4(own) => {
                socket.set_multicast_if_v4(&own).with_context(not_there)?;
                socket.set_multicast_ttl_v4(u32::from(TTL))?;
                socket.set_ttl_v4(u32::from(TTL))?;
                socket.set_multicast_loop_v4(false)?;
                socket.set_multicast_all_v4(false)?;
                socket.set_tos_v4(TOS_NETWORK_CONTROL)?;
                let index = InterfaceIndexOrAddress::Index(interface.index);
                if multicast {
                    socket.join_multicast_v4_n(&MULTICAST, &index).with_context(not_joined)?;
                }
            }
            IpAddr::V6(own) => {
                socket.set_multicast_if_v6(interface.index)?;
                socket.set_multicast_hops_v6(u32::from(TTL))?;
                socket.set_unicast_hops_v6(u32::from(TTL))?;
                socket.set_multicast_loop_v6(false)?;
                socket.set_multicast_all_v6(false)?;
                socket.set_tclass_v6(TOS_NETWORK_CONTROL)?;
                setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
                setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
                // The address would be another one as soon as a virtual one is on the interface.
                socket.bind(&SocketAddrV6::new(own, 0, 0, interface.index).into()).with_context(not_there)?;
                if multicast {
                    socket.join_multicast_v6(&MULTICAST_V6, interface.index).with_context(not_joined)?;
                }
            }
        }
        let readiness = UdpSocket::from_std(socket.try_clone()?.into())?;
        Ok(AdvertSocket { socket, readiness, own, index: interface.index, buffer: vec![0; MAX_PACKET] })
    }

    /// Resolves when something arrived since the last time it resolved.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.readiness.readable().await?;
        // This takes note of the arrival; all that waits is read directly, whatever the runtime knows.
        let noted: io::Result<()> =
            self.readiness.try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
        debug_assert!(noted.is_err());
        Ok(())
    }

    /// The next packet that is waiting, if any.
    ///
    /// # Errors
    ///
    /// What the kernel reports of the interface, for instance that it is down. Later ones may arrive.
    pub(super) fn try_receive(&mut self) -> io::Result<Option<Arrived>> {
        let received = if self.own.is_ipv4() {
            (&self.socket).read(&mut self.buffer).map(|length| parse_v4(&self.buffer[..length]))
        } else {
            self.receive_v6()
        };
        match received {
            Ok(arrived) => Ok(Some(arrived)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The kernel keeps the IPv6 header for itself and tells what was in it beside the message.
    fn receive_v6(&mut self) -> io::Result<Arrived> {
        let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<SockaddrIn6>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
        let source = message.address.map_or(Ipv6Addr::UNSPECIFIED, |address| address.ip());
        let (mut destination, mut hops) = (Ipv6Addr::UNSPECIFIED, 0);
        for part in message.cmsgs()? {
            match part {
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    destination = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                }
                ControlMessageOwned::Ipv6HopLimit(limit) => hops = u8::try_from(limit).unwrap_or(0),
                _ => {}
            }
        }
        let length = message.bytes;
        Ok(understand(&self.buffer[..length], source.into(), destination.into(), hops))
    }

    /// Sends an encoded advert to the group or to one peer.
    ///
    /// # Errors
    ///
    /// When the interface does not take it, for instance because it is down.
    pub(super) fn send(&self, message: &[u8], to: IpAddr) -> io::Result<()> {
        match (self.own, to) {
            (IpAddr::V4(own), IpAddr::V4(to)) if !to.is_multicast() => {
                let from = libc::in_pktinfo {
                    ipi_ifindex: libc::c_int::try_from(self.index).unwrap_or(0),
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(own).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let [a, b, c, d] = to.octets();
                let parts = [io::IoSlice::new(message)];
                let from = [ControlMessage::Ipv4PacketInfo(&from)];
                let to = SockaddrIn::new(a, b, c, d, 0);
                sendmsg(self.socket.as_raw_fd(), &parts, &from, MsgFlags::empty(), Some(&to))?;
            }
            (_, IpAddr::V4(to)) => {
                self.socket.send_to(message, &std::net::SocketAddrV4::new(to, 0).into())?;
            }
            (_, IpAddr::V6(to)) => {
                self.socket.send_to(message, &SocketAddrV6::new(to, 0, 0, self.index).into())?;
            }
        }
        Ok(())
    }
}

/// Takes the IP header off, which the kernel leaves on for raw sockets of IPv4.
fn parse_v4(packet: &[u8]) -> Arrived {
    let header = usize::from(packet.first().map_or(0, |first| first & 0xf)) * 4;
    let (true, Some(payload)) = (header >= 20, packet.get(header..)) else {
        let (source, advert) = (Ipv4Addr::UNSPECIFIED.into(), Err(Malformed::Short(packet.len())));
        return Arrived { source, destination: source, vrid: None, advert };
    };
    let address = |at: usize| IpAddr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    understand(payload, address(12), address(16), packet[8])
}

fn understand(message: &[u8], source: IpAddr, destination: IpAddr, ttl: u8) -> Arrived {
    let advert = Advert::decode(message, source, destination, ttl);
    Arrived { source, destination, vrid: message.get(1).copied(), advert }
}

#[cfg(test)]
mod tests {
    use vrrp::ChecksumForm;

    use super::*;

    #[test]
    fn the_ip_header_is_taken_off_and_believed() {
        let own = IpAddr::from([10, 0, 0, 1]);
        let interval = std::time::Duration::from_millis(100);
        let advert = Advert { vrid: 1, priority: 240, interval, addresses: vec![own] };
        // With four bytes of IP options.
        let mut packet = vec![0x46, 0, 0, 36, 0, 0, 0, 0, 255, PROTOCOL, 0, 0, 10, 0, 0, 1, 224, 0, 0, 18];
        packet.extend([0; 4]);
        packet.extend(advert.encode(ChecksumForm::PseudoHeader, own, MULTICAST.into()));
        let arrived = parse_v4(&packet);
        assert_eq!((arrived.source, arrived.destination), (own, MULTICAST.into()));
        assert_eq!((arrived.vrid, arrived.advert), (Some(1), Ok(advert)));
        packet[8] = 64;
        assert_eq!(parse_v4(&packet).advert, Err(Malformed::Ttl(64)));
        for length in 0..24 {
            assert!(parse_v4(&packet[..length]).advert.is_err(), "{length}");
        }
    }
}
