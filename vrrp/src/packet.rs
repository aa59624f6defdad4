//! The advert, the only message of the protocol, to and from bytes.
//!
//! ```text
//!   0               1               2               3            RFC 9568, section 5.1
//!  +-------+-------+---------------+---------------+---------------+
//!  | ver 3 |type 1 |     vrid      |   priority    |     count     |
//!  +-------+-------+---------------+---------------+---------------+
//!  | rsvd  | max advert interval, cs |           checksum          |
//!  +-------+-------------------------+-----------------------------+
//!  |             count addresses, all IPv4 or all IPv6             |
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The IP protocol number of VRRP.
pub const PROTOCOL: u8 = 112;

/// Where adverts for IPv4 addresses are sent (section 5.1.1.2).
pub const MULTICAST: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// Where adverts for IPv6 addresses are sent (section 5.1.2.2).
pub const MULTICAST_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// The TTL or hop limit of every advert: what arrives with less came through a router (sections 5.1.1.3
/// and 5.1.2.3).
pub const TTL: u8 = 255;

/// The priority with which a holder says that it lets go (section 5.2.4).
pub const PRIORITY_RELEASE: u8 = 0;

const VERSION: u8 = 3;
const TYPE_ADVERTISEMENT: u8 = 1;
const HEADER: usize = 8;

/// The longest interval that 12 bits of centiseconds can say.
pub const MAX_INTERVAL: Duration = Duration::from_millis(40_950);

/// The shortest interval that may be configured: below it a busy machine would lose adverts.
const MIN_CONFIGURED_MS: u64 = 30;

/// The interval of `milliseconds`, as people configure it.
///
/// # Errors
///
/// Says what is expected: VRRP counts in whole centiseconds and has 12 bits for them (section 5.2.7).
pub fn configured_interval(milliseconds: u64) -> Result<Duration, &'static str> {
    let interval = Duration::from_millis(milliseconds);
    if milliseconds < MIN_CONFIGURED_MS || interval > MAX_INTERVAL || !milliseconds.is_multiple_of(10) {
        return Err("expected a multiple of 10 ms from 30 to 40950 (VRRP counts in centiseconds)");
    }
    Ok(interval)
}

/// The group that the routers of `own`'s family listen to.
#[must_use]
pub fn multicast(own: IpAddr) -> IpAddr {
    match own {
        IpAddr::V4(_) => MULTICAST.into(),
        IpAddr::V6(_) => MULTICAST_V6.into(),
    }
}

/// One advert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The virtual router's id, 1 to 255.
    pub vrid: u8,
    /// The sender's priority; 0 says that it lets go of the address.
    pub priority: u8,
    /// The time between two adverts of this sender: whole centiseconds, 10 ms to [`MAX_INTERVAL`].
    pub interval: Duration,
    /// The virtual router's addresses, at most 255, all of one family. Of IPv6 addresses a link-local
    /// one comes first (section 5.2.9).
    pub addresses: Vec<IpAddr>,
}

/// What the checksum of an IPv4 advert covers. That of an IPv6 advert always covers the pseudo-header.
///
/// In configurations it is `pseudo-header` or `message`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChecksumForm {
    /// The message and a pseudo-header of the IP addresses: what keepalived sends and expects unless
    /// told otherwise.
    #[default]
    PseudoHeader,
    /// The message alone, as RFC 9568, section 5.2.8 says for IPv4.
    #[serde(rename = "message")]
    MessageOnly,
}

/// Why bytes are not an advert we take (section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It passed a router, so it does not come from this network segment.
    #[error("TTL {0} instead of 255")]
    Ttl(u8),
    /// There is not even a header.
    #[error("{0} bytes, shorter than a header")]
    Short(usize),
    /// A neighbour that speaks VRRP version 2.
    #[error("VRRP version 2 (configure the neighbour for version 3; in keepalived: `version 3`)")]
    Version2,
    /// A version that does not exist.
    #[error("VRRP version {0}")]
    Version(u8),
    /// Not an advertisement.
    #[error("message type {0}")]
    Type(u8),
    /// 0 is not a virtual router's id.
    #[error("virtual router id 0")]
    Vrid,
    /// An interval of nothing would have the address change hands at once.
    #[error("advert interval 0")]
    Interval,
    /// The addresses said to follow are not those that follow.
    #[error("{count} addresses need {expected} bytes, there are {actual}")]
    Length {
        /// The address count of the header.
        count: u8,
        /// The message's length with so many addresses.
        expected: usize,
        /// The message's length.
        actual: usize,
    },
    /// Neither form of the checksum is right; for IPv6 there is only one.
    #[error("wrong checksum {0:#06x}")]
    Checksum(u16),
    /// It is about no address at all (section 5.2.5: ignored).
    #[error("no address")]
    Empty,
    /// An IPv4 packet to an IPv6 address or the reverse.
    #[error("source and destination are not of one family")]
    Family,
}

impl Malformed {
    /// The names that [`name`](Self::name) gives, in order.
    pub const NAMES: [&str; 11] = [
        "ttl",
        "short",
        "version_2",
        "version",
        "type",
        "vrid",
        "interval",
        "length",
        "checksum",
        "family",
        "empty",
    ];

    /// The kind of this malformation, for counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        Self::NAMES[match self {
            Malformed::Ttl(_) => 0,
            Malformed::Short(_) => 1,
            Malformed::Version2 => 2,
            Malformed::Version(_) => 3,
            Malformed::Type(_) => 4,
            Malformed::Vrid => 5,
            Malformed::Interval => 6,
            Malformed::Length { .. } => 7,
            Malformed::Checksum(_) => 8,
            Malformed::Family => 9,
            Malformed::Empty => 10,
        }]
    }
}

impl Advert {
    /// The message in bytes, to be sent from `source` to `destination`, which are of one family.
    ///
    /// An interval outside its range is sent as the nearest that can be said. Addresses of the other
    /// family and those beyond the 255th are left out. Link-local IPv6 addresses are put in front.
    #[must_use]
    pub fn encode(&self, form: ChecksumForm, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let of_family = self.addresses.iter().filter(|address| address.is_ipv4() == source.is_ipv4());
        let (mut addresses, others): (Vec<_>, Vec<_>) = of_family.partition(|address| is_link_local(address));
        addresses.extend(others);
        addresses.truncate(usize::from(u8::MAX));
        let interval = centiseconds(self.interval).to_be_bytes();
        let mut bytes = vec![
            VERSION << 4 | TYPE_ADVERTISEMENT,
            self.vrid,
            self.priority,
            u8::try_from(addresses.len()).unwrap_or(u8::MAX),
            interval[0],
            interval[1],
            0,
            0,
        ];
        for address in addresses {
            match address {
                IpAddr::V4(address) => bytes.extend(address.octets()),
                IpAddr::V6(address) => bytes.extend(address.octets()),
            }
        }
        let checksum = !checksum(&bytes, form, source, destination);
        bytes[6..8].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// The advert in `bytes`, the payload of an IP packet from `source` to `destination` that arrived
    /// with `ttl` (or hop limit). Both forms of the checksum are taken for IPv4.
    ///
    /// # Errors
    ///
    /// The first rule of RFC 9568, section 7.1 that it breaks.
    pub fn decode(bytes: &[u8], source: IpAddr, destination: IpAddr, ttl: u8) -> Result<Self, Malformed> {
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(Malformed::Family);
        }
        if ttl != TTL {
            return Err(Malformed::Ttl(ttl));
        }
        let Some((&[first, vrid, priority, count, high, low, ..], list)) =
            bytes.split_first_chunk::<HEADER>()
        else {
            return Err(Malformed::Short(bytes.len()));
        };
        match first >> 4 {
            VERSION => {}
            2 => return Err(Malformed::Version2),
            version => return Err(Malformed::Version(version)),
        }
        if first & 0xf != TYPE_ADVERTISEMENT {
            return Err(Malformed::Type(first & 0xf));
        }
        let size = if source.is_ipv4() { 4 } else { 16 };
        let expected = HEADER + size * usize::from(count);
        if bytes.len() != expected {
            return Err(Malformed::Length { count, expected, actual: bytes.len() });
        }
        // The sum over a message that contains its own right checksum is all ones.
        let valid = |form| checksum(bytes, form, source, destination) == 0xffff;
        if !valid(ChecksumForm::PseudoHeader) && !valid(ChecksumForm::MessageOnly) {
            return Err(Malformed::Checksum(u16::from_be_bytes([bytes[6], bytes[7]])));
        }
        if vrid == 0 {
            return Err(Malformed::Vrid);
        }
        if count == 0 {
            return Err(Malformed::Empty);
        }
        // The four reserved bits are ignored on reception (section 5.2.6).
        let interval = u16::from_be_bytes([high & 0xf, low]);
        if interval == 0 {
            return Err(Malformed::Interval);
        }
        Ok(Advert {
            vrid,
            priority,
            interval: Duration::from_millis(u64::from(interval) * 10),
            addresses: if source.is_ipv4() {
                list.as_chunks::<4>().0.iter().map(|octets| IpAddr::from(*octets)).collect()
            } else {
                list.as_chunks::<16>().0.iter().map(|octets| IpAddr::from(*octets)).collect()
            },
        })
    }
}

fn centiseconds(interval: Duration) -> u16 {
    let interval = interval.min(MAX_INTERVAL).as_millis() / 10;
    u16::try_from(interval).unwrap_or(u16::MAX).max(1)
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The one's complement sum (RFC 1071) over the message, and over its pseudo-header if `form` has one.
fn checksum(message: &[u8], form: ChecksumForm, source: IpAddr, destination: IpAddr) -> u16 {
    // At most 8 + 16 * 255 bytes on either way.
    let length = u32::from(u16::try_from(message.len()).unwrap_or(u16::MAX));
    let pseudo_header = match (source, destination, form) {
        // RFC 9568, section 5.2.8 and RFC 8200, section 8.1.
        (IpAddr::V6(source), IpAddr::V6(destination), _) => {
            words(&source.octets()) + words(&destination.octets()) + length + u32::from(PROTOCOL)
        }
        (IpAddr::V4(source), IpAddr::V4(destination), ChecksumForm::PseudoHeader) => {
            words(&source.octets()) + words(&destination.octets()) + length + u32::from(PROTOCOL)
        }
        _ => 0,
    };
    // Far below overflow: 2044 words of 16 bits and the pseudo-header.
    let mut sum = pseudo_header + words(message);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of the 16-bit words; the message has an even length, as its parts do.
fn words(bytes: &[u8]) -> u32 {
    bytes.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum()
}

#[cfg(test)]
mod tests;
