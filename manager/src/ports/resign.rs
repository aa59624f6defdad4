//! Speaks for a dead balancer: an advert of priority 0 from its address says that it let go of its
//! VIPs (RFC 9568, section 5.2.4), and the standby takes over without waiting for silence.
//!
//! It counts only if that balancer was the holder. Were this manager wrong, the living holder would
//! advertise on and nothing would change.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use vrrp::packet::{MULTICAST, PRIORITY_RELEASE, PROTOCOL, TTL};
use vrrp::{Advert, ChecksumForm};

use crate::config::Vip;

/// The header of an IPv4 packet without options, in bytes (RFC 791, section 3.1).
const IP_HEADER: u16 = 20;

/// The protocol of a raw socket whose sender writes the IP header itself (raw(7), `IPPROTO_RAW`).
const HEADER_IS_OURS: i32 = 255;

/// Sends one advert for each of `vips` from `lb`, out of the interface that has `local`.
///
/// # Errors
///
/// Where raw sockets are not permitted, or the packet cannot be sent.
pub fn resign(local: Ipv4Addr, lb: Ipv4Addr, vips: &[Vip]) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(HEADER_IS_OURS)))?;
    socket.set_multicast_if_v4(&local)?;
    let target = SockAddr::from(SocketAddrV4::new(MULTICAST, 0));
    for vip in vips {
        let advert = Advert {
            vrid: vip.vrid,
            priority: PRIORITY_RELEASE,
            interval: vip.advert_interval,
            addresses: vec![vip.address.into()],
        };
        let message = advert.encode(ChecksumForm::default(), lb.into(), MULTICAST.into());
        socket.send_to(&packet(lb, MULTICAST, &message), &target)?;
    }
    Ok(())
}

/// An IPv4 packet around `message`. The kernel fills in the checksum and, being 0, the identification.
fn packet(source: Ipv4Addr, destination: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX).saturating_add(IP_HEADER);
    let mut packet = vec![0x45, 0xc0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, TTL, PROTOCOL, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(message);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_carries_an_advert_from_the_dead_balancer() {
        let lb = Ipv4Addr::new(10, 0, 0, 10);
        let advert = Advert {
            vrid: 7,
            priority: PRIORITY_RELEASE,
            interval: std::time::Duration::from_millis(100),
            addresses: vec![Ipv4Addr::new(10, 0, 0, 120).into()],
        };
        let packet =
            packet(lb, MULTICAST, &advert.encode(ChecksumForm::default(), lb.into(), MULTICAST.into()));
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
        assert_eq!((packet[8], packet[9]), (255, 112));
        assert_eq!(packet[12..16], lb.octets());
        assert_eq!(Advert::decode(&packet[20..], lb.into(), MULTICAST.into(), packet[8]), Ok(advert));
    }
}
