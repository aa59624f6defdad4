//! How upstreams are told who a client is: in `X-Forwarded-For` and its like, in `Forwarded` (RFC 7239), or not at all.
//!
//! What a client says of that itself is not passed on, not even as the beginning of a list: upstreams need not know how
//! many entries they may believe, as all that they get is true.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::HeaderValue;
use http::header::{self, HeaderName};
use pingora_error::{ErrorType, OrErr as _, Result};
use pingora_http::RequestHeader;
use wire::clients::Forwarded;

use super::super::address;
use super::super::headers::Origin;

const FOR: &str = "x-forwarded-for";
const HOST: &str = "x-forwarded-host";
const PROTO: &str = "x-forwarded-proto";
const FORWARDED: &str = "forwarded";

/// Tells of the client `origin` in the header of `request`.
///
/// # Errors
///
/// Where a value cannot be a header field, which those that are made here always can.
pub(crate) fn tell(request: &mut RequestHeader, origin: &Origin, forwarded: Forwarded) -> Result<()> {
    let is_trusted = origin.told.is_some();
    let names = request.headers.keys().filter(|name| !may_stay(name.as_str(), is_trusted));
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        request.remove_header(&name);
    }
    let host = request.headers.get(header::HOST).cloned();
    let mut told = Ok(());
    say(host.as_ref().map(HeaderValue::as_bytes), origin, forwarded, |name, value| {
        let value = HeaderValue::from_bytes(value).or_err(ErrorType::InvalidHTTPHeader, name);
        told = std::mem::replace(&mut told, Ok(()))
            .and(value)
            .and_then(|value| request.insert_header(name, value));
    });
    told
}

/// Says to `add` the fields that tell of the client `origin`, which has asked for `host`.
pub(crate) fn say(
    host: Option<&[u8]>,
    origin: &Origin,
    forwarded: Forwarded,
    mut add: impl FnMut(&'static str, &[u8]),
) {
    let (by_x, by_name) = match forwarded {
        Forwarded::XForwarded => (true, false),
        Forwarded::Forwarded => (false, true),
        Forwarded::Both => (true, true),
        Forwarded::Off => return,
    };
    let hops = origin.told.as_deref().map_or(&[][..], |told| &told.hops);
    if by_x {
        let mut list = Vec::with_capacity((hops.len() + 1) * address::LONGEST);
        for hop in hops {
            address::write(&mut list, *hop);
            list.extend_from_slice(b", ");
        }
        address::write(&mut list, origin.peer);
        add("X-Forwarded-For", &list);
        add("X-Forwarded-Proto", origin.sender().scheme().as_bytes());
    }
    if by_name {
        add("Forwarded", list(hops, origin, host.unwrap_or_default()).as_bytes());
    }
    if let Some(host) = host.filter(|_| by_x) {
        add("X-Forwarded-Host", host);
    }
}

/// Whether what came in a field of this name may go on to upstreams. Many of them take `_` for `-`.
pub(crate) fn may_stay(name: &str, is_trusted: bool) -> bool {
    // Most names are done with here.
    if !name.starts_with(['x', 'f']) {
        return true;
    }
    let plain = name.replace('_', "-");
    match plain.as_str() {
        FOR | HOST | PROTO | FORWARDED => false,
        "x-real-ip" => is_trusted && plain == name,
        _ if plain.starts_with("x-forwarded") => is_trusted && plain == name,
        _ => true,
    }
}

/// The value of `Forwarded`: the client, the proxies that it came by, and who came to us.
fn list(hops: &[IpAddr], origin: &Origin, host: &[u8]) -> String {
    let mut list = String::new();
    let client = origin.sender().scheme();
    for (index, hop) in hops.iter().enumerate() {
        node(&mut list, *hop);
        let _ = if index == 0 { write!(list, ";proto={client}, ") } else { write!(list, ", ") };
    }
    node(&mut list, origin.peer);
    let own = if origin.is_secure { "https" } else { "http" };
    let _ = write!(list, ";proto={}", if hops.is_empty() { client } else { own });
    // One that is no text is left out rather than changed.
    if let Some(host) = std::str::from_utf8(host).ok().filter(|host| !host.is_empty() && host.is_ascii()) {
        list.push_str(";host=\"");
        for letter in host.chars() {
            if matches!(letter, '"' | '\\') {
                list.push('\\');
            }
            list.push(letter);
        }
        list.push('"');
    }
    list
}

/// RFC 7239, section 6: an address of IPv6 has brackets, and so quotes.
fn node(list: &mut String, address: IpAddr) {
    let _ = match address {
        IpAddr::V4(address) => write!(list, "for={address}"),
        IpAddr::V6(address) => write!(list, "for=\"[{address}]\""),
    };
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::hops::Told;
    use super::*;

    const SAID: [(&str, &str); 9] = [
        ("Host", "example.org:8080"),
        ("X-Forwarded-For", "203.0.113.9, 198.51.100.7"),
        ("X_Forwarded_For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "bank.example"),
        ("X-Forwarded-Port", "443"),
        ("X-Real-IP", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9"),
        ("X-Other", "2"),
    ];

    fn told_of(said: &[(&'static str, &str)], told: Option<Told>, forwarded: Forwarded) -> Vec<String> {
        let mut request = RequestHeader::build("GET", b"/", None).expect("request");
        for (name, value) in said {
            request.append_header(*name, *value).expect("header");
        }
        let told = told.map(Arc::new);
        let origin = Origin { peer: [10, 0, 0, 1].into(), is_secure: false, certificate: None, told };
        tell(&mut request, &origin, forwarded).expect("told");
        let line = |(name, value): (&HeaderName, &http::HeaderValue)| {
            format!("{name}: {}", value.to_str().expect("text"))
        };
        let mut lines: Vec<_> = request.headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn what_strangers_say_is_replaced() {
        for (forwarded, told) in [
            (Forwarded::Off, &[][..]),
            (Forwarded::Forwarded, &["forwarded: for=10.0.0.1;proto=http;host=\"example.org:8080\""]),
            (
                Forwarded::XForwarded,
                &[
                    "x-forwarded-for: 10.0.0.1",
                    "x-forwarded-host: example.org:8080",
                    "x-forwarded-proto: http",
                ],
            ),
        ] {
            let mut expected = vec!["host: example.org:8080", "x-other: 2"];
            expected.extend(told);
            expected.sort_unstable();
            assert_eq!(told_of(&SAID, None, forwarded), expected);
        }
    }

    #[test]
    fn of_what_trusted_proxies_say_upstreams_get_what_is_true() {
        let client = "2001:db8::7".parse().expect("address");
        let told = Told { client, is_secure: Some(true), hops: vec![client, [10, 0, 0, 2].into()] };
        assert_eq!(
            told_of(&SAID, Some(told), Forwarded::Both),
            [
                "forwarded: for=\"[2001:db8::7]\";proto=https, for=10.0.0.2, \
                 for=10.0.0.1;proto=http;host=\"example.org:8080\"",
                "host: example.org:8080",
                "x-forwarded-for: 2001:db8::7, 10.0.0.2, 10.0.0.1",
                "x-forwarded-host: example.org:8080",
                "x-forwarded-port: 443",
                "x-forwarded-proto: https",
                "x-other: 2",
                "x-real-ip: 203.0.113.9",
            ]
        );
    }

    #[test]
    fn a_request_without_host_is_for_no_host_whatever_it_says() {
        let lines = told_of(&[("X-Forwarded-Host", "bank.example")], None, Forwarded::Both);
        let expected =
            ["forwarded: for=10.0.0.1;proto=http", "x-forwarded-for: 10.0.0.1", "x-forwarded-proto: http"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_host_cannot_break_out_of_its_quotes() {
        let lines = told_of(&[("Host", "a\";for=6.6.6.6\\")], None, Forwarded::Forwarded);
        assert_eq!(lines[0], r#"forwarded: for=10.0.0.1;proto=http;host="a\";for=6.6.6.6\\""#);
    }
}
