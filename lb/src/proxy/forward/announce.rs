//! What an upstream is told of a client ahead of everything else: the PROXY protocol, versions 1 and 2
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>). Written by the crate `proxy-header`.
//!
//! With requests the client's port is not told (0), and what it connected to is said to be the upstream itself: neither is
//! known of one whose client is behind other proxies. Connections that are passed on as they come have both.

use std::net::{IpAddr, SocketAddr};

use proxy_header::{ProxiedAddress, ProxyHeader};
use wire::proxy_config::ProxyHeader as Version;

/// The header for a connection to `upstream` on behalf of `client`; none: on our own, as for a check.
pub(crate) fn header(version: Version, client: Option<IpAddr>, upstream: SocketAddr) -> Box<[u8]> {
    let header = match client {
        Some(client) => between(SocketAddr::new(client, 0), SocketAddr::new(upstream.ip(), 0)),
        None => ProxyHeader::with_local(),
    };
    written(version, &header).into()
}

/// The header for a connection that is passed on as it comes: of `client`, who connected to `destination`.
pub(crate) fn passing(version: Version, client: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    written(version, &between(client, destination))
}

fn between(client: SocketAddr, to: SocketAddr) -> ProxyHeader<'static> {
    let (from, destination) = alike(client.ip(), to.ip());
    let (from, to) = (SocketAddr::new(from, client.port()), SocketAddr::new(destination, to.port()));
    ProxyHeader::with_address(ProxiedAddress::stream(from, to))
}

fn written(version: Version, header: &ProxyHeader<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = match version {
        Version::V1 => header.encode_v1(&mut bytes),
        Version::V2 => header.encode_v2(&mut bytes),
    };
    if let Err(error) = written {
        // Addresses of one family can be written in either version.
        tracing::error!(%error, "a header of the PROXY protocol cannot be written");
    }
    bytes
}

/// Both as addresses of one family, as a header has them.
fn alike(one: IpAddr, other: IpAddr) -> (IpAddr, IpAddr) {
    let wide = |address: IpAddr| match address {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        IpAddr::V6(_) => address,
    };
    if one.is_ipv4() == other.is_ipv4() { (one, other) } else { (wide(one), wide(other)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_what_the_protocol_says() {
        let (client, upstream) = (IpAddr::from([192, 0, 2, 7]), SocketAddr::from(([10, 0, 0, 1], 80)));
        let v1 = header(Version::V1, Some(client), upstream);
        assert_eq!(&v1[..], b"PROXY TCP4 192.0.2.7 10.0.0.1 0 0\r\n");
        let v2 = header(Version::V2, Some(client), upstream);
        let addresses = [192, 0, 2, 7, 10, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(&v2[..], [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &addresses].concat());
        let mixed = header(Version::V1, Some("2001:db8::7".parse().expect("address")), upstream);
        assert_eq!(&mixed[..], b"PROXY TCP6 2001:db8::7 ::ffff:10.0.0.1 0 0\r\n");
    }

    #[test]
    fn what_is_passed_on_has_its_ports() {
        let (client, to) = ([192, 0, 2, 7], [198, 51, 100, 1]);
        let v1 = passing(Version::V1, (client, 4660).into(), (to, 3306).into());
        assert_eq!(v1, b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 3306\r\n");
        let v6 = SocketAddr::new("2001:db8::7".parse().expect("address"), 4660);
        let v2 = passing(Version::V2, v6, (to, 3306).into());
        assert_eq!(v2.len(), 16 + 36, "both as addresses of IPv6");
    }

    #[test]
    fn checks_speak_for_themselves() {
        let upstream = SocketAddr::from(([10, 0, 0, 1], 80));
        assert_eq!(&header(Version::V1, None, upstream)[..], b"PROXY UNKNOWN\r\n");
        assert_eq!(&header(Version::V2, None, upstream)[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    }
}
