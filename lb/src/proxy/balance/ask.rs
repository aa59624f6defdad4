//! What the choice of an upstream depends on in a request. Made once for each, without allocating.

use std::net::IpAddr;

use http::{HeaderMap, header};
use pingora_http::RequestHeader;
use wire::balancing::{Algorithm, HashKey};

use super::super::asked::Asked;
use super::super::state::pool::Pool;
use super::hash;
use super::latency::Kind;

/// One request, as balancing sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ask {
    /// What the hashing algorithms go by.
    pub(crate) key: Option<u64>,
    /// Its place among the upstreams with a cookie, where the request brought a genuine one.
    pub(crate) sticky: Option<usize>,
    /// What is usual for it.
    pub(crate) kind: Kind,
    /// Whether it may be sent more than once, and can be.
    pub(crate) repeatable: bool,
    /// Whether all of it was there before it was sent, so that the time it takes is the upstream's.
    pub(crate) at_hand: bool,
}

impl Ask {
    /// What the request `asked` by `client` asks of `pool`.
    pub(crate) fn of(pool: &Pool, asked: Asked<'_>, client: IpAddr) -> Self {
        let balance = &pool.policy.balance;
        let key = match balance.algorithm {
            Algorithm::PeakEwma | Algorithm::RoundRobin | Algorithm::LeastRequests => None,
            Algorithm::RingHash | Algorithm::Maglev => key_of(&balance.hash_key, asked.header(), client),
        };
        let sticky =
            pool.sticky().and_then(|sticky| sticky.genuine(cookie(asked.headers(), sticky.cookie())?));
        let kind = Kind::of(asked.method().as_str(), asked.path());
        Ask { key, sticky, kind, repeatable: false, at_hand: false }
    }
}

/// The hash of what `key` names in `request` from `client`, if it is there.
pub(crate) fn key_of(key: &HashKey, request: &RequestHeader, client: IpAddr) -> Option<u64> {
    match key {
        HashKey::Client => Some(client_key(client)),
        HashKey::Path => Some(hash::hash(request.uri.path().as_bytes())),
        HashKey::Header(name) => request.headers.get(name.as_str()).map(|value| hash::hash(value.as_bytes())),
        HashKey::Cookie(name) => cookie(&request.headers, name).map(hash::hash),
    }
}

/// The hash of a client's address.
pub(crate) fn client_key(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(client) => hash::hash(&client.octets()),
        IpAddr::V6(client) => hash::hash(&client.octets()),
    }
}

/// The value of the first cookie of this name (RFC 6265, section 4.2).
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b';'))
        .find_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "xid=1; id = no;id2=3".parse().expect("value"));
        headers.append(header::COOKIE, " id=\"the one\"; id=other".parse().expect("value"));
        assert_eq!(cookie(&headers, "id"), Some(&b"the one"[..]));
        assert_eq!(cookie(&headers, "missing"), None);
    }
}
