//! The packet socket: tells every neighbour, and every bridge on the way, that an address is now here, and
//! sends what has to come from a virtual MAC address.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::Context;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, send, socket};

use super::frames::{self, ArpOperation, Mac};
use super::interface::Interface;

/// Sends frames out of one interface.
#[derive(Debug)]
pub(crate) struct Announcer {
    socket: OwnedFd,
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
            .context("no packet socket to announce addresses with (it needs CAP_NET_RAW)")?;
        bind(socket.as_raw_fd(), &interface.link).context("the packet socket cannot be bound")?;
        Ok(Announcer { socket })
    }

    /// Tells the segment that `address` is at `mac`, behind this interface.
    ///
    /// # Errors
    ///
    /// When the interface does not take the frames.
    pub(super) fn announce(&self, address: IpAddr, mac: Mac) -> io::Result<()> {
        match address {
            IpAddr::V4(address) => {
                self.send(&frames::gratuitous_arp(ArpOperation::Request, mac, address))?;
                self.send(&frames::gratuitous_arp(ArpOperation::Reply, mac, address))
            }
            IpAddr::V6(address) => self.send(&frames::neighbour_advertisement(mac, address)),
        }
    }

    /// Sends one frame.
    ///
    /// # Errors
    ///
    /// When the interface does not take it.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }
}
