//! Makes a request of HTTP/2 one that the rest of the way takes for any other: with a `Host`, a path alone, and one
//! `Cookie`. What could be understood in two ways is refused here; h2 has refused what breaks the rules of the
//! protocol's own (unknown or missing pseudo-fields, fields of a connection, upper case: RFC 9113, section 8.2 and 8.3).

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Method, StatusCode, Uri, request};
use pingora_core::protocols::http::authority::validate_request_authority;
use pingora_http::RequestHeader;

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is malformed: its stream is reset (RFC 9113, section 8.1.1).
    Malformed,
    /// It is answered with this status.
    Status(StatusCode),
}

/// The head of a request, from what h2 read.
///
/// # Errors
///
/// What becomes of a request that cannot be taken.
pub(super) fn head(mut parts: request::Parts) -> Result<RequestHeader, Unusable> {
    // Tunnels, RFC 8441's WebSockets among them, are not offered.
    if parts.method == Method::CONNECT {
        return Err(Unusable::Status(StatusCode::METHOD_NOT_ALLOWED));
    }
    one_length(&parts.headers)?;
    let host = host(&parts)?;
    parts.headers.insert(header::HOST, host);
    let path = parts.uri.path_and_query().cloned().ok_or(Unusable::Malformed)?;
    let is_path = path.as_str().starts_with('/') || (path == "*" && parts.method == Method::OPTIONS);
    if !is_path || path.as_str().bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(Unusable::Malformed);
    }
    parts.uri = Uri::from(path);
    join_cookies(&mut parts.headers)?;
    let head = RequestHeader::from(parts);
    match validate_request_authority(&head) {
        Ok(()) => Ok(head),
        Err(_) => Err(Unusable::Status(StatusCode::BAD_REQUEST)),
    }
}

/// `:authority` is what `Host` is in HTTP/1, and both have to say the same (RFC 9113, section 8.3.1).
fn host(parts: &request::Parts) -> Result<HeaderValue, Unusable> {
    let bad = Unusable::Status(StatusCode::BAD_REQUEST);
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err(bad);
    }
    let authority = parts.uri.authority().map(Authority::as_str);
    match (authority, host) {
        (Some(authority), Some(host)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            Err(bad)
        }
        (Some(authority), _) if authority.contains('@') => Err(bad),
        (Some(authority), _) => HeaderValue::from_str(authority).map_err(|_| bad),
        (None, Some(host)) => Ok(host.clone()),
        (None, None) => Err(bad),
    }
}

/// Refuses lengths that contradict each other; h2 compares only the first one with the body.
fn one_length(headers: &HeaderMap) -> Result<(), Unusable> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(()) };
    let is_number = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    if is_number && lengths.next().is_none() { Ok(()) } else { Err(Unusable::Malformed) }
}

/// Joins cookies that were sent apart to be compressed better (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) -> Result<(), Unusable> {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return Ok(());
    }
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])).map_err(|_| Unusable::Malformed)?;
    headers.insert(header::COOKIE, joined);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> request::Parts {
        let mut request = http::Request::builder().method(method).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("request").into_parts().0
    }

    #[test]
    fn a_request_gets_a_host_a_path_and_one_cookie() {
        let fields = [("cookie", "a=1"), ("cookie", "b=2"), ("x", "1")];
        let head = head(parts("GET", "http://example.org:8080/a?b=c", &fields)).expect("taken");
        assert_eq!(head.headers["host"], "example.org:8080");
        assert_eq!(head.raw_path(), b"/a?b=c");
        assert_eq!(head.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        assert_eq!(head.version, http::Version::HTTP_2);
    }

    #[test]
    fn what_could_be_understood_in_two_ways_is_refused() {
        let bad = Unusable::Status(StatusCode::BAD_REQUEST);
        for (method, uri, fields, expected) in [
            ("GET", "http://a/", &[("host", "b")][..], bad),
            ("GET", "http://a/", &[("host", "a"), ("host", "a")], bad),
            ("GET", "http://user@a/", &[], bad),
            ("GET", "/", &[], bad),
            ("POST", "http://a/", &[("content-length", "1"), ("content-length", "2")], Unusable::Malformed),
            ("POST", "http://a/", &[("content-length", "+1")], Unusable::Malformed),
            ("CONNECT", "a:443", &[], Unusable::Status(StatusCode::METHOD_NOT_ALLOWED)),
            ("GET", "*", &[("host", "a")], Unusable::Malformed),
        ] {
            assert_eq!(head(parts(method, uri, fields)).err(), Some(expected), "{method} {uri} {fields:?}");
        }
        assert!(head(parts("OPTIONS", "*", &[("host", "a")])).is_ok());
        assert!(head(parts("GET", "http://A/", &[("host", "a")])).is_ok());
    }
}
