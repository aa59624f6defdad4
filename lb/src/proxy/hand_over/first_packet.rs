//! The first packet of a TCP connection, as it is to be sent on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The protocol number of TCP.
const TCP: u8 = 6;

/// Where the checksum is in a TCP header.
const CHECKSUM: usize = 16;

/// A TCP header without options, in bytes.
const TCP_HEADER: usize = 20;

/// A whole IP packet with a TCP header in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirstPacket {
    pub(crate) bytes: Vec<u8>,
    /// Where it goes.
    pub(crate) to: IpAddr,
}

impl FirstPacket {
    /// `packet` as it is to be sent on, if it is whole. Its checksum is computed anew: where both ends are on
    /// one computer, the network leaves that to a card that is not there.
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let half =
            |at: usize| Some(usize::from(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?])));
        let (header, length, addresses) = match packet.first()? >> 4 {
            4 => (usize::from(packet[0] & 0xf) * 4, half(2)?, 12..20),
            6 => (40, 40 + half(4)?, 8..40),
            _ => return None,
        };
        if header < addresses.end || length < header + TCP_HEADER || packet.len() < length {
            return None;
        }
        let mut bytes = packet[..length].to_vec();
        let destination = &packet[addresses.start + addresses.len() / 2..addresses.end];
        let to = match destination.len() {
            4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(destination).ok()?)),
            _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(destination).ok()?)),
        };
        let at = header + CHECKSUM;
        bytes[at..at + 2].fill(0);
        let tcp = &bytes[header..];
        let tcp_length = u32::try_from(tcp.len()).ok()?;
        // The pseudo-headers of both versions (RFC 9293, section 3.1) have the same sum.
        let sum = words(&packet[addresses]) + u32::from(TCP) + tcp_length + words(tcp);
        let checksum = !fold(sum);
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        Some(FirstPacket { bytes, to })
    }
}

/// The sum of all words of two bytes (RFC 1071).
fn words(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TCP header with the SYN flag, an option of four bytes, and a wrong checksum.
    const SYN: [u8; 24] =
        [3, 232, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0x12, 0x34, 0, 0, 2, 4, 5, 0xb4];

    fn v4() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 44, 0, 0, 0, 0, 64, TCP, 0, 0, 192, 0, 2, 7, 192, 0, 2, 1];
        packet.extend(SYN);
        packet
    }

    fn v6() -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 24, TCP, 64];
        for last in [7, 1] {
            packet.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets());
        }
        packet.extend(SYN);
        packet
    }

    #[test]
    fn the_checksum_is_right_and_all_else_is_as_it_was() {
        for (packet, header, addresses, to) in [
            (v4(), 20, 12..20, IpAddr::from([192, 0, 2, 1])),
            (v6(), 40, 8..40, IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])),
        ] {
            let sent = FirstPacket::read(&packet).expect("a packet");
            assert_eq!(sent.to, to);
            let sum = words(&packet[addresses]) + 6 + 24 + words(&sent.bytes[header..]);
            assert_eq!(fold(sum), 0xffff);
            let at = header + CHECKSUM;
            assert_eq!((&sent.bytes[..at], &sent.bytes[at + 2..]), (&packet[..at], &packet[at + 2..]));
        }
    }

    #[test]
    fn what_is_no_whole_packet_is_left_alone() {
        for packet in [v4(), v6()] {
            for length in 0..packet.len() {
                assert_eq!(FirstPacket::read(&packet[..length]), None, "{length}");
            }
            // A frame may be longer than its packet.
            let padded = [packet.clone(), vec![0; 6]].concat();
            assert_eq!(FirstPacket::read(&padded).map(|sent| sent.bytes.len()), Some(packet.len()));
            let mut version = packet;
            version[0] = 0x75;
            assert_eq!(FirstPacket::read(&version), None);
        }
    }
}
