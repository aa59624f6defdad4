//! What a request asks for, as far as its way depends on it: of most nothing else is looked at.

use http::{HeaderMap, HeaderName, Method, Version, header};
use pingora_http::RequestHeader;

use super::downstream::request::RequestHead;
use super::route::without_port;

/// The head of a request, as it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    /// As it was sent; a header is made of it when one is needed.
    Head(&'a RequestHead),
    /// As a header.
    Header(&'a RequestHeader),
}

impl<'a> Asked<'a> {
    pub(crate) fn method(self) -> &'a Method {
        match self {
            Asked::Head(head) => head.method(),
            Asked::Header(header) => &header.method,
        }
    }

    pub(crate) fn version(self) -> Version {
        match self {
            Asked::Head(head) => head.version(),
            Asked::Header(header) => header.version,
        }
    }

    /// The target, as it was sent.
    pub(crate) fn target(self) -> &'a [u8] {
        match self {
            Asked::Head(head) => head.target(),
            Asked::Header(header) => header.raw_path(),
        }
    }

    /// The target without its query.
    pub(crate) fn path(self) -> &'a str {
        match self {
            Asked::Head(head) => head.path(),
            Asked::Header(header) => header.uri.path(),
        }
    }

    /// The value of `Host`, if there is one.
    pub(crate) fn authority(self) -> Option<&'a [u8]> {
        match self {
            Asked::Head(head) => head.host(),
            Asked::Header(header) => header.headers.get(header::HOST).map(http::HeaderValue::as_bytes),
        }
    }

    /// The value of the first field of this name.
    pub(crate) fn field(self, name: &HeaderName) -> Option<&'a [u8]> {
        match self {
            Asked::Head(head) => {
                let mut named =
                    head.fields().filter(|(other, _)| name.as_str().as_bytes().eq_ignore_ascii_case(other));
                named.next().map(|(_, value)| value)
            }
            Asked::Header(header) => header.headers.get(name).map(http::HeaderValue::as_bytes),
        }
    }

    /// The host it is for, without port; empty where that is no text. Pingora refuses a request whose absolute target names
    /// another one than its `Host` header.
    pub(crate) fn host(self) -> &'a str {
        let authority = self.authority().and_then(|authority| std::str::from_utf8(authority).ok());
        without_port(authority.filter(|host| host.is_ascii()).unwrap_or_default())
    }

    /// The whole of it as a header.
    pub(crate) fn header(self) -> &'a RequestHeader {
        match self {
            Asked::Head(head) => head.header(),
            Asked::Header(header) => header,
        }
    }

    /// Its fields.
    pub(crate) fn headers(self) -> &'a HeaderMap {
        &self.header().headers
    }
}

impl<'a> From<&'a RequestHeader> for Asked<'a> {
    fn from(header: &'a RequestHeader) -> Self {
        Asked::Header(header)
    }
}
