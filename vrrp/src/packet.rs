//! The advert, the only message of the protocol, to and from bytes.
//!
//! ```text
//!   0               1               2               3            RFC 9568, section 5.1
//!  +-------+-------+---------------+---------------+---------------+
//!  | ver 3 |type 1 |     vrid      |   priority    |     count     |
//!  +-------+-------+---------------+---------------+---------------+
//!  | rsvd  | max advert interval, cs |           checksum          |
//!  +-------+-------------------------+-----------------------------+
//!  |                    count IPv4 addresses                       |
//! ```

use std::net::Ipv4Addr;
use std::time::Duration;

use thiserror::Error;

/// The IP protocol number of VRRP.
pub const PROTOCOL: u8 = 112;

/// Where adverts are sent (section 5.1.1.2).
pub const MULTICAST: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// The TTL of every advert: what arrives with less came through a router (section 5.1.1.3).
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

/// One advert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The virtual router's id, 1 to 255.
    pub vrid: u8,
    /// The sender's priority; 0 says that it lets go of the address.
    pub priority: u8,
    /// The time between two adverts of this sender: whole centiseconds, 10 ms to [`MAX_INTERVAL`].
    pub interval: Duration,
    /// The virtual router's addresses, at most 255.
    pub addresses: Vec<Ipv4Addr>,
}

/// What the checksum of an IPv4 advert covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumForm {
    /// The message and a pseudo-header of the IP addresses: what keepalived sends and expects unless
    /// told otherwise.
    #[default]
    PseudoHeader,
    /// The message alone, as RFC 9568, section 5.2.8 says for IPv4.
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
    /// Neither form of the checksum is right.
    #[error("wrong checksum {0:#06x}")]
    Checksum(u16),
}

impl Advert {
    /// The message in bytes, to be sent from `source` to `destination`.
    ///
    /// An interval outside its range is sent as the nearest that can be said; addresses beyond the
    /// 255th are left out.
    #[must_use]
    pub fn encode(&self, form: ChecksumForm, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let addresses = &self.addresses[..self.addresses.len().min(usize::from(u8::MAX))];
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
            bytes.extend(address.octets());
        }
        let checksum = !checksum(&bytes, form, source, destination);
        bytes[6..8].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// The advert in `bytes`, the payload of an IP packet from `source` to `destination` that arrived
    /// with `ttl`. Both forms of the checksum are taken.
    ///
    /// # Errors
    ///
    /// The first rule of RFC 9568, section 7.1 that it breaks.
    pub fn decode(bytes: &[u8], source: Ipv4Addr, destination: Ipv4Addr, ttl: u8) -> Result<Self, Malformed> {
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
        let expected = HEADER + 4 * usize::from(count);
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
        // The four reserved bits are ignored on reception (section 5.2.6).
        let interval = u16::from_be_bytes([high & 0xf, low]);
        if interval == 0 {
            return Err(Malformed::Interval);
        }
        Ok(Advert {
            vrid,
            priority,
            interval: Duration::from_millis(u64::from(interval) * 10),
            addresses: list.as_chunks::<4>().0.iter().map(|octets| Ipv4Addr::from(*octets)).collect(),
        })
    }
}

fn centiseconds(interval: Duration) -> u16 {
    let interval = interval.min(MAX_INTERVAL).as_millis() / 10;
    u16::try_from(interval).unwrap_or(u16::MAX).max(1)
}

/// The one's complement sum (RFC 1071) over the message, and over its pseudo-header if `form` has one.
fn checksum(message: &[u8], form: ChecksumForm, source: Ipv4Addr, destination: Ipv4Addr) -> u16 {
    let mut sum = 0;
    match form {
        ChecksumForm::MessageOnly => {}
        ChecksumForm::PseudoHeader => {
            // At most 8 + 4 * 255 bytes on either way.
            let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
            sum += words(&source.octets()) + words(&destination.octets());
            sum += u32::from(PROTOCOL) + u32::from(length);
        }
    }
    // Far below overflow: 514 words of 16 bits and the pseudo-header.
    sum += words(message);
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
