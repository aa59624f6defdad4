//! The first packets of the connections that are held back. When another balancer holds the address, they
//! are sent on to it, as if the network had been a little slow: it answers their clients at once, which
//! else would ask again after a second (RFC 6298, section 2).
//!
//! A packet that was also answered here does no harm when it is sent on: its client has such a connection
//! already and says so.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::filter::{self, take_new_v4, take_new_v6};
use super::first_packet::FirstPacket;

/// As much as is read of a packet: more than the headers of a first packet have.
const MOST_BYTES: usize = 2048;

/// So many first packets are kept; further ones are left to their clients' patience.
const MOST: usize = 4096;

/// Where the first packets are gathered.
#[derive(Debug)]
pub(super) struct Held {
    /// One for each version of IP that an address is of.
    ways: Vec<Way>,
    waiting: VecDeque<FirstPacket>,
}

#[derive(Debug)]
struct Way {
    is_v6: bool,
    /// Sees what arrives on any interface, whoever the address belongs to.
    arrivals: OwnedFd,
    /// Sends whole IP packets.
    sender: Socket,
}

impl Held {
    /// Gathers from now on what comes for one of `ports` of one of `addresses`.
    ///
    /// # Errors
    ///
    /// Without the right to (CAP_NET_RAW).
    pub(super) fn gather(addresses: &BTreeSet<IpAddr>, ports: &BTreeSet<u16>) -> io::Result<Self> {
        let mut ways = Vec::new();
        if addresses.iter().any(IpAddr::is_ipv4) {
            ways.push(Way::open(false, take_new_v4(addresses, ports))?);
        }
        if addresses.iter().any(IpAddr::is_ipv6) {
            ways.push(Way::open(true, take_new_v6(addresses, ports))?);
        }
        Ok(Held { ways, waiting: VecDeque::new() })
    }

    /// Takes what has arrived.
    pub(super) fn take(&mut self) {
        let mut packet = [0; MOST_BYTES];
        for way in &self.ways {
            while let Ok(length) = recv(way.arrivals.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                if self.waiting.len() < MOST
                    && let Some(first) = FirstPacket::read(&packet[..length])
                {
                    self.waiting.push_back(first);
                }
            }
        }
    }

    /// Sends on what was taken; returns how many connections that were.
    pub(super) fn send_on(&mut self) -> u64 {
        let mut sent = 0;
        while let Some(packet) = self.waiting.pop_front() {
            let Some(way) = self.ways.iter().find(|way| way.is_v6 == packet.to.is_ipv6()) else { continue };
            match way.sender.send_to(&packet.bytes, &SocketAddr::new(packet.to, 0).into()) {
                Ok(_) => sent += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waiting.push_front(packet);
                    break;
                }
                // As if it had been lost on the way.
                Err(error) => {
                    tracing::debug!(to = %packet.to, %error, "the first packet of a connection is not sent on");
                }
            }
        }
        sent
    }
}

impl Way {
    fn open(is_v6: bool, filter: Vec<SockFilter>) -> io::Result<Self> {
        let (protocol, domain) =
            if is_v6 { (SockProtocol::EthIpv6, Domain::IPV6) } else { (SockProtocol::EthIp, Domain::IPV4) };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let arrivals = socket(AddressFamily::Packet, SockType::Datagram, flags, protocol)?;
        socket2::SockRef::from(&arrivals).attach_filter(&filter::checked(filter)?)?;
        // What came before there was a filter is anything.
        let mut scratch = [0; 1];
        while recv(arrivals.as_raw_fd(), &mut scratch, MsgFlags::empty()).is_ok() {}
        // RAW as the protocol means that the IP header is ours to write.
        let sender = Socket::new(domain, Type::RAW, Some(Protocol::from(nix::libc::IPPROTO_RAW)))?;
        sender.set_nonblocking(true)?;
        Ok(Way { is_v6, arrivals, sender })
    }
}
