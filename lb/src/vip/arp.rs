//! Gratuitous ARP (RFC 5227, section 3): tells every neighbour, and every bridge on the way, that an
//! address is now here.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::Context;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, send, socket};

use super::interface::Interface;

const BROADCAST: [u8; 6] = [0xff; 6];
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV4: u16 = 0x0800;
const HARDWARE_ETHERNET: u16 = 1;

/// Some neighbours learn from requests only and some from replies only, so both are sent.
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// Announces addresses on one interface.
#[derive(Debug)]
pub(crate) struct Announcer {
    socket: OwnedFd,
    mac: [u8; 6],
}

impl Announcer {
    /// Opens a packet socket on `interface` that receives nothing.
    ///
    /// # Errors
    ///
    /// Without the right to (CAP_NET_RAW).
    pub(crate) fn open(interface: &Interface) -> anyhow::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)
            .context("no packet socket for gratuitous ARP (it needs CAP_NET_RAW)")?;
        bind(socket.as_raw_fd(), &interface.link).context("the packet socket cannot be bound")?;
        Ok(Announcer { socket, mac: interface.mac })
    }

    /// Tells the segment that `address` is at this interface.
    ///
    /// # Errors
    ///
    /// When the interface does not take the frames.
    pub(crate) fn announce(&self, address: Ipv4Addr) -> io::Result<()> {
        for operation in [REQUEST, REPLY] {
            send(self.socket.as_raw_fd(), &frame(operation, self.mac, address), MsgFlags::empty())?;
        }
        Ok(())
    }
}

fn frame(operation: u16, mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(BROADCAST);
    frame.extend(mac);
    frame.extend(ETHERTYPE_ARP.to_be_bytes());
    frame.extend(HARDWARE_ETHERNET.to_be_bytes());
    frame.extend(ETHERTYPE_IPV4.to_be_bytes());
    frame.extend([6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend(BROADCAST);
    frame.extend(address.octets());
    frame
}
