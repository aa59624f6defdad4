//! Asks the segment whether somebody has an address: by ARP probes for IPv4 (`arp`), as duplicate address detection
//! does for IPv6 (`ndp`). An answer, an announcement and another's probe for the same address all mean that it is not
//! free. No question puts anything into anybody's table.

mod arp;
mod ndp;

use std::io;
use std::net::IpAddr;
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

/// So much of a frame is read, in bytes; what counts is at its beginning.
const FRAME: usize = 128;

/// An Ethernet header, in bytes.
const HEADER: usize = 14;

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
    #[error("probes of the segment are not permitted: run the manager as root, or give it CAP_NET_RAW")]
    NotPermitted,
    /// The system failed.
    #[error("probes of the segment failed: {0}")]
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
pub async fn probe(bridge: &str, address: IpAddr) -> Result<Option<[u8; 6]>, ProbeError> {
    let bridge = bridge.to_owned();
    let asked = tokio::task::spawn_blocking(move || ask(&bridge, address)).await;
    asked.unwrap_or_else(|error| Err(ProbeError::Failed(io::Error::other(error))))
}

fn ask(bridge: &str, address: IpAddr) -> Result<Option<[u8; 6]>, ProbeError> {
    let host = Host::look(bridge)?;
    if host.addresses.contains(&address) {
        return Ok(Some(host.mac));
    }
    // In network byte order, as packet(7) wants it.
    let ethertype = if address.is_ipv4() { arp::ETHERTYPE } else { ndp::ETHERTYPE };
    let protocol = Protocol::from(i32::from(ethertype.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).map_err(|error| {
        let refused = matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EPERM | Errno::EACCES));
        if refused { ProbeError::NotPermitted } else { error.into() }
    })?;
    socket.set_nonblocking(true)?;
    bind(socket.as_raw_fd(), &host.link).map_err(|error| error.of(bridge))?;
    let probe = match address {
        IpAddr::V4(address) => arp::probe(host.mac, address),
        IpAddr::V6(address) => ndp::probe(host.mac, address),
    };
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
    addresses: Vec<IpAddr>,
}

impl Host {
    fn look(bridge: &str) -> Result<Self, ProbeError> {
        let (mut link, mut macs, mut addresses) = (None, Vec::new(), Vec::new());
        for entry in getifaddrs()? {
            let Some(address) = entry.address else { continue };
            addresses.extend(address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip())));
            addresses.extend(address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())));
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
fn receive(socket: &Socket, host: &Host, address: IpAddr) -> nix::Result<Option<[u8; 6]>> {
    let mut frame = [0; FRAME];
    match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) {
        // Before it was bound, the socket heard every interface.
        Ok((length, Some(from))) if from.ifindex() == host.link.ifindex() => Ok(match address {
            IpAddr::V4(address) => arp::claimant(&frame[..length], &host.macs, address),
            IpAddr::V6(address) => ndp::claimant(&frame[..length], &host.macs, address),
        }),
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(error) => Err(error),
    }
}
