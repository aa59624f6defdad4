//! A request as upstreams get it, written straight from what the client sent where its route changes nothing of it: most
//! requests are, and a copy that fields are taken out of and put into costs more than all the rest of their way.
//!
//! What is written is what [`headers::forward_request`] makes; a test holds one against the other.

use bytes::{BufMut as _, BytesMut};
use http::header::{self, HeaderName};
use pingora_http::{HeaderNameVariant, RequestHeader};
use wire::clients::Forwarded;

use super::super::headers::{self, HOP_BY_HOP, Origin, PROTECTED};
use super::super::limits::forwarded::{may_stay, say};
use super::super::tls::client_certificate::speaks_of_certificates;

/// What is added to a head takes about so many bytes.
const ADDED: usize = 256;

/// The head of the request `sent` of the client `origin`, with room for so much of its `body`; none where it has to be made
/// field by field: it asks for something else than a path.
pub(super) fn written(
    sent: &RequestHeader,
    origin: &Origin,
    forwarded: Forwarded,
    body: usize,
) -> Option<BytesMut> {
    let path = sent.raw_path();
    if !path.starts_with(b"/") {
        return None;
    }
    let own = options(sent);
    let is_trusted = origin.told.is_some();
    let mut out = BytesMut::with_capacity(path.len() + 32 * sent.headers.len() + ADDED + body);
    for part in [sent.method.as_str().as_bytes(), b" ", path, b" HTTP/1.1\r\n"] {
        out.put_slice(part);
    }
    let mut add = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            out.put_slice(part);
        }
    };
    let mut has_via = false;
    // The same fields, once as they are known and once as they are written.
    let mut names = sent.headers.iter().map(|(name, _)| name);
    let written = sent.map(|cased, value| {
        let Some(name) = names.next() else { return Ok(()) };
        has_via |= name == header::VIA;
        let stays = name != header::VIA
            && !HOP_BY_HOP.contains(name)
            && !is_named(&own, name)
            && may_stay(name.as_str(), is_trusted)
            && !speaks_of_certificates(name.as_str().as_bytes());
        if stays {
            let cased = match &cased {
                HeaderNameVariant::Case(cased) => cased.as_slice(),
                HeaderNameVariant::Titled(titled) => titled.as_bytes(),
            };
            add(cased, value.as_bytes());
        }
        Ok(())
    });
    written.ok()?;
    let host = sent.headers.get(header::HOST).map(http::HeaderValue::as_bytes);
    say(host, origin, forwarded, |name, value| add(name.as_bytes(), value));
    if let Some(certificate) = &origin.certificate {
        for (name, value) in certificate.fields() {
            add(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if has_via {
        add(b"Via", headers::via(&sent.headers).as_bytes());
    } else {
        add(b"Via", headers::VIA.as_bytes());
    }
    out.put_slice(b"\r\n");
    Some(out)
}

/// What `Connection` names, apart from what it says of the connection itself.
fn options(sent: &RequestHeader) -> Vec<&[u8]> {
    let values = sent.headers.get_all(header::CONNECTION).iter();
    values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| {
            !option.eq_ignore_ascii_case(b"close") && !option.eq_ignore_ascii_case(b"keep-alive")
        })
        .collect()
}

fn is_named(options: &[&[u8]], name: &HeaderName) -> bool {
    options.iter().any(|option| option.eq_ignore_ascii_case(name.as_str().as_bytes()))
        && !PROTECTED.contains(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use pingora_core::protocols::http::v1::client::http_req_header_to_wire;
    use proptest::prelude::*;

    use super::super::super::limits::hops::Told;
    use super::*;

    const NAMES: [&str; 17] = [
        "Host",
        "Accept",
        "CONNECTION",
        "Keep-Alive",
        "TE",
        "via",
        "Via",
        "X-Forwarded-For",
        "x_forwarded_proto",
        "Forwarded",
        "X-Real-IP",
        "Client-Cert",
        "X-Client-Cert-Subject",
        "Upgrade",
        "X-Mine",
        "content-length",
        "X-Forwarded-Prefix",
    ];

    const VALUES: [&str; 7] =
        ["a", "close", "X-Mine, host, via", "1.0 fred", "keep-alive", "x-real-ip", "12"];

    fn lines(head: &[u8]) -> (String, BTreeSet<String>) {
        let text = String::from_utf8_lossy(head).into_owned();
        let mut lines = text.split("\r\n").map(str::to_owned);
        (lines.next().unwrap_or_default(), lines.map(|line| line.replacen("via:", "Via:", 1)).collect())
    }

    proptest! {
        #[test]
        fn it_is_what_is_made_field_by_field(
            fields in prop::collection::vec((0..NAMES.len(), 0..VALUES.len()), 0..12),
            (is_told, is_secure, keeps_case) in any::<(bool, bool, bool)>(), how in 0..4_usize,
        ) {
            let build = if keeps_case { RequestHeader::build } else { RequestHeader::build_no_case };
            let mut sent = build("GET", b"/a%20b?c=|", None).expect("a request");
            for (name, value) in fields {
                sent.append_header(NAMES[name], VALUES[value]).expect("a field");
            }
            let told = is_told.then(|| Arc::new(Told {
                client: [198, 51, 100, 1].into(), is_secure: Some(is_secure), hops: vec![[198, 51, 100, 1].into()],
            }));
            let origin = Origin { peer: [192, 0, 2, 7].into(), is_secure, certificate: None, told };
            let forwarded =
                [Forwarded::XForwarded, Forwarded::Forwarded, Forwarded::Both, Forwarded::Off][how];
            let mut made = sent.clone();
            headers::forward_request(&mut made, &origin, forwarded).expect("made");
            let made = http_req_header_to_wire(&made).expect("written");
            let written = written(&sent, &origin, forwarded, 0).expect("one that is written");
            // Where nobody said how names are written it means nothing.
            let (written, made) = match keeps_case {
                true => (written, made),
                false => (written.to_ascii_lowercase().as_slice().into(), made.to_ascii_lowercase().as_slice().into()),
            };
            prop_assert_eq!(lines(&written), lines(&made));
        }
    }
}
