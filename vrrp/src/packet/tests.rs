//! Every malformation by name, both checksums, and the promise that no bytes make it panic.

use proptest::prelude::*;

use super::*;

const FROM: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 10);

fn advert() -> Advert {
    Advert {
        vrid: 50,
        priority: 240,
        interval: Duration::from_millis(100),
        addresses: vec![Ipv4Addr::new(192, 168, 10, 120)],
    }
}

fn encoded() -> Vec<u8> {
    advert().encode(ChecksumForm::PseudoHeader, FROM, MULTICAST)
}

fn decode(bytes: &[u8]) -> Result<Advert, Malformed> {
    Advert::decode(bytes, FROM, MULTICAST, TTL)
}

/// Decodes an advert in which one byte was changed and the checksum made right again.
fn with_byte(index: usize, value: u8) -> Result<Advert, Malformed> {
    let mut bytes = encoded();
    bytes[index] = value;
    bytes[6..8].fill(0);
    let sum = !checksum(&bytes, ChecksumForm::MessageOnly, FROM, MULTICAST);
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    decode(&bytes)
}

#[test]
fn the_bytes_are_those_of_the_rfc() {
    let bytes = advert().encode(ChecksumForm::MessageOnly, FROM, MULTICAST);
    assert_eq!(bytes, [0x31, 50, 240, 1, 0, 10, 0x13, 0xa1, 192, 168, 10, 120]);
}

#[test]
fn each_malformation_has_its_name() {
    assert_eq!(Advert::decode(&encoded(), FROM, MULTICAST, 254), Err(Malformed::Ttl(254)));
    assert_eq!(decode(&encoded()[..7]), Err(Malformed::Short(7)));
    assert_eq!(with_byte(0, 0x21), Err(Malformed::Version2));
    assert_eq!(with_byte(0, 0x41), Err(Malformed::Version(4)));
    assert_eq!(with_byte(0, 0x32), Err(Malformed::Type(2)));
    assert_eq!(with_byte(1, 0), Err(Malformed::Vrid));
    assert_eq!(with_byte(5, 0), Err(Malformed::Interval));
    assert_eq!(with_byte(3, 2), Err(Malformed::Length { count: 2, expected: 16, actual: 12 }));
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
        decode(&advert.encode(ChecksumForm::default(), FROM, MULTICAST)).map(|advert| advert.interval)
    };
    assert_eq!(said(Duration::ZERO), Ok(Duration::from_millis(10)));
    assert_eq!(said(Duration::from_secs(60)), Ok(MAX_INTERVAL));
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn what_was_encoded_is_decoded(
        vrid in 1..=255u8,
        priority: u8,
        centiseconds in 1..=4095u64,
        addresses in proptest::collection::vec(any::<Ipv4Addr>(), 0..=255),
        message_only: bool,
    ) {
        let form = if message_only { ChecksumForm::MessageOnly } else { ChecksumForm::PseudoHeader };
        let interval = Duration::from_millis(centiseconds * 10);
        let advert = Advert { vrid, priority, interval, addresses };
        prop_assert_eq!(decode(&advert.encode(form, FROM, MULTICAST)), Ok(advert));
    }
}
