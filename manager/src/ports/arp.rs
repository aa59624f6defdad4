//! Asks the segment whether somebody has an address, by ARP probes (RFC 5227, section 2.1): requests
//! without a sender address, which put nothing into anybody's table. An answer, an announcement and
//! another's probe for the same address all mean that it is not free.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{LinkAddr, MsgFlags, bind, recvfrom, send};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

/// So many probes are sent …
const PROBES: u32 = 3;

/// … with such pauses; an answer to the last one has as long. RFC 5227 takes seconds, for networks that
/// may lose frames and for devices that sleep; a virtual machine should not wait that long for its first
/// start, and machines and hosts of one segment answer within a millisecond.
const PAUSE: Duration = Duration::from_millis(100);

const BROADCAST: [u8; 6] = [0xff; 6];
const ETHERTYPE_ARP: u16 = 0x0806;
const REQUEST: u16 = 1;

/// Ethernet header and ARP packet, in bytes.
const FRAME: usize = 42;

/// What every ARP packet for IPv4 on Ethernet begins with (RFC 826): hardware type, protocol type, and
/// the lengths of their addresses.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// Why it cannot be found out.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The bridge is missing.
    #[error("there is no network interface `{0}`: make it, or name another one in `bridge`")]
    NoInterface(String),
    /// Something else has the bridge's name.
    #[error("`{0}` is not an Ethernet interface: name a bridge in `bridge`")]
    NotEthernet(String),
    /// The bridge is switched off.
    #[error("`{0}` is down: ip link set {0} up")]
    Down(String),
    /// The manager may not open packet sockets.
    #[error("ARP probes are not permitted: run the manager as root, or give it CAP_NET_RAW")]
    NotPermitted,
    /// The system failed.
    #[error("ARP probes failed: {0}")]
    Failed(#[from] io::Error),
}

impl From<Errno> for ProbeError {
    fn from(error: Errno) -> Self {
        ProbeError::Failed(error.into())
    }
}

/// Asks on `bridge` who has `address`; the MAC address of who says so, nothing if it is free.
///
/// # Errors
///
/// When it cannot be found out.
pub async fn probe(bridge: &str, address: Ipv4Addr) -> Result<Option<[u8; 6]>, ProbeError> {
    let bridge = bridge.to_owned();
    let asked = tokio::task::spawn_blocking(move || ask(&bridge, address)).await;
    asked.unwrap_or_else(|error| Err(ProbeError::Failed(io::Error::other(error))))
}

fn ask(bridge: &str, address: Ipv4Addr) -> Result<Option<[u8; 6]>, ProbeError> {
    let host = Host::look(bridge)?;
    if host.addresses.contains(&address) {
        return Ok(Some(host.mac));
    }
    // In network byte order, as packet(7) wants it.
    let protocol = Protocol::from(i32::from(ETHERTYPE_ARP.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).map_err(|error| {
        let refused = matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EPERM | Errno::EACCES));
        if refused { ProbeError::NotPermitted } else { error.into() }
    })?;
    socket.set_nonblocking(true)?;
    bind(socket.as_raw_fd(), &host.link).map_err(|error| error.of(bridge))?;
    let probe = frame(host.mac, address);
    for _ in 0..PROBES {
        match send(socket.as_raw_fd(), &probe, MsgFlags::empty()) {
            // A bridge without a carrier takes no frames, and there is nobody to answer.
            Ok(_) | Err(Errno::ENOBUFS) => {}
            Err(error) => return Err(error.of(bridge)),
        }
        let end = Instant::now() + PAUSE;
        while wait(&socket, end)? {
            if let Some(mac) = receive(&socket, &host, address).map_err(|error| error.of(bridge))? {
                return Ok(Some(mac));
            }
        }
    }
    Ok(None)
}

trait Of {
    fn of(self, bridge: &str) -> ProbeError;
}

impl Of for Errno {
    /// What the error means where it concerns the interface `bridge`.
    fn of(self, bridge: &str) -> ProbeError {
        match self {
            Errno::ENETDOWN => ProbeError::Down(bridge.to_owned()),
            Errno::ENODEV | Errno::ENXIO => ProbeError::NoInterface(bridge.to_owned()),
            error => error.into(),
        }
    }
}

/// What this host has itself.
struct Host {
    link: LinkAddr,
    mac: [u8; 6],
    macs: Vec<[u8; 6]>,
    addresses: Vec<Ipv4Addr>,
}

impl Host {
    fn look(bridge: &str) -> Result<Self, ProbeError> {
        let (mut link, mut macs, mut addresses) = (None, Vec::new(), Vec::new());
        for entry in getifaddrs()? {
            let Some(address) = entry.address else { continue };
            addresses.extend(address.as_sockaddr_in().map(|address| address.ip()));
            let Some(found) = address.as_link_addr() else { continue };
            macs.extend(found.addr());
            if entry.interface_name == bridge {
                link = Some(*found);
            }
        }
        let link = link.ok_or_else(|| ProbeError::NoInterface(bridge.to_owned()))?;
        match (link.addr(), link.halen()) {
            (Some(mac), 6) => Ok(Host { link, mac, macs, addresses }),
            _ => Err(ProbeError::NotEthernet(bridge.to_owned())),
        }
    }
}

/// Waits until something can be read; whether it can before `end`.
fn wait(socket: &Socket, end: Instant) -> Result<bool, ProbeError> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // Rounded up: a wait that ends too early would only be repeated.
        let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads one frame; the MAC address of its sender if that claims `address`.
fn receive(socket: &Socket, host: &Host, address: Ipv4Addr) -> nix::Result<Option<[u8; 6]>> {
    let mut frame = [0; FRAME];
    match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) {
        // Before it was bound, the socket heard every interface.
        Ok((FRAME, Some(from))) if from.ifindex() == host.link.ifindex() => {
            Ok(claimant(&frame, &host.macs, address))
        }
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Who says in `frame` that `address` is his, or is about to be.
fn claimant(frame: &[u8; FRAME], own: &[[u8; 6]], address: Ipv4Addr) -> Option<[u8; 6]> {
    let is_arp = frame[12..14] == ETHERTYPE_ARP.to_be_bytes() && frame[14..20] == KIND;
    let operation = u16::from_be_bytes([frame[20], frame[21]]);
    let sender: [u8; 6] = frame[22..28].try_into().ok()?;
    let has = frame[28..32] == address.octets();
    let wants = operation == REQUEST
        && frame[28..32] == Ipv4Addr::UNSPECIFIED.octets()
        && frame[38..42] == address.octets();
    (is_arp && (has || (wants && !own.contains(&sender)))).then_some(sender)
}

/// A probe for `address`.
fn frame(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME);
    frame.extend(BROADCAST);
    frame.extend(mac);
    frame.extend(ETHERTYPE_ARP.to_be_bytes());
    frame.extend(KIND);
    frame.extend(REQUEST.to_be_bytes());
    frame.extend(mac);
    frame.extend(Ipv4Addr::UNSPECIFIED.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    fn packet(sender: [u8; 6], operation: u16, has: Ipv4Addr, target: Ipv4Addr) -> [u8; FRAME] {
        let mut packet: [u8; FRAME] = frame(sender, target).try_into().expect("the size of a frame");
        packet[20..22].copy_from_slice(&operation.to_be_bytes());
        packet[28..32].copy_from_slice(&has.octets());
        packet
    }

    #[test]
    fn who_has_the_address_or_wants_it_is_a_claimant() {
        let (nobody, other) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 0, 8));
        for (sender, operation, has, target, expected, what) in [
            (THEIRS, 2, ADDRESS, nobody, true, "an answer"),
            (THEIRS, 1, ADDRESS, ADDRESS, true, "an announcement"),
            (THEIRS, 1, ADDRESS, other, true, "a question of who has it"),
            (THEIRS, 1, nobody, ADDRESS, true, "another's probe"),
            (OURS, 1, nobody, ADDRESS, false, "our own probe"),
            (THEIRS, 1, nobody, other, false, "a probe for another one"),
            (THEIRS, 1, other, ADDRESS, false, "a question for it"),
            (THEIRS, 2, other, ADDRESS, false, "an answer for another one"),
        ] {
            let found = claimant(&packet(sender, operation, has, target), &[OURS], ADDRESS);
            assert_eq!(found, expected.then_some(sender), "{what}");
        }
        let mut other_kind = packet(THEIRS, 2, ADDRESS, nobody);
        other_kind[14] = 6;
        assert_eq!(claimant(&other_kind, &[OURS], ADDRESS), None);
    }
}
