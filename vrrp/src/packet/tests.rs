//! Every malformation by name, both checksums, and the promise that no bytes make it panic.

use proptest::prelude::*;

use super::*;

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 10, 10));
const TO: IpAddr = IpAddr::V4(MULTICAST);
const FROM_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x10));
const TO_V6: IpAddr = IpAddr::V6(MULTICAST_V6);

fn advert() -> Advert {
    Advert {
        vrid: 50,
        priority: 240,
        interval: Duration::from_millis(100),
        addresses: vec![IpAddr::from([192, 168, 10, 120])],
    }
}

fn encoded() -> Vec<u8> {
    advert().encode(ChecksumForm::PseudoHeader, FROM, TO)
}

fn decode(bytes: &[u8]) -> Result<Advert, Malformed> {
    Advert::decode(bytes, FROM, TO, TTL)
}

/// Decodes an advert in which one byte was changed and the checksum made right again.
fn with_byte(index: usize, value: u8) -> Result<Advert, Malformed> {
    let mut bytes = encoded();
    bytes[index] = value;
    bytes[6..8].fill(0);
    let sum = !checksum(&bytes, ChecksumForm::MessageOnly, FROM, TO);
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    decode(&bytes)
}

#[test]
fn the_bytes_are_those_of_the_rfc() {
    let bytes = advert().encode(ChecksumForm::MessageOnly, FROM, TO);
    assert_eq!(bytes, [0x31, 50, 240, 1, 0, 10, 0x13, 0xa1, 192, 168, 10, 120]);
}

#[test]
fn each_malformation_has_its_name() {
    assert_eq!(Advert::decode(&encoded(), FROM, TO, 254), Err(Malformed::Ttl(254)));
    assert_eq!(decode(&encoded()[..7]), Err(Malformed::Short(7)));
    assert_eq!(with_byte(0, 0x21), Err(Malformed::Version2));
    assert_eq!(with_byte(0, 0x41), Err(Malformed::Version(4)));
    assert_eq!(with_byte(0, 0x32), Err(Malformed::Type(2)));
    assert_eq!(with_byte(1, 0), Err(Malformed::Vrid));
    assert_eq!(with_byte(5, 0), Err(Malformed::Interval));
    assert_eq!(with_byte(3, 2), Err(Malformed::Length { count: 2, expected: 16, actual: 12 }));
    let of_nothing = Advert { addresses: Vec::new(), ..advert() };
    assert_eq!(decode(&of_nothing.encode(ChecksumForm::default(), FROM, TO)), Err(Malformed::Empty));
    let mut broken = encoded();
    broken[9] ^= 1;
    assert!(matches!(decode(&broken), Err(Malformed::Checksum(_))));
}

#[test]
fn reserved_bits_are_ignored() {
    assert_eq!(with_byte(4, 0xf0), Ok(advert()));
}

#[test]
fn an_interval_that_cannot_be_said_becomes_the_nearest() {
    let said = |interval| {
        let advert = Advert { interval, ..advert() };
        decode(&advert.encode(ChecksumForm::default(), FROM, TO)).map(|advert| advert.interval)
    };
    assert_eq!(said(Duration::ZERO), Ok(Duration::from_millis(10)));
    assert_eq!(said(Duration::from_secs(60)), Ok(MAX_INTERVAL));
}

fn advert_v6() -> Advert {
    let global = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x120);
    Advert { addresses: vec![crate::identity::virtual_link_local(50).into(), global.into()], ..advert() }
}

#[test]
fn the_bytes_of_ipv6_are_those_of_the_rfc() {
    for form in [ChecksumForm::PseudoHeader, ChecksumForm::MessageOnly] {
        let bytes = advert_v6().encode(form, FROM_V6, TO_V6);
        assert_eq!(bytes[..6], [0x31, 50, 240, 2, 0, 10]);
        assert_eq!(bytes[8..10], [0xfe, 0x80]);
        assert_eq!(bytes[24..28], [0x20, 0x01, 0x0d, 0xb8]);
        // Summed by hand: RFC 8200's pseudo-header, of length 40 and next header 112, and the message.
        let pseudo = 0xfe80 + 0x10 + 0xff02 + 0x12 + 40 + 112;
        let header = 0x3132 + 0xf002 + 0x000a;
        let list = 0xfe80 + 0x0200 + 0x5eff + 0xfe00 + 0x0232 + 0x2001 + 0x0db8 + 0x0120;
        let sum: u32 = pseudo + header + list;
        let folded = (sum & 0xffff) + (sum >> 16);
        assert_eq!(u32::from(u16::from_be_bytes([bytes[6], bytes[7]])), 0xffff - folded);
        assert_eq!(Advert::decode(&bytes, FROM_V6, TO_V6, TTL), Ok(advert_v6()));
    }
}

#[test]
fn an_ipv6_checksum_without_the_pseudo_header_is_wrong() {
    let mut bytes = advert_v6().encode(ChecksumForm::default(), FROM_V6, TO_V6);
    let to_another = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x13));
    assert!(matches!(Advert::decode(&bytes, FROM_V6, to_another, TTL), Err(Malformed::Checksum(_))));
    bytes[6..8].fill(0);
    let message_only = !checksum(&bytes, ChecksumForm::MessageOnly, FROM, TO);
    bytes[6..8].copy_from_slice(&message_only.to_be_bytes());
    assert!(matches!(Advert::decode(&bytes, FROM_V6, TO_V6, TTL), Err(Malformed::Checksum(_))));
}

#[test]
fn the_link_local_address_is_put_in_front_and_other_families_are_left_out() {
    let mut mixed = advert_v6();
    mixed.addresses.reverse();
    mixed.addresses.push(FROM);
    let bytes = mixed.encode(ChecksumForm::default(), FROM_V6, TO_V6);
    assert_eq!(Advert::decode(&bytes, FROM_V6, TO_V6, TTL), Ok(advert_v6()));
}

#[test]
fn families_are_not_mixed() {
    assert_eq!(Advert::decode(&encoded(), FROM, TO_V6, TTL), Err(Malformed::Family));
    let of_ipv4_over_ipv6 = Advert::decode(&encoded(), FROM_V6, TO_V6, TTL);
    assert_eq!(of_ipv4_over_ipv6, Err(Malformed::Length { count: 1, expected: 24, actual: 12 }));
}

#[test]
fn every_malformation_is_counted_under_a_name_of_its_own() {
    let all = [
        Malformed::Ttl(1),
        Malformed::Short(0),
        Malformed::Version2,
        Malformed::Version(4),
        Malformed::Type(2),
        Malformed::Vrid,
        Malformed::Interval,
        Malformed::Length { count: 0, expected: 0, actual: 0 },
        Malformed::Checksum(0),
        Malformed::Family,
        Malformed::Empty,
    ];
    assert_eq!(all.map(|malformed| malformed.name()), Malformed::NAMES);
}

/// Both ends of a packet, of one family.
fn ends(v6: bool) -> (IpAddr, IpAddr) {
    if v6 { (FROM_V6, TO_V6) } else { (FROM, TO) }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..8192), v6: bool) {
        let (from, to) = ends(v6);
        let _ = Advert::decode(&bytes, from, to, TTL);
    }

    /// Random bytes hardly ever get past the header; those that begin like an advert do.
    #[test]
    fn bytes_that_pass_for_an_advert_take_no_more_room_than_they_have(
        header in (1..=255u8, any::<u8>(), 1..=255u8, 1..=0x0fffu16),
        list in proptest::collection::vec(any::<u8>(), 0..4096),
        v6: bool,
        flip in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let ((vrid, priority, count, interval), (from, to)) = (header, ends(v6));
        let size = if v6 { 16 } else { 4 };
        let mut bytes = vec![0x31, vrid, priority, count, (interval >> 8) as u8, interval as u8, 0, 0];
        bytes.extend(list.iter().copied().chain(std::iter::repeat(0)).take(usize::from(count) * size));
        let sum = !checksum(&bytes, ChecksumForm::PseudoHeader, from, to);
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        let whole = Advert::decode(&bytes, from, to, TTL);
        prop_assert_eq!(whole.as_ref().map(|advert| advert.addresses.len()), Ok(usize::from(count)));
        if let Some((index, value)) = flip {
            let index = index.index(bytes.len());
            bytes[index] = value;
            if let Ok(advert) = Advert::decode(&bytes, from, to, TTL) {
                prop_assert!(advert.addresses.len() * size <= bytes.len());
            }
        }
    }

    #[test]
    fn what_was_encoded_is_decoded(
        vrid in 1..=255u8,
        priority: u8,
        centiseconds in 1..=4095u64,
        v4 in proptest::collection::vec(any::<Ipv4Addr>(), 1..=255),
        v6 in proptest::collection::vec(any::<Ipv6Addr>(), 1..=255),
        is_v6: bool,
        message_only: bool,
    ) {
        let form = if message_only { ChecksumForm::MessageOnly } else { ChecksumForm::PseudoHeader };
        let interval = Duration::from_millis(centiseconds * 10);
        let mut addresses: Vec<IpAddr> =
            if is_v6 { v6.into_iter().map(Into::into).collect() } else { v4.into_iter().map(Into::into).collect() };
        addresses.sort_by_key(|address| !is_link_local(address));
        let (from, to) = ends(is_v6);
        let advert = Advert { vrid, priority, interval, addresses };
        prop_assert_eq!(Advert::decode(&advert.encode(form, from, to), from, to, TTL), Ok(advert));
    }
}
