//! The first packets of the connections that are held back. When another balancer holds the address, they
//! are sent on to it, as if the network had been a little slow: it answers their clients at once, which
//! else would ask again after a second (RFC 6298, section 2).
//!
//! A packet that was also answered here does no harm when it is sent on: its client has such a connection
//! already and says so.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, socket};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::filter::{self, take_new};
use crate::vip::Interface;

/// As much as is read of a packet: more than the headers of a first packet have.
const MOST_BYTES: usize = 2048;

/// So many first packets are kept; further ones are left to their clients' patience.
const MOST: usize = 4096;

/// Where the first packets are gathered.
#[derive(Debug)]
pub(super) struct Held {
    /// Sees what arrives, whoever the address belongs to.
    arrivals: OwnedFd,
    /// Sends whole IP packets.
    sender: Socket,
    waiting: VecDeque<Vec<u8>>,
}

impl Held {
    /// Gathers from now on what comes over `interface` for `port` of one of `addresses`.
    ///
    /// # Errors
    ///
    /// Without the right to (CAP_NET_RAW), or when there is no such interface.
    pub(super) fn gather(interface: &str, addresses: &BTreeSet<Ipv4Addr>, port: u16) -> anyhow::Result<Self> {
        let interface = Interface::find(interface)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let arrivals = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthIp)?;
        let filter = filter::checked(take_new(addresses, port))?;
        socket2::SockRef::from(&arrivals).attach_filter(&filter)?;
        bind(arrivals.as_raw_fd(), &interface.link)?;
        // RAW as the protocol means that the IP header is ours to write.
        let sender = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(nix::libc::IPPROTO_RAW)))?;
        sender.set_nonblocking(true)?;
        Ok(Held { arrivals, sender, waiting: VecDeque::new() })
    }

    /// Takes what has arrived.
    pub(super) fn take(&mut self) {
        let mut packet = [0; MOST_BYTES];
        while let Ok(length) = recv(self.arrivals.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            if self.waiting.len() < MOST
                && let Some(first) = first_packet(&packet[..length])
            {
                self.waiting.push_back(first);
            }
        }
    }

    /// Sends on what was taken; returns how many connections that were.
    pub(super) fn send_on(&mut self) -> u64 {
        let mut sent = 0;
        while let Some(packet) = self.waiting.pop_front() {
            let to = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
            match self.sender.send_to(&packet, &SockAddr::from(std::net::SocketAddrV4::new(to, 0))) {
                Ok(_) => sent += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waiting.push_front(packet);
                    break;
                }
                // As if it had been lost on the way.
                Err(error) => tracing::debug!(%to, %error, "the first packet of a connection is not sent on"),
            }
        }
        sent
    }
}

/// `packet` as it is to be sent on, if it is the whole of a TCP packet in IPv4. Its checksum is computed
/// anew: where both ends are on one computer, the network leaves that to a card that is not there.
fn first_packet(packet: &[u8]) -> Option<Vec<u8>> {
    let header = usize::from(packet.first()? & 0xf) * 4;
    let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    if header < 20 || packet[0] >> 4 != 4 || length < header + 20 || packet.len() < length {
        return None;
    }
    let mut packet = packet[..length].to_vec();
    packet[header + 16..header + 18].fill(0);
    let tcp = &packet[header..];
    let pseudo_header = [&packet[12..20], &[0, 6], &u16::try_from(tcp.len()).ok()?.to_be_bytes()].concat();
    let sum = words(&pseudo_header) + words(tcp);
    let checksum = !fold(sum);
    packet[header + 16..header + 18].copy_from_slice(&checksum.to_be_bytes());
    Some(packet)
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

    /// A SYN from 192.0.2.7:1000 to 192.0.2.1:80 with an option of four bytes.
    fn syn() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 7, 192, 0, 2, 1];
        packet.extend([3, 232, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0x12, 0x34, 0, 0]);
        packet.extend([2, 4, 5, 0xb4]);
        packet
    }

    #[test]
    fn the_checksum_is_right_and_all_else_is_as_it_was() {
        let sent = first_packet(&syn()).expect("a packet");
        let mut sum = words(&[192, 0, 2, 7, 192, 0, 2, 1, 0, 6, 0, 24]);
        sum += words(&sent[20..]);
        assert_eq!(fold(sum), 0xffff);
        assert_eq!((&sent[..36], &sent[38..]), (&syn()[..36], &syn()[38..]));
    }

    #[test]
    fn what_is_no_whole_packet_is_left_alone() {
        for length in 0..44 {
            assert_eq!(first_packet(&syn()[..length]), None, "{length}");
        }
        // A frame may be longer than its packet.
        let padded = [syn(), vec![0; 6]].concat();
        assert_eq!(first_packet(&padded).map(|packet| packet.len()), Some(44));
        let mut version = syn();
        version[0] = 0x65;
        assert_eq!(first_packet(&version), None);
    }
}
