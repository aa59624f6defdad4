//! The addresses a host may give to its machines: single ones and ranges, as the configuration lists
//! them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most addresses one pool may have.
pub const MAX_ADDRESSES: usize = 65_536;

/// A run of addresses of one family, both ends included; written `192.168.10.10-192.168.10.16` or
/// `fd00::10-fd00::1f`, or as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// Whether `address` is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// The lowest address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The highest address.
    pub fn last(&self) -> IpAddr {
        self.last
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let is_v4 = self.first.is_ipv4();
        // An IPv4 address is no more than 32 bits of these.
        let address = move |bits: u128| match u32::try_from(bits) {
            Ok(bits) if is_v4 => IpAddr::V4(Ipv4Addr::from_bits(bits)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        };
        (bits(self.first)..=bits(self.last)).map(address)
    }
}

/// Its bits as a number; of IPv4 the lower 32.
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            "expected an address, or a range such as 192.168.10.10-192.168.10.16 or fd00:10::10-fd00:10::1f";
        let parse = |part: &str| {
            part.trim().parse::<IpAddr>().map_err(|_| format!("`{text}` is no address range: {expected}"))
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (parse(first)?, parse(last)?),
            None => (parse(text)?, parse(text)?),
        };
        if first.is_ipv4() != last.is_ipv4() {
            return Err(format!("`{text}` begins and ends in different families: {expected}"));
        }
        if first > last {
            return Err(format!("`{text}` ends before it begins: {expected}"));
        }
        if bits(last) - bits(first) >= MAX_ADDRESSES as u128 {
            return Err(format!("`{text}` has more than {MAX_ADDRESSES} addresses"));
        }
        Ok(AddressRange { first, last })
    }
}

impl TryFrom<String> for AddressRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> String {
        range.to_string()
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A host's addresses, in the order of the configuration, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPool {
    ranges: Vec<AddressRange>,
    addresses: Vec<IpAddr>,
}

impl AddressPool {
    /// The pool of all addresses of `ranges`.
    ///
    /// # Errors
    ///
    /// Names an address that is listed twice or would have another's MAC address, or says that there are too many.
    pub fn new(ranges: &[AddressRange]) -> Result<Self, String> {
        let mut seen = BTreeMap::new();
        let mut addresses = Vec::new();
        for address in ranges.iter().flat_map(AddressRange::addresses) {
            match seen.insert(mac_of(address), address) {
                None => {}
                Some(other) if other == address => return Err(format!("{address} is listed twice")),
                Some(other) => {
                    return Err(format!(
                        "{other} and {address} have the same last 32 bits, of which a machine's MAC address is made"
                    ));
                }
            }
            addresses.push(address);
            if addresses.len() > MAX_ADDRESSES {
                return Err(format!("more than {MAX_ADDRESSES} addresses"));
            }
        }
        Ok(AddressPool { ranges: ranges.to_vec(), addresses })
    }

    /// All addresses, in order.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Whether `address` belongs to the pool.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    /// The ranges as text, for the peers.
    pub fn to_texts(&self) -> Vec<String> {
        self.ranges.iter().map(ToString::to_string).collect()
    }

    /// The first address that this pool shares with the ranges a peer told, if any.
    pub fn overlap(&self, texts: &[String]) -> Option<IpAddr> {
        let theirs: Vec<AddressRange> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        self.ranges.iter().find_map(|mine| {
            theirs.iter().find_map(|their| {
                let first = mine.first.max(their.first);
                (first <= mine.last.min(their.last)).then_some(first)
            })
        })
    }
}

/// The MAC address of the machine with `address`: locally administered, and a function of the address,
/// so that a machine rebuilt at the same address needs no neighbour to forget anything. Of an IPv6 address it has
/// the last 32 bits.
pub fn mac_of(address: IpAddr) -> [u8; 6] {
    let family = if address.is_ipv4() { 0x48 } else { 0x36 };
    let [a, b, c, d] = last_octets(address);
    [0x02, family, a, b, c, d]
}

/// The last four octets, by which the machines of one host can be told apart: a pool has none of them twice.
pub(crate) fn last_octets(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            [a, b, c, d]
        }
    }
}

/// A MAC address as people write it.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(texts: &[&str]) -> Result<AddressPool, String> {
        let ranges: Vec<AddressRange> =
            texts.iter().map(|text| text.parse()).collect::<Result<_, String>>()?;
        AddressPool::new(&ranges)
    }

    #[test]
    fn ranges_and_single_addresses_mix() {
        let pool = pool(&["10.0.0.8-10.0.0.10", "10.0.0.1"]).expect("valid");
        let texts: Vec<String> = pool.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.8", "10.0.0.9", "10.0.0.10", "10.0.0.1"]);
        assert!(pool.contains(IpAddr::from([10, 0, 0, 9])) && !pool.contains(IpAddr::from([10, 0, 0, 2])));
    }

    #[test]
    fn nonsense_is_refused_with_what_was_expected() {
        for (texts, expected) in [
            (&["10.0.0.9-10.0.0.1"][..], "ends before it begins"),
            (&["ten"], "expected an address, or a range"),
            (&["10.0.0.1-"], "expected an address, or a range"),
            (&["10.0.0.0/24"], "expected an address, or a range"),
            (&["0.0.0.0-255.255.255.255"], "more than 65536"),
            (&["10.0.0.1-10.0.0.5", "10.0.0.5"], "10.0.0.5 is listed twice"),
            (&["fd00::1-fd00::5", "fd00::5"], "fd00::5 is listed twice"),
            (&["10.0.0.1-fd00::5"], "different families"),
            (&["fd00::-fd00::1:0"], "more than 65536"),
            (&["fd00::1", "fd00:1::1"], "fd00::1 and fd00:1::1 have the same last 32 bits"),
        ] {
            let error = pool(texts).expect_err("must be refused");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn ranges_of_ipv6_are_the_same() {
        let pool = pool(&["fd00::fffe-fd00::1:1"]).expect("valid");
        let texts: Vec<String> = pool.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["fd00::fffe", "fd00::ffff", "fd00::1:0", "fd00::1:1"]);
        assert_eq!(pool.to_texts(), ["fd00::fffe-fd00::1:1"]);
        assert_eq!(pool.overlap(&["fd00::1:0-fd00::1:9".into()]), Some(pool.addresses()[2]));
        assert_eq!(pool.overlap(&["0.0.255.255-0.1.0.0".into()]), None);
        assert_eq!(mac_text(mac_of(pool.addresses()[2])), "02:36:00:01:00:00");
    }

    #[test]
    fn an_overlap_with_a_peer_is_found() {
        let mine = pool(&["10.0.0.10-10.0.0.16"]).expect("valid");
        assert_eq!(mine.overlap(&["10.0.0.20-10.0.0.26".into()]), None);
        assert_eq!(mine.overlap(&["10.0.0.15-10.0.0.26".into()]), Some(IpAddr::from([10, 0, 0, 15])));
    }
}
