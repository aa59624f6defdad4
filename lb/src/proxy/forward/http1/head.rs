//! The head of an answer (RFC 9112, section 4): read once, in the buffer that it came in.

use std::mem::MaybeUninit;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{StatusCode, Version};
use httparse::{ParserConfig, Response, Status};
use pingora_http::header_value_from_raw;

use super::super::super::headers::keeps_connection;
use super::super::super::strict::chunked::Chunked;
use super::super::sound::is_sound;
use super::ReadError;
use super::answer::{Head, Kind, Part};
use super::body::Body;

/// The largest head, in bytes.
const MAX_HEAD: usize = 1 << 20;

/// The most fields of one.
const MAX_FIELDS: usize = 256;

/// The longest name of a field, in bytes, that can be written anew.
const MAX_NAME: usize = u16::MAX as usize;

const UNREADABLE: ReadError = ReadError::Unsound("its head cannot be parsed");

/// A head, and what it says of what follows.
pub(super) struct Found {
    pub(super) head: Head,
    pub(super) body: Body,
    /// The connection can be used again.
    pub(super) keeps: bool,
}

/// Takes a head out of `input`, if all of it is there.
pub(super) fn take(input: &mut BytesMut, asks_for_head: bool) -> Result<Option<Found>, ReadError> {
    if input.is_empty() {
        return Ok(None);
    }
    let Some(mut head) = parse(input)? else { return Ok(None) };
    if !is_sound(&head) {
        return Err(ReadError::Unsound("its end can be read in two ways"));
    }
    head.length = length(&head)?;
    let body = body_after(&head, asks_for_head);
    let keeps = keeps_connection(head.version, head.values(Kind::Connection)) && !matches!(body, Body::Rest);
    Ok(Some(Found { head, body, keeps }))
}

fn parse(input: &mut BytesMut) -> Result<Option<Head>, ReadError> {
    let read = match read(input) {
        Err(_) => match unfold(input)? {
            Some(mut unfolded) => read(&mut unfolded)?,
            None => Status::Partial,
        },
        Ok(read) => read,
    };
    match read {
        Status::Complete(head) => Ok(Some(head)),
        Status::Partial if input.len() > MAX_HEAD => Err(ReadError::Unsound("its head is too large")),
        Status::Partial => Ok(None),
    }
}

/// What Pingora lets upstreams do on its own path, apart from fields over several lines.
fn config() -> ParserConfig {
    let mut config = ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    config
}

/// Takes a head of fields of one line each.
fn read(input: &mut BytesMut) -> Result<Status<Head>, ReadError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = Response::new(&mut []);
    let length = match config().parse_response_with_uninit_headers(&mut response, input, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(Status::Partial),
        Err(_) => return Err(UNREADABLE),
    };
    if response.headers.iter().any(|field| field.name.len() > MAX_NAME) {
        return Err(UNREADABLE);
    }
    let status = StatusCode::from_u16(response.code.unwrap_or(0)).map_err(|_| UNREADABLE)?;
    let version = if response.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    // Names and values are parts of what was read.
    let begin = input.as_ptr() as usize;
    let place = |field: &httparse::Header<'_>| {
        let name = field.name.as_bytes();
        (Kind::of(name), Part::of(name, begin), Part::of(field.value, begin))
    };
    let reason = Part::of(response.reason.unwrap_or_default().as_bytes(), begin);
    let fields = response.headers.iter().map(place).collect();
    let raw = input.split_to(length).freeze();
    Ok(Status::Complete(Head { status, version, length: None, raw, reason, fields }))
}

/// Takes a head whose fields may go over several lines (RFC 9112, section 5.2), and writes it anew without that; none:
/// not all of it is there.
fn unfold(input: &mut BytesMut) -> Result<Option<BytesMut>, ReadError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = Response::new(&mut []);
    let mut config = config();
    config.allow_obsolete_multiline_headers_in_responses(true);
    let length = match config.parse_response_with_uninit_headers(&mut response, input, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(UNREADABLE),
    };
    let (minor, code) = (response.version.unwrap_or(0), response.code.unwrap_or(0));
    let first = format!("HTTP/1.{minor} {code:03} {}\r\n", response.reason.unwrap_or_default());
    let mut unfolded = BytesMut::from(first.as_bytes());
    for field in response.headers.iter() {
        let value = header_value_from_raw(Bytes::copy_from_slice(field.value));
        for part in [field.name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            unfolded.put_slice(part);
        }
    }
    unfolded.put_slice(b"\r\n");
    input.advance(length);
    Ok(Some(unfolded))
}

fn body_after(head: &Head, asks_for_head: bool) -> Body {
    if head.status.is_informational() {
        return Body::Unknown;
    }
    if asks_for_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Body::Done;
    }
    if head.values(Kind::Codings).next().is_some() {
        return if head.is_chunked() { Body::Chunked(Box::new(Chunked::of_answer())) } else { Body::Rest };
    }
    head.length.map_or(Body::Rest, Body::of_length)
}

/// The length that `head` says, be it several times.
fn length(head: &Head) -> Result<Option<u64>, ReadError> {
    const WRONG: ReadError = ReadError::Unsound("its length is no number, or two of them");
    let mut found = None;
    for part in head.values(Kind::Length).flat_map(|value| value.split(|&byte| byte == b',')) {
        let part = part.trim_ascii();
        let digits = std::str::from_utf8(part).ok().filter(|_| part.iter().all(u8::is_ascii_digit));
        let length: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or(WRONG)?;
        if found.is_some_and(|found| found != length) {
            return Err(WRONG);
        }
        found = Some(length);
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
            let header = found.head.to_header(true).expect("a header");
            let lengths: Vec<_> = header.headers.get_all("content-length").iter().collect();
            assert!(lengths.len() <= 1 && lengths.iter().all(|length| !length.as_bytes().contains(&b',')));
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
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            "HTTP/1.1 099 Odd\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
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

    #[test]
    fn fields_over_several_lines_are_put_on_one() {
        let text = "HTTP/1.1 200 Fine\r\nA : b,\r\n   c\r\nContent-Length: \r\n 5\r\n\r\n";
        for end in 0..text.len() {
            assert!(taken(&text[..end], false).expect("sound").is_none(), "{end}");
        }
        let (found, left) = taken(&format!("{text}12345"), false).expect("sound").expect("whole");
        assert_eq!((found.head.length, found.head.reason(), left.as_str()), (Some(5), &b"Fine"[..], "12345"));
        let fields: Vec<_> = found.head.fields().map(|(_, name, value)| (name, value)).collect();
        assert_eq!(fields, [(&b"A"[..], &b"b, c"[..]), (b"Content-Length", b"5")]);
    }
}
