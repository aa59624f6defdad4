//! Lists of networks, in which an address is found by halving however long they are.

use std::net::IpAddr;

use wire::clients::Network;

/// A list of networks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// Those of `list`.
    pub(crate) fn new(list: &[Network]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in list {
            match network.range() {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits())),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push((first.to_bits(), last.to_bits())),
                // A network is of one kind.
                (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
            }
        }
        Networks { v4: apart(v4), v6: apart(v6) }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether `address` is in one of them. IPv4 within IPv6 was made IPv4 where it was read.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => holds(&self.v4, address.to_bits()),
            IpAddr::V6(address) => holds(&self.v6, address.to_bits()),
        }
    }
}

/// In order, without those that lie within others. Networks never overlap in part.
fn apart<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable_by_key(|&(first, last)| (first, std::cmp::Reverse(last)));
    let mut kept: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for range in ranges {
        if kept.last().is_none_or(|before| before.1 < range.1) {
            kept.push(range);
        }
    }
    kept
}

fn holds<T: Ord>(ranges: &[(T, T)], address: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= address);
    behind.checked_sub(1).is_some_and(|index| address <= ranges[index].1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(list: &[&str]) -> Networks {
        Networks::new(&list.iter().map(|text| text.parse().expect("network")).collect::<Vec<_>>())
    }

    #[test]
    fn an_address_is_found_in_whichever_it_is() {
        let list = networks(&["10.1.0.0/16", "192.0.2.7", "10.0.0.0/8", "2001:db8::/32", "10.0.0.0/9"]);
        for (address, expected) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("9.255.255.255", false),
            ("11.0.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::10.0.0.1", false),
        ] {
            assert_eq!(list.contains(address.parse().expect("address")), expected, "{address}");
        }
        assert!(!networks(&[]).contains([127, 0, 0, 1].into()));
        assert!(networks(&["0.0.0.0/0"]).contains([255, 255, 255, 255].into()));
    }

    proptest! {
        #[test]
        fn it_finds_what_one_after_the_other_would(
            list in prop::collection::vec((any::<u32>(), 0..=32_u8), 0..20),
            addresses in prop::collection::vec(any::<u32>(), 1..20),
        ) {
            let text = |bits: u32, length: u8| {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                format!("{}/{length}", std::net::Ipv4Addr::from_bits(bits & mask))
            };
            let all: Vec<Network> =
                list.iter().map(|&(bits, length)| text(bits, length).parse().expect("network")).collect();
            let found = Networks::new(&all);
            let starts = list.iter().map(|&(bits, _)| bits);
            for bits in addresses.into_iter().chain(starts) {
                let address = std::net::Ipv4Addr::from_bits(bits);
                let expected = all.iter().any(|network| {
                    let (first, last) = network.range();
                    (first..=last).contains(&IpAddr::V4(address))
                });
                prop_assert_eq!(found.contains(address.into()), expected);
            }
        }
    }
}
