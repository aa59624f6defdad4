//! Compresses answers on the way to clients that ask for it.
//!
//! ```text
//!   answer's head ─▶ may it be? (type, length, what it says of itself) ─▶ Vary
//!                       │ and the client likes a coding (accept)
//!                       ▼
//!                    Content-Encoding, no length, a weak ETag ─▶ encoder: the body as it comes
//! ```

mod accept;
pub(crate) mod encoder;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use wire::compress::{self, Coding};

use self::encoder::Encoder;

/// Digests of the bytes as they are sent: they would not fit any more.
const DIGESTS: [HeaderName; 3] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
];

/// What of a route's answers is compressed.
#[derive(Debug)]
pub(crate) struct Compress {
    codings: Vec<Coding>,
    /// Whole types, and beginnings that end with a slash.
    types: Vec<String>,
    min_bytes: u64,
}

impl Compress {
    /// What is `described`.
    pub(crate) fn new(described: &compress::Compress) -> Self {
        let name = |kind: &String| kind.strip_suffix('*').unwrap_or(kind).to_ascii_lowercase();
        Compress {
            codings: described.codings.clone(),
            types: described.types.iter().map(name).collect(),
            // Nothing is not worth it.
            min_bytes: described.min_bytes.max(1),
        }
    }

    /// Changes the head of an answer to `request` where it is to be compressed; what its body has to go through then.
    ///
    /// # Errors
    ///
    /// Never for these values.
    pub(crate) fn begin(
        &self,
        request: &RequestHeader,
        answer: &mut ResponseHeader,
    ) -> Result<Option<Encoder>> {
        if answer.status == StatusCode::NOT_MODIFIED {
            self.revalidated(request, answer)?;
            return Ok(None);
        }
        if !self.may_be(answer) {
            return Ok(None);
        }
        vary(answer)?;
        // HTTP/1.0 would have to close the connection to tell the end. A range is one of the bytes as they are.
        if request.version < Version::HTTP_11 || request.headers.contains_key(header::RANGE) {
            return Ok(None);
        }
        let Some(coding) = accept::choose(&request.headers, &self.codings) else { return Ok(None) };
        let is_head = request.method == Method::HEAD;
        let encoder = if is_head { None } else { Encoder::new(coding) };
        if encoder.is_none() && !is_head {
            return Ok(None);
        }
        answer.remove_header(&header::CONTENT_LENGTH);
        answer.remove_header(&header::ACCEPT_RANGES);
        let name = match coding {
            Coding::Zstd => "zstd",
            Coding::Br => "br",
            Coding::Gzip => "gzip",
        };
        answer.insert_header(header::CONTENT_ENCODING, name)?;
        if let Some(weak) = answer.headers.get(header::ETAG).and_then(weak) {
            answer.insert_header(header::ETAG, weak)?;
        }
        Ok(encoder)
    }

    /// Whether the answer may be compressed, whoever asks.
    fn may_be(&self, answer: &ResponseHeader) -> bool {
        let headers = &answer.headers;
        let has_whole_body = !answer.status.is_informational()
            && !matches!(
                answer.status,
                StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT
            );
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        has_whole_body
            && length.is_none_or(|length: u64| length >= self.min_bytes)
            && headers.get(header::CONTENT_TYPE).is_some_and(|kind| self.has_type(kind))
            && !headers.contains_key(header::CONTENT_ENCODING)
            && !headers.contains_key(header::CONTENT_RANGE)
            && !has_item(headers, &header::CACHE_CONTROL, "no-transform")
            && headers.get_all(header::TRANSFER_ENCODING).iter().all(|coding| coding == "chunked")
            && !DIGESTS.iter().any(|name| headers.contains_key(name))
    }

    fn has_type(&self, value: &HeaderValue) -> bool {
        let kind = value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        self.types.iter().any(|wanted| {
            let wanted = wanted.as_bytes();
            let begin = if wanted.ends_with(b"/") { kind.get(..wanted.len()) } else { Some(kind) };
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(wanted))
        })
    }

    /// Where a client asks by the weak tag that it has from here whether its copy is still good, it is told so by the same.
    fn revalidated(&self, request: &RequestHeader, answer: &mut ResponseHeader) -> Result<()> {
        let Some(weak) = answer.headers.get(header::ETAG).and_then(weak) else { return Ok(()) };
        let asks = request.headers.get_all(header::IF_NONE_MATCH).iter();
        let has_weak = asks
            .into_iter()
            .any(|value| value.as_bytes().windows(weak.len()).any(|tag| tag == weak.as_bytes()));
        if has_weak {
            answer.insert_header(header::ETAG, weak)?;
            vary(answer)?;
        }
        Ok(())
    }
}

/// The weak tag that stands for a strong one (RFC 9110, section 8.8.3).
fn weak(tag: &HeaderValue) -> Option<HeaderValue> {
    let is_strong = tag.as_bytes().starts_with(b"\"");
    let weak = || HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok();
    is_strong.then(weak).flatten()
}

/// Says that the answer depends on what the client accepts.
fn vary(answer: &mut ResponseHeader) -> Result<()> {
    let says = |what| has_item(&answer.headers, &header::VARY, what);
    if says("*") || says("accept-encoding") {
        return Ok(());
    }
    answer.append_header(header::VARY, "Accept-Encoding").map(drop)
}

/// Whether a list in the fields of this name has `item`.
fn has_item(headers: &HeaderMap, name: &HeaderName, item: &str) -> bool {
    let items = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    items.map(<[u8]>::trim_ascii).any(|found| found.eq_ignore_ascii_case(item.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of an answer with these fields: those that it has then, and whether its body is compressed.
    fn begun(
        method: &str,
        asked: &[(&str, &str)],
        status: u16,
        said: &[(&str, &str)],
    ) -> (Vec<String>, bool) {
        let mut request = RequestHeader::build(method, b"/", None).expect("request");
        for (name, value) in asked {
            request.append_header((*name).to_owned(), *value).expect("header");
        }
        let mut answer = ResponseHeader::build(status, None).expect("answer");
        for (name, value) in said {
            answer.append_header((*name).to_owned(), *value).expect("header");
        }
        let compress = Compress::new(&compress::Compress::default());
        let encoder = compress.begin(&request, &mut answer).expect("begun");
        let lines = answer.headers.iter();
        let mut lines: Vec<_> = lines
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text").to_lowercase()))
            .collect();
        lines.sort();
        (lines, encoder.is_some())
    }

    const GZIP: (&str, &str) = ("Accept-Encoding", "gzip");
    const HTML: (&str, &str) = ("Content-Type", "Text/HTML; charset=utf-8");

    #[test]
    fn a_head_says_what_became_of_the_body() {
        let said = [HTML, ("Content-Length", "2000"), ("ETag", "\"x\""), ("Accept-Ranges", "bytes")];
        let changed = [
            "content-encoding: gzip",
            "content-type: text/html; charset=utf-8",
            "etag: w/\"x\"",
            "vary: accept-encoding",
        ];
        assert_eq!(begun("GET", &[GZIP], 200, &said), (changed.map(str::to_owned).to_vec(), true));
        assert_eq!(begun("HEAD", &[GZIP], 200, &said), (changed.map(str::to_owned).to_vec(), false));
        // Who does not ask for it may get it from a cache only if it asks.
        let (lines, compressed) = begun("GET", &[], 200, &said);
        assert!(!compressed && lines.contains(&"vary: accept-encoding".to_owned()), "{lines:?}");
        assert!(
            lines.contains(&"etag: \"x\"".to_owned()) && lines.contains(&"content-length: 2000".to_owned())
        );
    }

    #[test]
    fn what_is_not_worth_it_or_must_not_be_changed_stays_as_it_is() {
        for (status, said, expected) in [
            (200, &[HTML][..], true),
            (404, &[HTML], true),
            (200, &[HTML, ("Transfer-Encoding", "chunked")], true),
            (200, &[HTML, ("Content-Length", "1024")], true),
            (200, &[HTML, ("Content-Length", "1023")], false),
            (200, &[("Content-Type", "text")], false),
            (200, &[("Content-Type", "image/png")], false),
            (200, &[("Content-Type", "application/jsonp")], false),
            (200, &[("Content-Type", "application/json")], true),
            (200, &[], false),
            (204, &[HTML], false),
            (206, &[HTML, ("Content-Range", "bytes 0-1999/3000")], false),
            (200, &[HTML, ("Content-Encoding", "br")], false),
            (200, &[HTML, ("Cache-Control", "max-age=1, No-Transform")], false),
            (200, &[HTML, ("Content-Digest", "sha-256=:AA==:")], false),
            (200, &[HTML, ("Transfer-Encoding", "gzip, chunked")], false),
        ] {
            assert_eq!(begun("GET", &[GZIP], status, said).1, expected, "{status} {said:?}");
        }
        assert!(!begun("GET", &[GZIP, ("Range", "bytes=0-10")], 200, &[HTML]).1);
    }

    #[test]
    fn vary_is_said_once() {
        for vary in ["Accept-Encoding", "Cookie, accept-encoding", "*"] {
            let (lines, _) = begun("GET", &[GZIP], 200, &[HTML, ("Vary", vary)]);
            assert_eq!(lines.iter().filter(|line| line.starts_with("vary")).count(), 1, "{lines:?}");
        }
    }

    #[test]
    fn a_copy_is_good_by_the_tag_that_it_came_with() {
        for (asked, expected) in
            [("W/\"x\"", "etag: w/\"x\""), ("\"x\"", "etag: \"x\""), ("W/\"xy\"", "etag: \"x\"")]
        {
            let (lines, _) = begun("GET", &[GZIP, ("If-None-Match", asked)], 304, &[("ETag", "\"x\"")]);
            assert!(lines.contains(&expected.to_owned()), "{asked}: {lines:?}");
        }
    }
}
