//! How the end of an answer is told to a client of HTTP/1 (RFC 9112, section 6).

use http::{Method, StatusCode, header};
use pingora_http::{RequestHeader, ResponseHeader};

/// What still has to be said of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Nothing: there is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, and the last one.
    Chunked,
    /// It ends with the connection.
    Close,
}

impl Framing {
    /// That of the answer with this head to `request`.
    pub(super) fn of(head: &ResponseHeader, request: &RequestHeader) -> Self {
        if request.method == Method::HEAD
            || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        {
            return Framing::None;
        }
        if head.headers.contains_key(header::TRANSFER_ENCODING) {
            return Framing::Chunked;
        }
        let length = head.headers.get(header::CONTENT_LENGTH);
        match length.and_then(|length| length.to_str().ok()?.parse().ok()) {
            Some(length) => Framing::Length(length),
            None => Framing::Close,
        }
    }
}
