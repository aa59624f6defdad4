//! What a proxy before us says of a client, ahead of everything else on its connection: the PROXY protocol, versions 1
//! and 2 (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>). Parsed by the crate `proxy-header`; here
//! is what it leaves to us: how much is read, and what is none at all.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};

use super::tls::failure::Failure;
use super::transport::Wire;
use crate::settings::ProxyProtocol;

/// How the headers of both versions begin.
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, in bytes (section 2.1).
const MAX_V1: usize = 107;

/// The longest header of version 2 that is taken, in bytes. The protocol allows 64 KiB; the addresses need 52, and a
/// few fields beside them, which are not needed here, a few hundred more.
const MAX_V2: usize = 4 << 10;

/// What a header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The client's address; none: the proxy connects on its own behalf, or does not know.
    pub(super) client: Option<IpAddr>,
    /// The same with its port, and what it connected to.
    pub(super) addresses: Option<(SocketAddr, SocketAddr)>,
    /// The client's connection to the proxy is encrypted.
    pub(super) is_secure: bool,
}

/// Whether `peer` may say who a client is.
pub(super) fn is_trusted(settings: &ProxyProtocol, peer: IpAddr) -> bool {
    let holds = |network: &IpNet| network.contains(&peer);
    settings.trusted.is_empty() || settings.trusted.iter().any(holds)
}

/// Reads the header; what comes after it stays in `wire`.
///
/// # Errors
///
/// When there is none that can be understood, or the connection ends.
pub(super) async fn read(wire: &mut Wire) -> Result<Told, Failure> {
    loop {
        if let Some((told, length)) = parse(&wire.ahead).map_err(|NoHeader| Failure::ProxyMalformed)? {
            wire.ahead.drain(..length);
            return Ok(told);
        }
        match wire.fill().await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(Failure::Closed),
        }
    }
}

/// It is no header, or none that is taken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NoHeader;

/// The header that `bytes` begin with and its length; none while it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(Told, usize)>, NoHeader> {
    let begins = |signature: &[u8]| bytes.iter().zip(signature).all(|(a, b)| a == b);
    let most = match bytes.first() {
        None => return Ok(None),
        Some(_) if begins(V1) => MAX_V1,
        Some(_) if begins(V2) => MAX_V2,
        Some(_) => return Err(NoHeader),
    };
    let unknown = bytes.strip_prefix(b"PROXY UNKNOWN").and_then(<[u8]>::first);
    if unknown.is_some_and(|&next| next != b' ' && next != b'\r') {
        return Err(NoHeader);
    }
    match ProxyHeader::parse(bytes, ParseConfig::default()) {
        Ok((_, length)) if length > most => Err(NoHeader),
        Ok((header, length)) => Ok(Some((told(&header), length))),
        // Of one that is shorter than its addresses the library would wait for more than there is.
        Err(Error::BufferTooShort) if bytes.len() < declared(bytes).unwrap_or(most).min(most) => Ok(None),
        Err(_) => Err(NoHeader),
    }
}

fn told(header: &ProxyHeader<'_>) -> Told {
    let address = header.proxied_address().filter(|address| address.protocol == Protocol::Stream);
    Told {
        client: address.map(|address| address.source.ip().to_canonical()),
        addresses: address.map(|address| (address.source, address.destination)),
        is_secure: address.is_some() && header.ssl().is_some_and(|ssl| ssl.client_ssl()),
    }
}

/// How long a header of version 2 says that it is, as soon as it says so; one that is too long is not waited for.
fn declared(bytes: &[u8]) -> Option<usize> {
    let Some(&[high, low]) = bytes.strip_prefix(V2)?.get(2..4) else { return None };
    let length = V2.len() + 4 + usize::from(u16::from_be_bytes([high, low]));
    Some(if length <= MAX_V2 { length } else { 0 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [V2, &[command, family], &length, rest].concat()
    }

    fn client(bytes: &[u8]) -> Option<Result<Option<IpAddr>, NoHeader>> {
        parse(bytes).map(|parsed| parsed.map(|(told, _)| told.client)).transpose()
    }

    #[test]
    fn both_versions_say_who_the_client_is_or_that_they_do_not() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().expect("address").octets());
        let mut mapped = v6;
        mapped[..16]
            .copy_from_slice(&"::ffff:192.0.2.7".parse::<std::net::Ipv6Addr>().expect("address").octets());
        let of_v4 = Some(IpAddr::from([192, 0, 2, 7]));
        let of_v6 = Some("2001:db8::7".parse().expect("address"));
        for (bytes, expected) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec(), of_v4),
            (b"PROXY TCP6 2001:db8::7 ::1 4660 80\r\n".to_vec(), of_v6),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4), of_v4),
            (v2(0x21, 0x21, &v6), of_v6),
            (v2(0x21, 0x21, &mapped), of_v4),
            // Fields after the addresses, even such as we do not know.
            (v2(0x21, 0x11, &[&v4[..], &[0xee, 0, 2, 1, 2]].concat()), of_v4),
            // LOCAL, whatever it says besides; UNSPEC; a Unix socket; datagrams, which nobody sends over TCP.
            (v2(0x20, 0x11, &v4), None),
            (v2(0x20, 0, &[]), None),
            (v2(0x21, 0, &[1, 2, 3]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
            (v2(0x21, 0x12, &v4), None),
        ] {
            assert_eq!(client(&bytes), Some(Ok(expected)), "{bytes:?}");
            for end in 0..bytes.len() {
                assert_eq!(client(&bytes[..end]), None, "{end} bytes of {bytes:?}");
            }
            let more = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&more).expect("a header").expect("complete").1, bytes.len());
        }
    }

    #[test]
    fn what_is_no_header_is_known_at_the_first_byte_that_tells() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];
        for bytes in [
            &b"G"[..],
            b"\r\n\r\n\0\r\nQUIX",
            b"PROXY_",
            b"PROXY TCP5 192.0.2.7 10.0.0.1 4660 80\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\r",
            b"PROXY TCP4 192.0.2.700 10.0.0.1 4660 80\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 70000 80\r\n",
            b"PROXY TCP4 2001:db8::7 ::1 4660 80\r\n",
            b"PROXY UNKNOWNS\r\n",
            &v2(0x31, 0x11, &v4),
            &v2(0x22, 0x11, &v4),
            &v2(0x21, 0x41, &v4),
            &v2(0x21, 0x11, &v4[..11]),
        ] {
            assert_eq!(client(bytes), Some(Err(NoHeader)), "{bytes:?}");
        }
    }

    #[test]
    fn a_header_has_its_length_and_no_more() {
        let line = |length: usize| {
            let mut line = b"PROXY UNKNOWN ".to_vec();
            line.resize(length - 2, b'x');
            [&line[..], b"\r\n"].concat()
        };
        assert_eq!(client(&line(MAX_V1)), Some(Ok(None)));
        assert_eq!(client(&line(MAX_V1 + 1)), Some(Err(NoHeader)));
        assert_eq!(client(&line(2 * MAX_V1)[..MAX_V1]), Some(Err(NoHeader)), "not even waited for");
        let fits = v2(0x20, 0, &vec![0; MAX_V2 - 16]);
        assert_eq!(client(&fits), Some(Ok(None)));
        let larger = v2(0x20, 0, &vec![0; MAX_V2 - 15]);
        assert_eq!(client(&larger), Some(Err(NoHeader)));
        assert_eq!(client(&larger[..16]), Some(Err(NoHeader)), "known when it says its length");
    }

    #[test]
    fn whether_the_client_came_over_tls_is_in_a_field_of_its_own() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];
        let with = |flags: u8| v2(0x21, 0x11, &[&v4[..], &[0x20, 0, 5, flags, 0, 0, 0, 0]].concat());
        let is_secure = |bytes: &[u8]| parse(bytes).expect("header").expect("complete").0.is_secure;
        assert!(is_secure(&with(1)));
        assert!(!is_secure(&with(0)));
        assert!(!is_secure(&v2(0x21, 0x11, &v4)));
    }

    #[test]
    fn only_those_of_the_list_are_trusted_where_there_is_one() {
        let settings = ProxyProtocol { trusted: vec!["10.0.0.0/8".parse().expect("network")] };
        assert!(is_trusted(&settings, IpAddr::from([10, 1, 2, 3])));
        assert!(!is_trusted(&settings, IpAddr::from([11, 1, 2, 3])));
        assert!(is_trusted(&ProxyProtocol::default(), IpAddr::from([11, 1, 2, 3])));
    }

    proptest! {
        #[test]
        fn anything_may_come(start in 0..3usize, rest in prop::collection::vec(any::<u8>(), 0..5000)) {
            let bytes = [[&b""[..], V1, V2][start], &rest].concat();
            if let Ok(Some((_, length))) = parse(&bytes) {
                prop_assert!(length <= bytes.len().min(MAX_V2));
            }
        }
    }
}
