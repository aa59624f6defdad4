//! Whether an upstream's answer has one end. One that could be read to two ends leaves a connection on which the
//! next answer begins where the upstream says, so it is taken for none (RFC 9112, section 6.3).

use http::{StatusCode, Version, header};
use memchr::memchr;
use pingora_http::ResponseHeader;

/// Interim answers to one request (RFC 9110, section 15.2). More of them are a flood.
pub(crate) const MAX_INTERIM: u32 = 100;

/// Whether `head`, which came as `raw`, tells its end in one way.
pub(crate) fn is_sound(head: &ResponseHeader, raw: &[u8]) -> bool {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(_) = codings.next() else { return true };
    // Pingora drops a length beside it without a word.
    codings.next().is_none()
        && head.version == Version::HTTP_11
        && head.status != StatusCode::NO_CONTENT
        && !head.status.is_informational()
        && !has_length(raw)
}

fn has_length(raw: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length";
    let mut left = raw;
    while let Some(end) = memchr(b'\n', left) {
        left = &left[end + 1..];
        if left.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME))
            && matches!(left.get(NAME.len()), Some(b':' | b' ' | b'\t'))
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_two_ends_is_none() {
        for (status, version, fields, sound) in [
            (200, Version::HTTP_11, "A: b\r\nContent-Length: 5", true),
            (200, Version::HTTP_11, "Transfer-Encoding: chunked", true),
            (200, Version::HTTP_11, "Transfer-Encoding: chunked\r\nX-Content-Length: 5", true),
            (200, Version::HTTP_11, "Transfer-Encoding: chunked\r\ncontent-length: 5", false),
            (200, Version::HTTP_11, "CONTENT-LENGTH : 5\r\nTransfer-Encoding: chunked", false),
            (200, Version::HTTP_11, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", false),
            (200, Version::HTTP_10, "Transfer-Encoding: chunked", false),
            (204, Version::HTTP_11, "Transfer-Encoding: chunked", false),
            (304, Version::HTTP_11, "Transfer-Encoding: chunked", true),
        ] {
            let mut head = ResponseHeader::build(status, None).expect("head");
            head.set_version(version);
            let known = fields.split("\r\n").filter(|line| line.starts_with("Transfer"));
            for line in known {
                let (name, value) = line.split_once(": ").expect("field");
                head.append_header(name.to_owned(), value).expect("field");
            }
            let raw = format!("HTTP/1.1 {status} OK\r\n{fields}\r\n\r\n");
            assert_eq!(is_sound(&head, raw.as_bytes()), sound, "{raw:?}");
        }
    }
}
