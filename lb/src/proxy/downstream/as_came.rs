//! An answer as clients of HTTP/1.1 get it, written straight from what the upstream sent where a route changes nothing of
//! it: most answers are. What is written is what [`headers::forward_response`] and [`super::direct`] make of it field by
//! field; a test holds one against the other.

use http::{Method, StatusCode, Version};
use pingora_core::protocols::http::date::get_cached_date;

use super::super::forward::http1::answer::{Head, Kind};
use super::super::headers;
use super::super::observe::mark::Shown;
use super::framing::Framing;

/// What is added to a head takes about so many bytes.
pub(super) const ADDED: usize = 128;

/// How the end of the answer with this head to a request of this kind is told; none where it has to be made field by field.
pub(super) fn framing(head: &Head, version: Version, method: &Method) -> Option<Framing> {
    // HTTP/1.0 knows no chunks.
    if version != Version::HTTP_11 {
        return None;
    }
    let (mut lengths, mut codings) = (0, 0);
    for (kind, _, value) in head.fields() {
        let is_usual = match kind {
            Kind::Length => std::mem::replace(&mut lengths, 1) == 0 && !value.contains(&b','),
            Kind::Codings => {
                std::mem::replace(&mut codings, 1) == 0 && value.eq_ignore_ascii_case(b"chunked")
            }
            Kind::Connection => !names_fields(value),
            Kind::Hop | Kind::Type | Kind::Date | Kind::Via | Kind::Other => true,
        };
        if !is_usual {
            return None;
        }
    }
    if method == Method::HEAD || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Some(Framing::None);
    }
    if codings > 0 { Some(Framing::Chunked) } else { head.length.map(Framing::Length) }
}

/// Whether a value of `Connection` says more than what becomes of the connection.
pub(in super::super) fn names_fields(value: &[u8]) -> bool {
    let mut options = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    options
        .any(|option| !option.eq_ignore_ascii_case(b"close") && !option.eq_ignore_ascii_case(b"keep-alive"))
}

/// Writes `head` to `out`, with whether the client's connection is kept, and what is `shown` besides.
pub(super) fn write(head: &Head, keeps: bool, shown: Option<&Shown>, out: &mut Vec<u8>) {
    let mut add = |parts: [&[u8]; 4]| parts.into_iter().for_each(|part| out.extend_from_slice(part));
    add([b"HTTP/1.1 ", head.status.as_str().as_bytes(), b" ", head.reason()]);
    let (mut has_date, mut has_via) = (false, false);
    for (kind, name, value) in head.fields() {
        match kind {
            Kind::Connection | Kind::Hop => continue,
            Kind::Via => {
                has_via = true;
                continue;
            }
            Kind::Date => has_date = true,
            Kind::Other if shown.is_some_and(|shown| shown.is_in(name)) => continue,
            Kind::Codings | Kind::Length | Kind::Type | Kind::Other => {}
        }
        add([b"\r\n", name, b": ", value]);
    }
    add([b"\r\nVia: ", b"", b"", b""]);
    if has_via {
        for value in head.values(Kind::Via) {
            add([value, b", ", b"", b""]);
        }
    }
    add([
        headers::VIA.as_bytes(),
        if keeps { b"\r\nConnection: keep-alive" } else { b"\r\nConnection: close" },
        b"",
        b"",
    ]);
    if let Some(Shown { name, value }) = shown {
        add([b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()]);
    }
    if !has_date {
        add([b"\r\n", b"Date", b": ", get_cached_date().as_bytes()]);
    }
    out.extend_from_slice(b"\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pingora_http::RequestHeader;
    use proptest::prelude::*;

    use super::super::super::forward::http1::{self, FIELDS};
    use super::super::super::forward::respond;
    use super::super::direct;
    use super::*;

    /// The lines of a head: the first one and the others, whose order between fields of different names means nothing.
    fn lines(head: &[u8]) -> (String, BTreeSet<String>) {
        let text = String::from_utf8(head.to_vec()).expect("text");
        let mut lines = text.split("\r\n").map(str::to_owned);
        (lines.next().expect("a line"), lines.filter(|line| !line.starts_with("Date: ")).collect())
    }

    proptest! {
        #[test]
        fn an_answer_is_written_as_it_would_be_made(
            fields in prop::collection::vec(0..FIELDS.len(), 0..8),
            (status, reason) in (0..6usize, 0..3usize),
            (is_head, keeps, is_named) in any::<(bool, bool, bool)>(),
        ) {
            let status = [200, 204, 304, 404, 299, 500][status];
            let reason = ["OK", "", "Not \u{e4}t all"][reason];
            let fields: Vec<_> = fields.into_iter().map(|field| FIELDS[field]).collect();
            let text = format!("HTTP/1.1 {status} {reason}\r\n{}\r\n\r\n", fields.join("\r\n"));
            let text = if fields.is_empty() { format!("HTTP/1.1 {status} {reason}\r\n\r\n") } else { text };
            let Ok(head) = http1::head_of(&text) else { return Ok(()) };
            let method = if is_head { "HEAD" } else { "GET" };
            let mut request = RequestHeader::build(method, b"/", None).expect("request");
            request.set_version(Version::HTTP_10);
            prop_assert_eq!(framing(&head, request.version, &request.method), None);
            request.set_version(Version::HTTP_11);
            let Some(framing) = framing(&head, request.version, &request.method) else { return Ok(()) };

            let mut made = head.to_header(true).expect("a header");
            headers::forward_response(&mut made).expect("made");
            respond::frame(&mut made, &request).expect("framed");
            prop_assert_eq!(framing, Framing::of(&made, &request));
            direct::complete(&mut made, keeps).expect("completed");
            let mut out = b"before".to_vec();
            let shown = is_named.then(|| Shown::test("x-mine", "ours"));
            if let Some(Shown { name, value }) = &shown {
                made.insert_header(name.clone(), value.clone()).expect("a field");
            }
            write(&head, keeps, shown.as_ref(), &mut out);
            prop_assert_eq!(lines(&out[6..]), lines(&direct::text(&made)));
        }
    }

    #[test]
    fn most_answers_are_written_so() {
        let head = http1::head_of("HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 5\r\nVia: 1.0 b\r\n\r\n");
        let head = head.expect("a head");
        assert_eq!(framing(&head, Version::HTTP_11, &Method::GET), Some(Framing::Length(5)));
        let mut out = Vec::new();
        write(&head, true, None, &mut out);
        let expected = "HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 5\r\nVia: 1.0 b, 1.1 lb\r\n\
            Connection: keep-alive\r\nDate: ";
        assert!(out.starts_with(expected.as_bytes()) && out.ends_with(b" GMT\r\n\r\n"));
    }
}
