//! The header fields a proxy must change: those that belong to one connection only (RFC 9110,
//! section 7.6.1) go, those that tell of the client and of us come.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, Version};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use wire::clients::Forwarded;

use super::limits::forwarded;
use super::limits::hops::Told;
use super::route::sender::Sender;
use super::tls::client_certificate::{ClientCertificate, forged};

/// How we name ourselves in `Via`.
pub(super) const VIA: &str = "1.1 lb";

/// Belongs to one connection, whether `Connection` names it or not. `Transfer-Encoding` is dealt with
/// where the framing is decided.
pub(super) const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];

/// Header fields that no sender can make us drop by naming them in `Connection`: doing so would cut
/// the message loose from its framing or its origin.
pub(super) const PROTECTED: [HeaderName; 4] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::VIA];

/// What is known of a client.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The address at the other end of its connection, or of a trusted proxy's (PROXY protocol).
    pub(crate) peer: IpAddr,
    /// That connection is encrypted.
    pub(crate) is_secure: bool,
    /// The certificate it has shown.
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
    /// What the peer says of whose request this is, where it is a proxy that is believed.
    pub(crate) told: Option<Arc<Told>>,
}

impl Origin {
    /// As rules see it.
    pub(crate) fn sender(&self) -> Sender {
        Sender::behind(self.peer, self.is_secure, self.told.as_deref())
    }
}

/// Makes a client's request one of ours to an upstream.
///
/// # Errors
///
/// Where a value cannot be a header field, which a parsed request's parts always can.
pub(crate) fn forward_request(
    request: &mut RequestHeader,
    client: &Origin,
    forwarded: Forwarded,
) -> Result<()> {
    for name in hop_by_hop(&request.headers) {
        request.remove_header(&name);
    }
    request.set_version(Version::HTTP_11);
    describe_client(request, client, forwarded)
}

/// Says in the header fields of `forwarded` who the client is, and in `Via` that the request came through us, and asks
/// for the path alone: an absolute target is for proxies (RFC 9112, section 3.2.1).
///
/// # Errors
///
/// As [`forward_request`].
pub(crate) fn describe_client(
    request: &mut RequestHeader,
    origin: &Origin,
    forwarded: Forwarded,
) -> Result<()> {
    // Pingora's URI has the path alone; only the target as it was sent has the rest.
    if !request.raw_path().starts_with(b"/") && request.uri.path().starts_with('/') {
        request.set_uri(request.uri.clone());
    }
    forwarded::tell(request, origin, forwarded)?;
    for name in forged(&request.headers) {
        request.remove_header(&name);
    }
    if let Some(certificate) = &origin.certificate {
        for (name, value) in certificate.fields() {
            request.insert_header(name, value)?;
        }
    }
    let via = via(&request.headers);
    request.insert_header("Via", via)
}

/// Makes an upstream's response one of ours to a client.
///
/// # Errors
///
/// As [`forward_request`].
pub(crate) fn forward_response(response: &mut ResponseHeader) -> Result<()> {
    // The switch of protocols itself is what these two fields are for.
    if response.status != http::StatusCode::SWITCHING_PROTOCOLS {
        for name in hop_by_hop(&response.headers) {
            response.remove_header(&name);
        }
    }
    let via = via(&response.headers);
    response.insert_header("Via", via)
}

fn hop_by_hop(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut found: Vec<HeaderName> =
        HOP_BY_HOP.into_iter().filter(|name| headers.contains_key(name)).collect();
    for value in headers.get_all(header::CONNECTION) {
        found.extend(
            value
                .as_bytes()
                .split(|&byte| byte == b',')
                .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
                .filter(|name| headers.contains_key(name) && !PROTECTED.contains(name)),
        );
    }
    found
}

/// Whether whoever sent a message with these values of `Connection` keeps the connection after it (RFC 9112, section 9.3).
pub(super) fn keeps_connection<'a>(version: Version, values: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut keeps = version == Version::HTTP_11;
    for option in values.flat_map(|value| value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii) {
        if option.eq_ignore_ascii_case(b"close") {
            return false;
        }
        keeps |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    keeps
}

/// All that `headers` say in `Via`, and ourselves at its end.
pub(super) fn via(headers: &HeaderMap) -> HeaderValue {
    via_behind(headers.get_all(header::VIA).iter().map(HeaderValue::as_bytes))
}

/// The same behind these `values`.
pub(super) fn via_behind<'a>(values: impl Iterator<Item = &'a [u8]>) -> HeaderValue {
    let mut list = Vec::new();
    for value in values {
        list.extend_from_slice(value);
        list.extend_from_slice(b", ");
    }
    if list.is_empty() {
        return HeaderValue::from_static(VIA);
    }
    list.extend_from_slice(VIA.as_bytes());
    HeaderValue::from_maybe_shared(bytes::Bytes::from(list)).unwrap_or_else(|_| HeaderValue::from_static(VIA))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).expect("request");
        for (name, value) in fields {
            request.append_header(*name, *value).expect("header");
        }
        let origin = Origin { peer: [192, 0, 2, 7].into(), is_secure: false, certificate: None, told: None };
        forward_request(&mut request, &origin, Forwarded::XForwarded).expect("forwarded");
        request
    }

    #[test]
    fn nobody_is_believed_who_says_what_certificate_he_has() {
        let request = forwarded(&[("Client-Cert", ":AA==:"), ("X_Client_Cert_Subject", "CN=me")]);
        assert!(!request.headers.contains_key("client-cert"));
        assert!(!request.headers.contains_key("x_client_cert_subject"));
    }

    #[test]
    fn what_belongs_to_the_connection_goes_and_what_tells_of_the_client_comes() {
        let request = forwarded(&[
            ("Host", "example.org:8080"),
            ("Connection", "close, X-Mine, Host"),
            ("X-Mine", "1"),
            ("Keep-Alive", "timeout=5"),
            ("TE", "trailers"),
            ("X-Other", "2"),
        ]);
        let names: std::collections::BTreeSet<_> = request.headers.keys().map(HeaderName::as_str).collect();
        let expected = ["host", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-other"];
        assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(request.headers["via"], "1.1 lb");
    }
}
