//! Speaks for a dead balancer: an advert of priority 0 from its address says that it let go of its
//! VIPs (RFC 9568, section 5.2.4), and the standby takes over without waiting for silence.
//!
//! It counts only if that balancer was the holder. Were this manager wrong, the living holder would
//! advertise on and nothing would change.
//!
//! An IPv6 balancer speaks from the link-local address that its interface makes of its MAC address. Where
//! it is configured to have another one (stable privacy addresses, RFC 7217), this advert is from nobody
//! whom the others know, and they wait for silence.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};
use vrrp::Advert;
use vrrp::identity::advertised;
use vrrp::packet::{PRIORITY_RELEASE, PROTOCOL, TTL, multicast};

use crate::config::{Config, Vip, link_local_of};

/// The header of an IPv4 packet without options, in bytes (RFC 791, section 3.1).
const IP_HEADER: u16 = 20;

/// The protocol of a raw socket whose sender writes the IP header itself (raw(7), `IPPROTO_RAW`).
const HEADER_IS_OURS: i32 = 255;

/// Network control, as routing protocols use it.
const NETWORK_CONTROL: u8 = 0xc0;

/// Sends adverts for each VIP from `lb`, out of this host's bridge: to the group, or to each unicast peer.
/// A VIP that fails does not keep the others from being said.
///
/// # Errors
///
/// Where raw sockets are not permitted, or a packet cannot be sent: the last of these errors.
pub fn resign(config: &Config, lb: IpAddr) -> io::Result<()> {
    let (mut v4, mut v6) = (None, None);
    let mut result = Ok(());
    for vip in &config.vips {
        let own = if vip.address.is_ipv4() { lb } else { link_local_of(lb).into() };
        let said = match own {
            IpAddr::V4(_) => open(&mut v4, || open_v4(config)).and_then(|socket| say(socket, own, vip)),
            IpAddr::V6(_) => open(&mut v6, || open_v6(config)).and_then(|socket| say(socket, own, vip)),
        };
        if let Err(error) = said {
            result = Err(io::Error::new(error.kind(), format!("{}: {error}", vip.address)));
        }
    }
    result
}

/// A socket that writes its own IP headers, and the interface that link-local addresses are behind.
type Sender = (Socket, u32);

fn open(socket: &mut Option<Sender>, make: impl FnOnce() -> io::Result<Sender>) -> io::Result<&Sender> {
    let made = match socket.take() {
        Some(made) => made,
        None => make()?,
    };
    Ok(socket.insert(made))
}

fn open_v4(config: &Config) -> io::Result<Sender> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(HEADER_IS_OURS)))?;
    if let IpAddr::V4(address) = &config.address {
        socket.set_multicast_if_v4(address)?;
    }
    Ok((socket, 0))
}

fn open_v6(config: &Config) -> io::Result<Sender> {
    let index = if_nametoindex(config.bridge.as_str())?;
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(HEADER_IS_OURS)))?;
    socket.set_multicast_if_v6(index)?;
    Ok((socket, index))
}

fn say((socket, interface): &Sender, own: IpAddr, vip: &Vip) -> io::Result<()> {
    let group = [multicast(own)];
    let targets = if vip.unicast_peers.is_empty() { &group[..] } else { &vip.unicast_peers[..] };
    for target in targets {
        let packet = packet(own, *target, vip);
        match *target {
            IpAddr::V4(target) => socket.send_to(&packet, &SocketAddrV4::new(target, 0).into())?,
            IpAddr::V6(target) => {
                socket.send_to(&packet, &SocketAddrV6::new(target, 0, 0, *interface).into())?
            }
        };
    }
    Ok(())
}

/// The whole packet; empty when `source` and `target` are not of one family, which the configuration
/// excludes.
fn packet(source: IpAddr, target: IpAddr, vip: &Vip) -> Vec<u8> {
    let advert = Advert {
        vrid: vip.vrid,
        priority: PRIORITY_RELEASE,
        interval: vip.advert_interval,
        addresses: advertised(vip.vrid, vip.address),
    };
    let message = advert.encode(vip.checksum, source, target);
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => packet_v4(source, target, &message),
        (IpAddr::V6(source), IpAddr::V6(target)) => packet_v6(source, target, &message),
        _ => Vec::new(),
    }
}

/// An IPv4 packet around `message`. The kernel fills in the checksum and, being 0, the identification.
fn packet_v4(source: Ipv4Addr, target: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX).saturating_add(IP_HEADER);
    let mut packet = vec![0x45, NETWORK_CONTROL];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, TTL, PROTOCOL, 0, 0]);
    packet.extend(source.octets());
    packet.extend(target.octets());
    packet.extend(message);
    packet
}

/// An IPv6 packet around `message` (RFC 8200, section 3).
fn packet_v6(source: Ipv6Addr, target: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x60 | NETWORK_CONTROL >> 4, NETWORK_CONTROL << 4, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([PROTOCOL, TTL]);
    packet.extend(source.octets());
    packet.extend(target.octets());
    packet.extend(message);
    packet
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vrrp::ChecksumForm;

    use super::*;

    fn vip(address: IpAddr, checksum: ChecksumForm) -> Vip {
        Vip {
            address,
            vrid: 7,
            preference: crate::config::Preference::Spread,
            advert_interval: Duration::from_millis(100),
            preempt: None,
            checksum,
            unicast_peers: Vec::new(),
            virtual_mac: false,
        }
    }

    #[test]
    fn the_packet_carries_an_advert_from_the_dead_balancer() {
        let lb = IpAddr::from([10, 0, 0, 10]);
        for (target, form) in [
            (multicast(lb), ChecksumForm::PseudoHeader),
            (IpAddr::from([10, 0, 0, 20]), ChecksumForm::MessageOnly),
        ] {
            let vip = vip([10, 0, 0, 120].into(), form);
            let packet = packet(lb, target, &vip);
            assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
            assert_eq!((packet[8], packet[9]), (255, 112));
            assert_eq!(packet[12..16], [10, 0, 0, 10]);
            let advert = Advert::decode(&packet[20..], lb, target, packet[8]).expect("an advert");
            assert_eq!((advert.vrid, advert.priority, advert.addresses), (7, 0, vec![vip.address]));
        }
    }

    #[test]
    fn for_an_ipv6_vip_it_is_from_the_link_local_address() {
        let lb = IpAddr::from(link_local_of([10, 0, 0, 10].into()));
        let vip = vip("fd00::120".parse().expect("an address"), ChecksumForm::default());
        let packet = packet(lb, multicast(lb), &vip);
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len() - 40);
        let advert = Advert::decode(&packet[40..], lb, multicast(lb), packet[7]).expect("an advert");
        assert_eq!((advert.priority, advert.addresses), (0, advertised(7, vip.address)));
    }
}
