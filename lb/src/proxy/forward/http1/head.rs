//! The head of an answer (RFC 9112, section 4): read once, in the buffer that it came in.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{StatusCode, Version, header};
use httparse::{ParserConfig, Response, Status};
use pingora_http::{ResponseHeader, header_value_from_raw};

use super::super::super::headers::keeps_connection;
use super::super::super::strict::chunked::Chunked;
use super::super::respond::is_chunked;
use super::super::sound::is_sound;
use super::ReadError;
use super::body::Body;

/// The largest head, in bytes.
const MAX_HEAD: usize = 1 << 20;

/// The most fields of one.
const MAX_FIELDS: usize = 256;

/// A head, and what it says of what follows.
pub(super) struct Found {
    pub(super) head: Box<ResponseHeader>,
    pub(super) body: Body,
    /// The connection can be used again.
    pub(super) keeps: bool,
}

/// Takes a head out of `input`, if all of it is there.
pub(super) fn take(input: &mut BytesMut, asks_for_head: bool) -> Result<Option<Found>, ReadError> {
    if input.is_empty() {
        return Ok(None);
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = Response::new(&mut []);
    // What Pingora lets upstreams do on its own path.
    let mut config = ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    config.allow_obsolete_multiline_headers_in_responses(true);
    let length = match config.parse_response_with_uninit_headers(&mut response, input, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if input.len() > MAX_HEAD => {
            return Err(ReadError::Unsound("its head is too large"));
        }
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(ReadError::Unsound("its head cannot be parsed")),
    };
    let (code, minor) = (response.code.unwrap_or(0), response.version.unwrap_or(0));
    let wrong = |_| ReadError::Unsound("its head cannot be parsed");
    let mut head = ResponseHeader::build(code, Some(response.headers.len())).map_err(wrong)?;
    head.set_version(if minor == 1 { Version::HTTP_11 } else { Version::HTTP_10 });
    head.set_reason_phrase(response.reason).map_err(wrong)?;
    // Names and values are parts of what was read.
    let begin = input.as_ptr() as usize;
    let place = |part: &[u8]| {
        let from = part.as_ptr() as usize - begin;
        from..from + part.len()
    };
    let places: Vec<_> =
        response.headers.iter().map(|field| (place(field.name.as_bytes()), place(field.value))).collect();
    let raw: Bytes = input.split_to(length).freeze();
    for (name, value) in places {
        head.append_header(raw.slice(name), header_value_from_raw(raw.slice(value))).map_err(wrong)?;
    }
    if !is_sound(&head) {
        return Err(ReadError::Unsound("its end can be read in two ways"));
    }
    let body = body_after(&mut head, asks_for_head)?;
    let keeps = keeps_connection(head.version, &head.headers) && !matches!(body, Body::Rest);
    Ok(Some(Found { head: Box::new(head), body, keeps }))
}

fn body_after(head: &mut ResponseHeader, asks_for_head: bool) -> Result<Body, ReadError> {
    let length = length(head)?;
    if head.status.is_informational() {
        return Ok(Body::Unknown);
    }
    if asks_for_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Body::Done);
    }
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(if is_chunked(head) { Body::Chunked(Box::new(Chunked::of_answer())) } else { Body::Rest });
    }
    Ok(length.map_or(Body::Rest, Body::of_length))
}

/// The length that `head` says. Where it says the same several times, once is left (RFC 9110, section 8.6).
fn length(head: &mut ResponseHeader) -> Result<Option<u64>, ReadError> {
    const WRONG: ReadError = ReadError::Unsound("its length is no number, or two of them");
    let mut found = None;
    let mut count = 0;
    for value in head.headers.get_all(header::CONTENT_LENGTH) {
        for part in value.as_bytes().split(|&byte| byte == b',') {
            let part = part.trim_ascii();
            let digits = std::str::from_utf8(part).ok().filter(|_| part.iter().all(u8::is_ascii_digit));
            let length: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or(WRONG)?;
            if found.is_some_and(|found| found != length) {
                return Err(WRONG);
            }
            found = Some(length);
            count += 1;
        }
    }
    if let (Some(length), 2..) = (found, count) {
        head.insert_header(header::CONTENT_LENGTH, length).map_err(|_| WRONG)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str, asks_for_head: bool) -> Result<Option<(Found, String)>, ReadError> {
        let mut input = BytesMut::from(text);
        let found = take(&mut input, asks_for_head)?;
        Ok(found.map(|found| (found, String::from_utf8_lossy(&input).into_owned())))
    }

    #[test]
    fn what_follows_a_head_is_what_it_says() {
        for (status, fields, asks_for_head, body, keeps) in [
            ("1.1 200", "Content-Length: 5\r\n", false, "Length(5)", true),
            ("1.1 200", "Content-Length: 0\r\n", false, "Done", true),
            ("1.1 200", "Content-Length: 5\r\n", true, "Done", true),
            ("1.1 200", "Content-Length: 5\r\ncontent-length: 5, 5\r\n", false, "Length(5)", true),
            ("1.1 200", "", false, "Rest", false),
            ("1.1 200", "Transfer-Encoding: chunked\r\n", false, "Chunked", true),
            ("1.1 200", "Transfer-Encoding: gzip\r\n", false, "Rest", false),
            ("1.1 204", "", false, "Done", true),
            ("1.1 304", "Content-Length: 5\r\n", false, "Done", true),
            ("1.1 103", "Link: </a>\r\n", false, "Unknown", true),
            ("1.1 200", "Content-Length: 5\r\nConnection: x, Close\r\n", false, "Length(5)", false),
            ("1.0 200", "Content-Length: 5\r\n", false, "Length(5)", false),
            ("1.0 200", "Content-Length: 5\r\nConnection: Keep-Alive\r\n", false, "Length(5)", true),
        ] {
            let text = format!("HTTP/{status} Fine\r\n{fields}\r\nrest");
            let (found, left) = taken(&text, asks_for_head).expect("sound").expect("whole");
            assert_eq!(left, "rest");
            assert!(format!("{:?}", found.body).starts_with(body), "{text:?}: {:?}", found.body);
            assert_eq!(found.keeps, keeps, "{text:?}");
            assert!(found.head.headers.get_all(header::CONTENT_LENGTH).iter().count() <= 1);
        }
    }

    #[test]
    fn what_is_none_is_refused_and_what_is_not_whole_is_waited_for() {
        for wrong in [
            "HTTP/2 200 OK\r\n\r\n",
            "220 ready\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        ] {
            assert!(taken(wrong, false).is_err(), "{wrong:?}");
        }
        let whole = "HTTP/1.1 200 OK\r\nServer: a\r\n\r\n";
        for end in 0..whole.len() {
            assert!(taken(&whole[..end], false).expect("sound").is_none(), "{end}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1));
        assert!(taken(&many, false).is_err());
    }
}
