//! The Ethernet frames that are made by hand, because they say what the kernel would not say by itself:
//! where an address is now, and adverts from a virtual MAC address. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vrrp::packet::{MULTICAST, MULTICAST_V6, PROTOCOL, TTL};

pub(super) type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const HARDWARE_ETHERNET: u16 = 1;

/// All nodes on the segment (RFC 4291, section 2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// The neighbour is to replace what it has remembered (RFC 4861, section 4.4).
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;

/// Network control, as routing protocols use it: the type of service or traffic class of adverts.
const NETWORK_CONTROL: u8 = 0xc0;

/// Some neighbours learn from requests only and some from replies only, so both are sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum ArpOperation {
    Request = 1,
    Reply = 2,
}

/// Gratuitous ARP (RFC 5227, section 3): `address` is at `mac`.
pub(super) fn gratuitous_arp(operation: ArpOperation, mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ETHERTYPE_ARP);
    frame.extend(HARDWARE_ETHERNET.to_be_bytes());
    frame.extend(ETHERTYPE_IPV4.to_be_bytes());
    frame.extend([6, 4]);
    frame.extend((operation as u16).to_be_bytes());
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend(BROADCAST);
    frame.extend(address.octets());
    frame
}

/// An unsolicited neighbour advertisement (RFC 4861, section 7.2.6): `address` is at `mac`.
pub(super) fn neighbour_advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend(address.octets());
    // Its length in units of 8 bytes.
    message.extend([TARGET_LINK_LAYER_ADDRESS, 1]);
    message.extend(mac);
    let checksum = icmpv6_checksum(address, ALL_NODES, &message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = ethernet(group_mac_v6(ALL_NODES), mac, ETHERTYPE_IPV6);
    frame.extend(ipv6_header(0, ICMPV6, address, ALL_NODES, &message));
    frame.extend(message);
    frame
}

/// A VRRP message from `own` to the group, sent from `mac` (RFC 9568, section 7.2): so every bridge on
/// the way knows where the virtual MAC address is. Nothing when `own` is of another family than the
/// group that `message` is for.
pub(super) fn advert(mac: Mac, own: IpAddr, message: &[u8]) -> Vec<u8> {
    match own {
        IpAddr::V4(own) => {
            let [_, b, c, d] = MULTICAST.octets();
            // RFC 1112, section 6.4.
            let mut frame = ethernet([0x01, 0x00, 0x5e, b & 0x7f, c, d], mac, ETHERTYPE_IPV4);
            frame.extend(ipv4_header(own, MULTICAST, message));
            frame.extend(message);
            frame
        }
        IpAddr::V6(own) => {
            let mut frame = ethernet(group_mac_v6(MULTICAST_V6), mac, ETHERTYPE_IPV6);
            frame.extend(ipv6_header(NETWORK_CONTROL, PROTOCOL, own, MULTICAST_V6, message));
            frame.extend(message);
            frame
        }
    }
}

fn ethernet(to: Mac, from: Mac, ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128);
    frame.extend(to);
    frame.extend(from);
    frame.extend(ethertype.to_be_bytes());
    frame
}

/// RFC 2464, section 7.
fn group_mac_v6(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// RFC 791, section 3.1.
fn ipv4_header(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    let mut header = vec![0x45, NETWORK_CONTROL];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0, 0, TTL, PROTOCOL, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let checksum = !folded(words(&header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// RFC 8200, section 3. The hop limit is that of VRRP, which is that of neighbour discovery too.
fn ipv6_header(class: u8, next: u8, from: Ipv6Addr, to: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut header = vec![0x60 | class >> 4, class << 4, 0, 0];
    header.extend(length.to_be_bytes());
    header.extend([next, TTL]);
    header.extend(from.octets());
    header.extend(to.octets());
    header
}

/// RFC 4443, section 2.3.
fn icmpv6_checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let pseudo = words(&from.octets()) + words(&to.octets()) + length + u32::from(ICMPV6);
    !folded(pseudo + words(message))
}

/// The sum of the 16-bit words of something even and short.
fn words(bytes: &[u8]) -> u32 {
    bytes.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum()
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [0, 0, 0x5e, 0, 1, 50];

    #[test]
    fn the_ipv4_header_is_that_of_the_textbook() {
        let frame = advert(MAC, IpAddr::from([10, 77, 0, 10]), &[0x31, 50, 240, 0, 0, 10, 0, 0]);
        assert_eq!(frame[..14], [1, 0, 0x5e, 0, 0, 18, 0, 0, 0x5e, 0, 1, 50, 8, 0]);
        assert_eq!(frame[14..24], [0x45, 0xc0, 0, 28, 0, 0, 0, 0, 255, 112]);
        assert_eq!(folded(words(&frame[14..34])), 0xffff, "its checksum is right");
        assert_eq!(frame[26..34], [10, 77, 0, 10, 224, 0, 0, 18]);
        assert_eq!(frame[34..], [0x31, 50, 240, 0, 0, 10, 0, 0]);
    }

    #[test]
    fn an_ipv6_advert_goes_to_its_group() {
        let own: Ipv6Addr = "fe80::10".parse().expect("an address");
        let frame = advert(MAC, own.into(), &[0x31, 50]);
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 0x12]);
        assert_eq!(frame[12..22], [0x86, 0xdd, 0x6c, 0, 0, 0, 0, 2, 112, 255]);
        assert_eq!(frame[22..38], own.octets());
        assert_eq!(frame[54..], [0x31, 50]);
    }

    #[test]
    fn a_neighbour_advertisement_overrides() {
        let address: Ipv6Addr = "fd00::120".parse().expect("an address");
        let frame = neighbour_advertisement(MAC, address);
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(frame[12..22], [0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(frame[22..38], address.octets(), "from the address itself");
        let message = &frame[54..];
        assert_eq!((message[0], message[4]), (136, 0x20));
        assert_eq!(message[8..24], address.octets());
        assert_eq!(message[24..], [2, 1, 0, 0, 0x5e, 0, 1, 50]);
        let pseudo = words(&address.octets()) + words(&ALL_NODES.octets()) + 32 + 58;
        assert_eq!(folded(pseudo + words(message)), 0xffff, "its checksum is right");
    }

    #[test]
    fn gratuitous_arp_names_the_address_twice() {
        let frame = gratuitous_arp(ArpOperation::Reply, MAC, Ipv4Addr::new(10, 77, 0, 120));
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        assert_eq!(frame[28..32], frame[38..42]);
    }
}
