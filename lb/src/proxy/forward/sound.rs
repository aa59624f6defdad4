//! Whether an upstream's answer has one end. One that could be read to two ends leaves a connection on which the
//! next answer begins where the upstream says, so it is taken for none (RFC 9112, section 6.3).

use http::{StatusCode, Version, header};
use pingora_http::ResponseHeader;

/// Interim answers to one request (RFC 9110, section 15.2). More of them are a flood.
pub(crate) const MAX_INTERIM: u32 = 100;

/// Whether `head` tells its end in one way.
pub(crate) fn is_sound(head: &ResponseHeader) -> bool {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(_) = codings.next() else { return true };
    codings.next().is_none()
        && head.version == Version::HTTP_11
        && head.status != StatusCode::NO_CONTENT
        && !head.status.is_informational()
        && !head.headers.contains_key(header::CONTENT_LENGTH)
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
            (200, Version::HTTP_11, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", false),
            (200, Version::HTTP_10, "Transfer-Encoding: chunked", false),
            (204, Version::HTTP_11, "Transfer-Encoding: chunked", false),
            (304, Version::HTTP_11, "Transfer-Encoding: chunked", true),
        ] {
            let mut head = ResponseHeader::build(status, None).expect("head");
            head.set_version(version);
            for line in fields.split("\r\n") {
                let (name, value) = line.split_once(": ").expect("field");
                head.append_header(name.to_owned(), value).expect("field");
            }
            assert_eq!(is_sound(&head), sound, "{status} {fields:?}");
        }
    }
}
