//! The addresses that belong to a virtual router by its number, whoever holds it.

use std::net::{IpAddr, Ipv6Addr};

/// The virtual router's MAC address (RFC 9568, section 7.3): the same whoever holds the address, so that
/// no neighbour has to learn a new one. The families are numbered apart.
#[must_use]
pub fn virtual_mac(vrid: u8, address: IpAddr) -> [u8; 6] {
    let family = if address.is_ipv4() { 1 } else { 2 };
    [0x00, 0x00, 0x5e, 0x00, family, vrid]
}

/// The link-local address of an IPv6 virtual router, which its adverts name first (section 5.2.9): made of
/// its virtual MAC address as any interface makes its own (RFC 4291, appendix A).
#[must_use]
pub fn virtual_link_local(vrid: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0200, 0x5eff, 0xfe00, 0x0200 | u16::from(vrid))
}

/// What an advert of the virtual router `vrid` for `address` names: for IPv6 its link-local address too.
#[must_use]
pub fn advertised(vrid: u8, address: IpAddr) -> Vec<IpAddr> {
    match address {
        IpAddr::V6(v6) if !v6.is_unicast_link_local() => vec![virtual_link_local(vrid).into(), address],
        IpAddr::V4(_) | IpAddr::V6(_) => vec![address],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_are_those_of_the_rfc() {
        let (v4, v6) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from(Ipv6Addr::LOCALHOST));
        assert_eq!(virtual_mac(50, v4), [0, 0, 0x5e, 0, 1, 50]);
        assert_eq!(virtual_mac(50, v6), [0, 0, 0x5e, 0, 2, 50]);
        assert_eq!(virtual_link_local(50).to_string(), "fe80::200:5eff:fe00:232");
        assert_eq!(advertised(50, v4), [v4]);
        assert_eq!(advertised(50, v6), [virtual_link_local(50).into(), v6]);
        let own = IpAddr::from(virtual_link_local(7));
        assert_eq!(advertised(50, own), [own], "a link-local one needs no other");
    }
}
