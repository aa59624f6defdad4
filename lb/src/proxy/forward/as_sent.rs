//! A request as upstreams get it, written straight from what the client sent where its route changes nothing of it: most
//! requests are, and a copy that fields are taken out of and put into costs more than all the rest of their way.
//!
//! What is written is what [`headers::forward_request`] makes; a test holds one against the other.

use pingora_http::HeaderNameVariant;
use wire::clients::Forwarded;

use super::super::asked::Asked;
use super::super::headers::{self, Origin};
use super::super::limits::forwarded::{may_stay, say};
use super::super::tls::client_certificate::speaks_of_certificates;
use super::http1::answer::Kind;

/// What is added to a head takes about so many bytes.
const ADDED: usize = 256;

/// Where a name begins with one of these, more is looked at than its kind.
const SUSPICIOUS: [u8; 3] = [b'c', b'f', b'x'];

/// The head of the request `asked` of the client `origin`, with room for so much of its `body`; none where it has to be made
/// field by field: it asks for something else than a path.
pub(super) fn written(
    asked: Asked<'_>,
    origin: &Origin,
    forwarded: Forwarded,
    body: usize,
) -> Option<Vec<u8>> {
    let target = asked.target();
    if !target.starts_with(b"/") {
        return None;
    }
    let mut own = Own::default();
    let room = match asked {
        Asked::Head(head) => {
            if head.has_own() {
                head.fields().for_each(|(name, value)| own.note(name, value));
            }
            head.size()
        }
        Asked::Header(header) => {
            for (name, value) in &header.headers {
                own.note(name.as_str().as_bytes(), value.as_bytes());
            }
            target.len() + 32 * header.headers.len()
        }
    };
    let is_trusted = origin.told.is_some();
    let mut out = Vec::with_capacity(room + ADDED + body);
    for part in [asked.method().as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"] {
        out.extend_from_slice(part);
    }
    let mut add = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    match asked {
        Asked::Head(head) => {
            head.fields()
                .filter(|(name, _)| own.stays(name, is_trusted))
                .for_each(|(name, value)| add(name, value));
        }
        Asked::Header(header) => {
            let written = header.map(|name, value| {
                let name = match &name {
                    HeaderNameVariant::Case(cased) => cased.as_slice(),
                    HeaderNameVariant::Titled(titled) => titled.as_bytes(),
                };
                if own.stays(name, is_trusted) {
                    add(name, value.as_bytes());
                }
                Ok(())
            });
            written.ok()?;
        }
    }
    say(asked.authority(), origin, forwarded, |name, value| add(name.as_bytes(), value));
    if let Some(certificate) = &origin.certificate {
        for (name, value) in certificate.fields() {
            add(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if own.via.is_empty() {
        add(b"Via", headers::VIA.as_bytes());
    } else {
        own.via.push(headers::VIA.as_bytes());
        add(b"Via", &own.via.join(&b", "[..]));
    }
    out.extend_from_slice(b"\r\n");
    Some(out)
}

/// What a request says that is between the client and us.
#[derive(Debug, Default)]
struct Own<'a> {
    /// What `Connection` names, apart from what it says of the connection itself.
    named: Vec<&'a [u8]>,
    /// The values of `Via`.
    via: Vec<&'a [u8]>,
}

impl<'a> Own<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8]) {
        match Kind::of(name) {
            Kind::Connection => {
                let options = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
                self.named.extend(options.filter(|option| {
                    !option.eq_ignore_ascii_case(b"close") && !option.eq_ignore_ascii_case(b"keep-alive")
                }));
            }
            Kind::Via => self.via.push(value),
            Kind::Hop | Kind::Codings | Kind::Length | Kind::Type | Kind::Date | Kind::Other => {}
        }
    }

    /// Whether a field of this name goes on to upstreams as it is.
    fn stays(&self, name: &[u8], is_trusted: bool) -> bool {
        match Kind::of(name) {
            Kind::Connection | Kind::Hop | Kind::Via => return false,
            // No sender can have us drop these by naming them: it would cut the message loose from its framing.
            Kind::Length | Kind::Codings => return true,
            Kind::Type | Kind::Date | Kind::Other => {}
        }
        let is_named = || self.named.iter().any(|option| option.eq_ignore_ascii_case(name));
        if !self.named.is_empty() && is_named() && !name.eq_ignore_ascii_case(b"host") {
            return false;
        }
        if !name.first().is_some_and(|first| SUSPICIOUS.contains(&first.to_ascii_lowercase())) {
            return true;
        }
        let lower = name.to_ascii_lowercase();
        std::str::from_utf8(&lower).is_ok_and(|name| may_stay(name, is_trusted))
            && !speaks_of_certificates(&lower)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use pingora_core::protocols::http::v1::client::http_req_header_to_wire;
    use pingora_http::RequestHeader;
    use proptest::prelude::*;

    use super::super::super::downstream::request::RequestHead;
    use super::super::super::limits::hops::Told;
    use super::super::super::strict::{self, HeadLimits};
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
            let written = written((&sent).into(), &origin, forwarded, 0).expect("one that is written");
            // Where nobody said how names are written it means nothing.
            let (written, made) = match keeps_case {
                true => (written, made),
                false => (written.to_ascii_lowercase().as_slice().into(), made.to_ascii_lowercase().as_slice().into()),
            };
            prop_assert_eq!(lines(&written), lines(&made));
        }

        #[test]
        fn what_was_not_made_into_a_header_is_written_alike(
            fields in prop::collection::vec((0..NAMES.len(), 0..VALUES.len()), 0..12),
            (is_told, is_secure) in any::<(bool, bool)>(), how in 0..4_usize,
        ) {
            let fields = fields.iter().map(|&(name, value)| format!("{}: {}\r\n", NAMES[name], VALUES[value]));
            let text = format!("GET /a%20b?c=| HTTP/1.1\r\n{}\r\n", fields.collect::<String>());
            let limits = HeadLimits { target: 100, field: 100, fields: 100 };
            let Some(head) = RequestHead::read(text.as_bytes()) else { return Ok(()) };
            if strict::check(text.as_bytes(), &limits).is_err() {
                return Ok(());
            }
            let told = is_told.then(|| Arc::new(Told {
                client: [198, 51, 100, 1].into(), is_secure: Some(is_secure), hops: vec![[198, 51, 100, 1].into()],
            }));
            let origin = Origin { peer: [192, 0, 2, 7].into(), is_secure, certificate: None, told };
            let forwarded =
                [Forwarded::XForwarded, Forwarded::Forwarded, Forwarded::Both, Forwarded::Off][how];
            let asked = Asked::Head(&head);
            let straight = written(asked, &origin, forwarded, 0).expect("one that is written");
            let made = written(asked.header().into(), &origin, forwarded, 0).expect("one that is written");
            prop_assert_eq!(lines(&straight), lines(&made));
        }
    }
}
