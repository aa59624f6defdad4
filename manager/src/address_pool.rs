//! The addresses a host may give to its machines: single ones and ranges, as the configuration lists
//! them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most addresses one pool may have.
pub const MAX_ADDRESSES: usize = 65_536;

/// A run of addresses, both ends included; written `192.168.10.10-192.168.10.16`, or as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

impl AddressRange {
    /// Whether `address` is in the range.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// The lowest address.
    pub fn first(&self) -> Ipv4Addr {
        self.first
    }

    /// The highest address.
    pub fn last(&self) -> Ipv4Addr {
        self.last
    }

    fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (self.first.to_bits()..=self.last.to_bits()).map(Ipv4Addr::from_bits)
    }
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected an IPv4 address or a range such as 192.168.10.10-192.168.10.16";
        let parse = |part: &str| {
            part.trim().parse::<Ipv4Addr>().map_err(|_| format!("`{text}` is no address range: {expected}"))
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (parse(first)?, parse(last)?),
            None => (parse(text)?, parse(text)?),
        };
        if first > last {
            return Err(format!("`{text}` ends before it begins: {expected}"));
        }
        if (last.to_bits() - first.to_bits()) as usize >= MAX_ADDRESSES {
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
    addresses: Vec<Ipv4Addr>,
}

impl AddressPool {
    /// The pool of all addresses of `ranges`.
    ///
    /// # Errors
    ///
    /// Names an address that is listed twice, or says that there are too many.
    pub fn new(ranges: &[AddressRange]) -> Result<Self, String> {
        let mut seen = BTreeSet::new();
        let mut addresses = Vec::new();
        for address in ranges.iter().flat_map(AddressRange::addresses) {
            if !seen.insert(address) {
                return Err(format!("{address} is listed twice"));
            }
            addresses.push(address);
            if addresses.len() > MAX_ADDRESSES {
                return Err(format!("more than {MAX_ADDRESSES} addresses"));
            }
        }
        Ok(AddressPool { ranges: ranges.to_vec(), addresses })
    }

    /// All addresses, in order.
    pub fn addresses(&self) -> &[Ipv4Addr] {
        &self.addresses
    }

    /// Whether `address` belongs to the pool.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    /// The ranges as text, for the peers.
    pub fn to_texts(&self) -> Vec<String> {
        self.ranges.iter().map(ToString::to_string).collect()
    }

    /// The first address that this pool shares with the ranges a peer told, if any.
    pub fn overlap(&self, texts: &[String]) -> Option<Ipv4Addr> {
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
/// so that a machine rebuilt at the same address needs no neighbour to forget anything.
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x48, a, b, c, d]
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
        assert!(pool.contains(Ipv4Addr::new(10, 0, 0, 9)) && !pool.contains(Ipv4Addr::new(10, 0, 0, 2)));
    }

    #[test]
    fn nonsense_is_refused_with_what_was_expected() {
        for (texts, expected) in [
            (&["10.0.0.9-10.0.0.1"][..], "ends before it begins"),
            (&["ten"], "expected an IPv4 address"),
            (&["10.0.0.1-"], "expected an IPv4 address"),
            (&["10.0.0.0/24"], "expected an IPv4 address"),
            (&["0.0.0.0-255.255.255.255"], "more than 65536"),
            (&["10.0.0.1-10.0.0.5", "10.0.0.5"], "10.0.0.5 is listed twice"),
        ] {
            let error = pool(texts).expect_err("must be refused");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_overlap_with_a_peer_is_found() {
        let mine = pool(&["10.0.0.10-10.0.0.16"]).expect("valid");
        assert_eq!(mine.overlap(&["10.0.0.20-10.0.0.26".into()]), None);
        assert_eq!(mine.overlap(&["10.0.0.15-10.0.0.26".into()]), Some(Ipv4Addr::new(10, 0, 0, 15)));
    }
}
