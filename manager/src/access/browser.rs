//! Changes that a page on the web had a browser send.
//!
//! Before `init`, an address is all that is asked for, and a browser on this host or a peer has the right one.
//! Any page that is open in it can make it send simple requests, and one whose name was made to point here
//! (DNS rebinding) even reads the answers. Programs send none of these headers; our own page under
//! `/swagger-ui/` passes. Fetch standard: `Sec-Fetch-Site`; RFC 6454, section 7: `Origin`.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

/// Why a request with these headers must not be taken from somebody known by address alone.
pub(super) fn objection(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    if let Some(site) = text("sec-fetch-site").filter(|site| !matches!(*site, "same-origin" | "none")) {
        return Some(format!("a page of another site ({site}) had a browser send this: that is not taken"));
    }
    let host = text(header::HOST.as_str()).unwrap_or_default();
    if let Some(origin) = text(header::ORIGIN.as_str())
        && origin.split_once("://").map(|(_, authority)| authority) != Some(host)
    {
        return Some(format!("a page of {origin} had a browser send this: that is not taken"));
    }
    if host.is_empty() || is_own_name(host) {
        return None;
    }
    Some(format!("ask by address instead of by the name {host}: names can be made to point anywhere"))
}

/// Nobody can make an address mean another one.
fn is_own_name(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = without_port.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), header::HeaderValue::from_static(value))
        });
        objection(&headers.collect()).is_some()
    }

    #[test]
    fn programs_and_our_own_page_pass_and_other_pages_do_not() {
        let host = ("host", "192.168.10.1:8080");
        assert!(!objects(&[host]));
        assert!(!objects(&[("host", "[::1]:8080")]));
        assert!(!objects(&[("host", "localhost")]));
        assert!(!objects(&[host, ("origin", "http://192.168.10.1:8080"), ("sec-fetch-site", "same-origin")]));
        assert!(objects(&[host, ("origin", "http://evil.example")]));
        assert!(objects(&[host, ("origin", "null")]));
        assert!(objects(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(objects(&[host, ("sec-fetch-site", "same-site")]));
        // A name that was made to point here: to the browser it is the same origin.
        let rebound = [("host", "evil.example:8080"), ("origin", "http://evil.example:8080")];
        assert!(objects(&rebound));
        assert!(objects(&[rebound[0], ("sec-fetch-site", "same-origin")]));
    }
}
