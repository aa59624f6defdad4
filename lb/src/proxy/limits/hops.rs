//! Who a client is, behind proxies of which some are trusted.
//!
//! Each proxy adds at the right who came to it, so only the right end of the list can be believed: from there on as far
//! as those who added are trusted. The first that is not trusted is the client; what stands left of it, it said itself.
//!
//! ```text
//!   X-Forwarded-For: 203.0.113.9,   198.51.100.7,   10.0.0.2      from the peer 10.0.0.1
//!                    said by the     the client     trusted              trusted
//!                    client
//! ```

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use wire::clients::ClientFrom;
use wire::proxy_config::ProxyConfig;

use super::networks::Networks;

/// The most addresses of a list that are looked at. Longer lists end there.
const MAX_HOPS: usize = 32;

/// Whom to believe.
#[derive(Debug, Default)]
pub(crate) struct Belief {
    trusted: Networks,
    from: ClientFrom,
}

/// What a trusted proxy says of a request's client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The client's address; the proxy's own where it says nothing that can be understood.
    pub(crate) client: IpAddr,
    /// Whether the client's connection is encrypted, where that is said.
    pub(crate) is_secure: Option<bool>,
    /// Those it came by, the client first and without the peer.
    pub(crate) hops: Vec<IpAddr>,
}

impl Belief {
    /// What `config` says.
    pub(crate) fn new(config: &ProxyConfig) -> Self {
        Belief { trusted: Networks::new(&config.trusted_proxies), from: config.client_from }
    }

    /// Whether `peer` is a proxy that is believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        !self.trusted.is_empty() && self.trusted.contains(peer)
    }

    /// What `peer` says in the header that `headers` returns, if it is believed.
    pub(crate) fn told<'a>(&self, headers: impl FnOnce() -> &'a HeaderMap, peer: IpAddr) -> Option<Told> {
        if !self.trusts(peer) {
            return None;
        }
        let headers = headers();
        let mut told = Told { client: peer, is_secure: None, hops: Vec::new() };
        match self.from {
            ClientFrom::XForwarded => {
                let values = headers.get_all("x-forwarded-for").iter().rev();
                let hops = values.flat_map(|value| value.as_bytes().rsplit(|&byte| byte == b','));
                self.follow(&mut told, hops.map(|hop| Hop { node: node(hop.trim_ascii()), is_secure: None }));
                let schemes = headers.get_all("x-forwarded-proto").iter().next_back();
                let last = schemes.and_then(|value| value.as_bytes().rsplit(|&byte| byte == b',').next());
                told.is_secure = last.and_then(scheme);
            }
            ClientFrom::Forwarded => {
                let values = headers.get_all("forwarded").iter().rev();
                self.follow(&mut told, values.flat_map(|value| elements(value.as_bytes())));
            }
        }
        told.hops.reverse();
        Some(told)
    }

    /// Goes along `hops`, the last one first, until one is not trusted or cannot be understood.
    fn follow(&self, told: &mut Told, hops: impl Iterator<Item = Hop>) {
        for Hop { node, is_secure } in hops.take(MAX_HOPS) {
            match node {
                // An empty element is none (RFC 9110, section 5.6.1.2).
                Node::Nothing => {}
                Node::Unknown => return,
                Node::Address(address) => {
                    told.client = address;
                    told.is_secure = is_secure;
                    told.hops.push(address);
                    if !self.trusted.contains(address) {
                        return;
                    }
                }
            }
        }
    }
}

/// One element of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hop {
    node: Node,
    is_secure: Option<bool>,
}

/// Who came to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    /// An empty element.
    Nothing,
    /// No address, or nothing that could be understood.
    Unknown,
    Address(IpAddr),
}

/// The node that `text` names: an address, with or without a port; one of IPv6 may have brackets.
fn node(text: &[u8]) -> Node {
    if text.is_empty() {
        return Node::Nothing;
    }
    let Ok(text) = std::str::from_utf8(text) else { return Node::Unknown };
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().map(IpAddr::from).ok(),
        None => text.parse().ok().or_else(|| text.parse().map(|with: SocketAddr| with.ip()).ok()),
    };
    address.map_or(Node::Unknown, |address| Node::Address(address.to_canonical()))
}

/// Whether `text` names the scheme of encrypted connections, or that of plain ones.
fn scheme(text: &[u8]) -> Option<bool> {
    let text = text.trim_ascii();
    let secure = [&b"https"[..], b"wss"].iter().any(|name| text.eq_ignore_ascii_case(name));
    let plain = [&b"http"[..], b"ws"].iter().any(|name| text.eq_ignore_ascii_case(name));
    (secure || plain).then_some(secure)
}

/// The elements of a value of `Forwarded` (RFC 7239, section 4), the last one first. It is read from its end, so that
/// whatever a client has left open at the beginning, a quote for instance, does not hide what proxies have added.
fn elements(value: &[u8]) -> impl Iterator<Item = Hop> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let (before, last) = split_last(rest?);
        rest = before;
        Some(element(last).unwrap_or(Hop { node: Node::Unknown, is_secure: None }))
    })
}

/// What is before the last comma of `list` that is not quoted, if there is one, and what is behind it.
fn split_last(list: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut quoted = false;
    for (index, byte) in list.iter().enumerate().rev() {
        match byte {
            b'"' => {
                let escapes = list[..index].iter().rev().take_while(|&&byte| byte == b'\\').count();
                quoted ^= escapes % 2 == 0;
            }
            b',' if !quoted => return (Some(&list[..index]), &list[index + 1..]),
            _ => {}
        }
    }
    (None, list)
}

/// The hop that an element tells of; none: it is not written as it should be.
fn element(text: &[u8]) -> Option<Hop> {
    let mut hop = Hop { node: Node::Unknown, is_secure: None };
    let mut rest = text.trim_ascii();
    if rest.is_empty() {
        return Some(Hop { node: Node::Nothing, ..hop });
    }
    let mut names = (false, false);
    while !rest.is_empty() {
        let (name, behind) = rest.split_at(rest.iter().take_while(|&&byte| is_token(byte)).count());
        let (value, behind) = value(behind.strip_prefix(b"=")?)?;
        // Each may be there once.
        if name.eq_ignore_ascii_case(b"for") {
            if std::mem::replace(&mut names.0, true) {
                return None;
            }
            hop.node = match node(&value) {
                Node::Nothing => Node::Unknown,
                node => node,
            };
        } else if name.eq_ignore_ascii_case(b"proto") {
            if std::mem::replace(&mut names.1, true) {
                return None;
            }
            hop.is_secure = scheme(&value);
        } else if name.is_empty() {
            return None;
        }
        let behind = behind.trim_ascii_start();
        if behind.is_empty() {
            break;
        }
        rest = behind.strip_prefix(b";")?.trim_ascii_start();
    }
    Some(hop)
}

/// The token or quoted string (RFC 9110, section 5.6.4) that `text` begins with, and what is behind it.
fn value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        // Brackets and colons have to be quoted and often are not.
        let is_part = |byte: u8| is_token(byte) || matches!(byte, b':' | b'[' | b']');
        let length = text.iter().take_while(|&&byte| is_part(byte)).count();
        return (length > 0).then(|| (text[..length].to_vec(), &text[length..]));
    };
    let mut value = Vec::new();
    loop {
        match *rest {
            [b'"', ref behind @ ..] => return Some((value, behind)),
            [b'\\', byte, ref behind @ ..] => {
                value.push(byte);
                rest = behind;
            }
            [byte, ref behind @ ..] if byte != b'\\' => {
                value.push(byte);
                rest = behind;
            }
            _ => return None,
        }
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn belief(from: ClientFrom) -> Belief {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect("network"));
        Belief { trusted: Networks::new(&trusted), from }
    }

    fn told(from: ClientFrom, fields: &[(&'static str, &str)]) -> (String, Option<bool>, usize) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("value"));
        }
        let told = belief(from).told(|| &headers, [10, 0, 0, 1].into()).expect("trusted");
        (told.client.to_string(), told.is_secure, told.hops.len())
    }

    #[test]
    fn the_client_is_the_last_that_is_not_trusted() {
        for (values, client, hops) in [
            (&[][..], "10.0.0.1", 0),
            (&["198.51.100.7"], "198.51.100.7", 1),
            (&["203.0.113.9, 198.51.100.7"], "198.51.100.7", 1),
            (&["203.0.113.9, 198.51.100.7 ,10.0.0.2"], "198.51.100.7", 2),
            (&["203.0.113.9", "198.51.100.7", "10.0.0.2"], "198.51.100.7", 2),
            (&["203.0.113.9, 198.51.100.7,, 10.0.0.2, "], "198.51.100.7", 2),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3", 2),
            (&["198.51.100.7:4711"], "198.51.100.7", 1),
            (&["2001:db8::7, [fd00::1]:80, [fd00::2], fd00::3"], "2001:db8::7", 4),
            (&["::ffff:198.51.100.7, ::ffff:10.0.0.2"], "198.51.100.7", 2),
            // What cannot be understood ends the search at the last that could.
            (&["198.51.100.7, unknown, 10.0.0.2"], "10.0.0.2", 1),
            (&["198.51.100.7, 10.0.0.999, 10.0.0.2"], "10.0.0.2", 1),
            (&["198.51.100.7 10.0.0.2"], "10.0.0.1", 0),
            (&["198.51.100.7, \"10.0.0.2\""], "10.0.0.1", 0),
            (&["198.51.100.7, [10.0.0.2]"], "10.0.0.1", 0),
        ] {
            let fields: Vec<_> = values.iter().map(|&value| ("x-forwarded-for", value)).collect();
            let found = told(ClientFrom::XForwarded, &fields);
            assert_eq!(found, (client.to_owned(), None, hops), "{values:?}");
            // Nobody asked for these.
            let fields: Vec<_> = values.iter().map(|&value| ("forwarded", value)).collect();
            assert_eq!(told(ClientFrom::XForwarded, &fields).0, "10.0.0.1");
        }
    }

    #[test]
    fn forwarded_says_the_same_in_its_own_way() {
        for (values, client, is_secure) in [
            (&["for=198.51.100.7"][..], "198.51.100.7", None),
            (&["For=\"198.51.100.7:4711\";Proto=HTTPS;by=_me"], "198.51.100.7", Some(true)),
            (
                &["for=\"[2001:db8::7]:80\" ; proto=http, for=10.0.0.2;proto=https"],
                "2001:db8::7",
                Some(false),
            ),
            (&["for=203.0.113.9, for=198.51.100.7;host=\"a,b;c\\\"\"", "for=10.0.0.2"], "198.51.100.7", None),
            (&["for=[2001:db8::7]"], "2001:db8::7", None),
            (&["for=198.51.100.7, for=_hidden, for=10.0.0.2"], "10.0.0.2", None),
            (&["for=198.51.100.7, proto=https, for=10.0.0.2"], "10.0.0.2", None),
            (&["for=198.51.100.7,, for=10.0.0.2,"], "198.51.100.7", None),
            (&["for=198.51.100.7;, for=10.0.0.2;"], "198.51.100.7", None),
            (&["for=198.51.100.7;host=\"a, for=6.6.6.6\", for=10.0.0.2"], "198.51.100.7", None),
            // What is left open on the left does not hide what comes behind it.
            (&["for=\"203.0.113.9, for=198.51.100.7, for=10.0.0.2"], "198.51.100.7", None),
            (&["for=198.51.100.7, for=\"10.0.0.2"], "10.0.0.1", None),
            (&["for=198.51.100.7, for=10.0.0.2;for=10.0.0.3"], "10.0.0.1", None),
            (&["for=198.51.100.7 for=10.0.0.2"], "10.0.0.1", None),
            (&["198.51.100.7"], "10.0.0.1", None),
            (&["for=", "for=10.0.0.2"], "10.0.0.2", None),
            (&["=x, for=10.0.0.2"], "10.0.0.2", None),
        ] {
            let fields: Vec<_> = values.iter().map(|&value| ("forwarded", value)).collect();
            let (found, secure, _) = told(ClientFrom::Forwarded, &fields);
            assert_eq!((found.as_str(), secure), (client, is_secure), "{values:?}");
        }
    }

    #[test]
    fn the_scheme_is_that_of_the_last_who_said_it() {
        for (values, expected) in [
            (&["https"][..], Some(true)),
            (&["HTTP"], Some(false)),
            (&["https, http"], Some(false)),
            (&["http", "wss"], Some(true)),
            (&["gopher"], None),
        ] {
            let fields: Vec<_> = values.iter().map(|&value| ("x-forwarded-proto", value)).collect();
            assert_eq!(told(ClientFrom::XForwarded, &fields).1, expected, "{values:?}");
        }
    }

    #[test]
    fn a_list_is_followed_so_far_and_no_further() {
        for (count, client, hops) in
            [(MAX_HOPS - 1, "198.51.100.7", MAX_HOPS), (MAX_HOPS, "10.0.0.2", MAX_HOPS)]
        {
            let list = format!("198.51.100.7{}", ", 10.0.0.2".repeat(count));
            let found = told(ClientFrom::XForwarded, &[("x-forwarded-for", &list)]);
            assert_eq!(found, (client.to_owned(), None, hops));
            let list = format!("for=198.51.100.7{}", ", for=10.0.0.2".repeat(count));
            assert_eq!(told(ClientFrom::Forwarded, &[("forwarded", &list)]).0, client);
        }
    }

    #[test]
    fn who_is_not_trusted_is_not_asked() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "198.51.100.7".parse().expect("value"));
        assert_eq!(belief(ClientFrom::XForwarded).told(|| &headers, [11, 0, 0, 1].into()), None);
        assert_eq!(Belief::default().told(|| &headers, [10, 0, 0, 1].into()), None);
    }

    proptest! {
        #[test]
        fn whatever_is_left_of_the_client_changes_nothing(
            left in "[ -~]{0,60}", client in any::<u32>(), proxies in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let client = std::net::Ipv4Addr::from_bits(client | 0x8000_0000);
            let chain = |name: &str| {
                let proxies: String = proxies.iter().map(|last| format!(", {name}10.0.0.{last}")).collect();
                format!("{left}, {name}{client}{proxies}")
            };
            let found = told(ClientFrom::XForwarded, &[("x-forwarded-for", &chain(""))]);
            prop_assert_eq!(&found.0, &client.to_string());
            let found = told(ClientFrom::Forwarded, &[("forwarded", &chain("for="))]);
            prop_assert_eq!(&found.0, &client.to_string());
        }
    }
}
