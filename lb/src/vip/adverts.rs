//! The raw socket that adverts go through: IP protocol 112, multicast to the segment, TTL 255
//! (RFC 9568, section 5.1.1).

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use vrrp::packet::{Advert, ChecksumForm, MULTICAST, Malformed, PROTOCOL, TTL};

use super::interface::Interface;

/// The longest IP packet.
const MAX_PACKET: usize = 1 << 16;

/// Type of service: network control, as routing protocols use it.
const TOS_NETWORK_CONTROL: u32 = 0xc0;

/// Sends and receives adverts on one interface.
#[derive(Debug)]
pub(crate) struct AdvertSocket {
    socket: Socket,
    /// The same socket, watched by the runtime, which knows only the usual kinds by name.
    readiness: UdpSocket,
    own: Ipv4Addr,
    buffer: Vec<u8>,
}

/// One packet that arrived: who sent it and what it says.
pub(crate) type Arrived = (Ipv4Addr, Result<Advert, Malformed>);

impl AdvertSocket {
    /// Joins the group on `interface`, where `own` is the address to speak from. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// Without the right to (CAP_NET_RAW), or when `own` is not an address of this machine.
    pub(crate) fn open(interface: &Interface, own: Ipv4Addr) -> anyhow::Result<Self> {
        let protocol = Protocol::from(i32::from(PROTOCOL));
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))
            .context("no raw socket for VRRP (it needs CAP_NET_RAW)")?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(interface.name.as_bytes()))?;
        socket.set_multicast_if_v4(&own).with_context(|| {
            format!("{own} is not an address of this machine: correct `address` in the settings or add it")
        })?;
        socket.set_multicast_ttl_v4(u32::from(TTL))?;
        socket.set_multicast_loop_v4(false)?;
        socket.set_tos_v4(TOS_NETWORK_CONTROL)?;
        let index = InterfaceIndexOrAddress::Index(interface.index);
        socket
            .join_multicast_v4_n(&MULTICAST, &index)
            .with_context(|| format!("{MULTICAST} cannot be joined on {}", interface.name))?;
        let readiness = UdpSocket::from_std(socket.try_clone()?.into())?;
        Ok(AdvertSocket { socket, readiness, own, buffer: vec![0; MAX_PACKET] })
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
    pub(crate) fn try_receive(&mut self) -> io::Result<Option<Arrived>> {
        match (&self.socket).read(&mut self.buffer) {
            Ok(length) => Ok(Some(parse(&self.buffer[..length]))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends `advert` to the group.
    ///
    /// # Errors
    ///
    /// When the interface does not take it, for instance because it is down.
    pub(crate) fn send(&self, advert: &Advert) -> io::Result<()> {
        let bytes = advert.encode(ChecksumForm::default(), self.own.into(), MULTICAST.into());
        self.socket.send_to(&bytes, &SocketAddrV4::new(MULTICAST, 0).into())?;
        Ok(())
    }
}

/// Takes the IP header off, which the kernel leaves on for raw sockets.
fn parse(packet: &[u8]) -> Arrived {
    let header = usize::from(packet.first().map_or(0, |first| first & 0xf)) * 4;
    let (true, Some(payload)) = (header >= 20, packet.get(header..)) else {
        return (Ipv4Addr::UNSPECIFIED, Err(Malformed::Short(packet.len())));
    };
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let (source, destination) = (address(12), address(16));
    (source, Advert::decode(payload, source.into(), destination.into(), packet[8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ip_header_is_taken_off_and_believed() {
        let own = Ipv4Addr::new(10, 0, 0, 1);
        let interval = std::time::Duration::from_millis(100);
        let advert = Advert { vrid: 1, priority: 240, interval, addresses: vec![own.into()] };
        // With four bytes of IP options.
        let mut packet = vec![0x46, 0, 0, 36, 0, 0, 0, 0, 255, PROTOCOL, 0, 0, 10, 0, 0, 1, 224, 0, 0, 18];
        packet.extend([0; 4]);
        packet.extend(advert.encode(ChecksumForm::PseudoHeader, own.into(), MULTICAST.into()));
        assert_eq!(parse(&packet), (own, Ok(advert)));
        packet[8] = 64;
        assert_eq!(parse(&packet), (own, Err(Malformed::Ttl(64))));
        for length in 0..24 {
            assert!(parse(&packet[..length]).1.is_err(), "{length}");
        }
    }
}
