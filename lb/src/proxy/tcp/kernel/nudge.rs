//! Has clients notice that a connection of theirs is over, although nobody knows the numbers that a reset has to have.
//!
//! ```text
//!   we ──an acknowledgement of nothing──▶ client      beyond its window, so it says where it is (RFC 9293, section 3.10.7.4)
//!   we ◀──an acknowledgement─────────────            its connection is known to nobody here …
//!   we ──a reset, at what it acknowledged─▶           … so the kernel answers with a reset that it believes
//! ```
//!
//! Who is about to say something anyway has the same reset for it; a client that only listens would have waited for ever.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::super::super::hand_over::first_packet::FirstPacket;

/// The protocol number of TCP.
const TCP: u8 = 6;

/// The hops that a packet may take.
const HOPS: u8 = 64;

/// Tells the clients of these connections, each a client and where it connected to. What is not sent is lost, as on any
/// way.
///
/// # Errors
///
/// Without the right to (CAP_NET_RAW).
pub(super) fn clients(connections: impl Iterator<Item = (SocketAddr, SocketAddr)>) -> io::Result<()> {
    let (mut v4, mut v6) = (None, None);
    for (client, local) in connections {
        let (socket, domain) =
            if client.is_ipv4() { (&mut v4, Domain::IPV4) } else { (&mut v6, Domain::IPV6) };
        if socket.is_none() {
            // RAW as the protocol means that the IP header is ours to write.
            *socket = Some(Socket::new(domain, Type::RAW, Some(Protocol::from(nix::libc::IPPROTO_RAW)))?);
        }
        let packet = FirstPacket::read(&acknowledgement(local, client));
        if let (Some(socket), Some(packet)) = (socket, packet)
            && let Err(error) = socket.send_to(&packet.bytes, &SocketAddr::new(packet.to, 0).into())
        {
            tracing::debug!(%client, %error, "a client is not told that its connection is over");
        }
    }
    Ok(())
}

/// A packet of TCP from one to the other that acknowledges nothing and says nothing, with no checksums.
fn acknowledgement(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(20);
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    // Sequence and acknowledgement 0; five words; ACK; no window, checksum and urgent pointer.
    tcp.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
    let mut packet = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            // The kernel sums what of the header is to be summed.
            let mut header = vec![0x45, 0, 0, 40, 0, 0, 0, 0, HOPS, TCP, 0, 0];
            header.extend(from.octets());
            header.extend(to.octets());
            header
        }
        (from, to) => {
            let v6 = |address| match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let mut header = vec![0x60, 0, 0, 0, 0, 20, TCP, HOPS];
            header.extend(v6(from));
            header.extend(v6(to));
            header
        }
    };
    packet.extend(tcp);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_whole_packet_of_either_family() {
        for (from, to) in [("10.0.0.1:80", "10.0.0.2:4000"), ("[fd00::1]:80", "[fd00::2]:4000")] {
            let (from, to): (SocketAddr, SocketAddr) =
                (from.parse().expect("valid"), to.parse().expect("valid"));
            let packet = FirstPacket::read(&acknowledgement(from, to)).expect("whole");
            assert_eq!(packet.to, to.ip());
            let tcp = &packet.bytes[packet.bytes.len() - 20..];
            assert_eq!((&tcp[..4], tcp[13]), (&[0, 80, 15, 160][..], 0x10));
            assert_ne!(&tcp[16..18], [0, 0], "a checksum");
        }
    }
}
