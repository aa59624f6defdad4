//! What people may set of a virtual router, by one rule for every file that it is written in: the manager's, which
//! has it for its balancer, and the balancer's own.
//!
//! Each rule gives what is used, or says what is expected; where in the file that is, its reader knows.

use std::net::IpAddr;
use std::time::Duration;

use crate::packet::{ChecksumForm, configured_interval};

/// The time between two adverts unless told otherwise.
pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(100);

/// The longest delay of `preempt`, in milliseconds: an hour.
const MAX_PREEMPT_DELAY_MS: u64 = 3_600_000;

/// The most unicast peers: each gets an advert of its own in every interval.
pub const MAX_UNICAST_PEERS: usize = 64;

/// The virtual IP address.
///
/// # Errors
///
/// When no machine can have it.
pub fn address(address: IpAddr) -> Result<IpAddr, &'static str> {
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err("expected an address that one machine can have on the segment");
    }
    Ok(address)
}

/// The virtual router's id.
///
/// # Errors
///
/// When it is 0 (RFC 9568, section 5.2.3).
pub fn vrid(vrid: u8) -> Result<u8, &'static str> {
    if vrid == 0 { Err("expected a vrid from 1 to 255") } else { Ok(vrid) }
}

/// The time between two adverts, of milliseconds.
///
/// # Errors
///
/// As [`configured_interval`].
pub fn interval(milliseconds: Option<u64>) -> Result<Duration, &'static str> {
    milliseconds.map_or(Ok(DEFAULT_INTERVAL), configured_interval)
}

/// Whether, and after how long, a fit holder of lower priority is preempted.
///
/// # Errors
///
/// When there is a delay of nothing, or one that is too long.
pub fn preempt(preempt: bool, delay_ms: Option<u64>) -> Result<Option<Duration>, &'static str> {
    match (preempt, delay_ms) {
        (false, None) => Ok(None),
        (false, Some(_)) => Err("preempt_delay_ms says nothing without `preempt = true`"),
        (true, Some(delay)) if delay > MAX_PREEMPT_DELAY_MS => Err("expected at most 3600000 ms, an hour"),
        (true, delay) => Ok(Some(Duration::from_millis(delay.unwrap_or(0)))),
    }
}

/// What the checksum of a sent advert for `address` covers.
///
/// # Errors
///
/// When one is chosen where there is no choice.
pub fn checksum(address: IpAddr, form: Option<ChecksumForm>) -> Result<ChecksumForm, &'static str> {
    match form {
        Some(_) if address.is_ipv6() => Err("there is only one form of checksum for IPv6: leave this out"),
        form => Ok(form.unwrap_or_default()),
    }
}

/// Whether the last of these virtual routers, addresses and ids, is another one than all before it.
///
/// # Errors
///
/// Says in what it must differ.
pub fn distinct(all: &[(IpAddr, u8)]) -> Result<(), &'static str> {
    let Some(((address, vrid), others)) = all.split_last() else { return Ok(()) };
    // IPv4 and IPv6 are numbered apart.
    let same = |other: &(IpAddr, u8)| {
        other.0 == *address || other.1 == *vrid && other.0.is_ipv4() == address.is_ipv4()
    };
    if others.iter().any(same) {
        return Err("another [[vip]] has the same address, or the same vrid in the same family");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde::de::IntoDeserializer as _;
    use serde::de::value::{Error, StrDeserializer};

    use super::*;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 10, 120));
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x78));

    #[test]
    fn each_rule_gives_what_is_used_or_says_what_is_expected() {
        assert_eq!((address(V4), address(V6)), (Ok(V4), Ok(V6)));
        for wrong in ["0.0.0.0", "224.0.0.18", "127.0.0.1", "::", "ff02::1", "::1"] {
            assert!(address(wrong.parse().expect("an address")).is_err(), "{wrong}");
        }
        assert_eq!((vrid(0).is_err(), vrid(1), vrid(255)), (true, Ok(1), Ok(255)));
        assert_eq!(interval(None), Ok(DEFAULT_INTERVAL));
        assert_eq!((interval(Some(30)), interval(Some(25)).is_err()), (Ok(Duration::from_millis(30)), true));
        assert_eq!(preempt(false, None), Ok(None));
        assert_eq!(preempt(true, None), Ok(Some(Duration::ZERO)));
        assert_eq!(preempt(true, Some(3_600_000)), Ok(Some(Duration::from_secs(3600))));
        assert!(preempt(false, Some(0)).is_err() && preempt(true, Some(3_600_001)).is_err());
        assert_eq!(checksum(V4, Some(ChecksumForm::MessageOnly)), Ok(ChecksumForm::MessageOnly));
        assert_eq!(checksum(V6, None), Ok(ChecksumForm::default()));
        assert!(checksum(V6, Some(ChecksumForm::default())).is_err());
    }

    #[test]
    fn the_forms_of_the_checksum_have_the_names_that_are_in_peoples_files() {
        let read = |name: &'static str| {
            let written: StrDeserializer<'_, Error> = name.into_deserializer();
            ChecksumForm::deserialize(written).ok()
        };
        assert_eq!(read("pseudo-header"), Some(ChecksumForm::PseudoHeader));
        assert_eq!(read("message"), Some(ChecksumForm::MessageOnly));
        assert_eq!(read("message-only"), None);
    }

    #[test]
    fn no_two_are_alike_but_by_family() {
        assert_eq!((distinct(&[]), distinct(&[(V4, 50), (V6, 50)])), (Ok(()), Ok(())));
        let other = "192.168.10.121".parse().expect("an address");
        for all in [vec![(V4, 1), (V4, 2)], vec![(V4, 1), (V6, 2), (other, 1)]] {
            assert!(distinct(&all).is_err(), "{all:?}");
        }
    }
}
