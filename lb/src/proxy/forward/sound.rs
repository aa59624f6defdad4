//! Whether an upstream's answer has one end. One that could be read to two ends leaves a connection on which the
//! next answer begins where the upstream says, so it is taken for none (RFC 9112, section 6.3).

use http::{StatusCode, Version};

use super::http1::answer::{Head, Kind};

/// Interim answers to one request (RFC 9110, section 15.2). More of them are a flood.
pub(crate) const MAX_INTERIM: u32 = 100;

/// Whether `head` tells its end in one way.
pub(super) fn is_sound(head: &Head) -> bool {
    let mut codings = head.values(Kind::Codings);
    let Some(_) = codings.next() else { return true };
    codings.next().is_none()
        && head.version == Version::HTTP_11
        && head.status != StatusCode::NO_CONTENT
        && !head.status.is_informational()
        && head.values(Kind::Length).next().is_none()
}

#[cfg(test)]
mod tests {
    use super::super::http1;
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
            let version = if version == Version::HTTP_11 { 1 } else { 0 };
            let text = format!("HTTP/1.{version} {status} Fine\r\n{fields}\r\n\r\n");
            let read = http1::head_of(&text);
            assert_eq!(read.is_ok(), sound, "{text:?}");
        }
    }
}
