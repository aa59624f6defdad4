//! What gRPC over HTTP/2 has of its own: an answer of ours is a status in fields, never a page
//! (gRPC's PROTOCOL-HTTP2.md, "Responses").

use http::{Version, header};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::error_page::Refusal;

/// `application/grpc`, also with the name of a coding: `+proto`.
const GRPC: &[u8] = b"application/grpc";

/// Statuses of gRPC (its `statuscodes.md`).
const DEADLINE_EXCEEDED: u8 = 4;
const RESOURCE_EXHAUSTED: u8 = 8;
const PERMISSION_DENIED: u8 = 7;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;

/// Whether `request` is one of gRPC. gRPC-Web is not: its answers are pages to whoever carries them.
pub(crate) fn is_grpc(request: &RequestHeader) -> bool {
    let kind = request.headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    request.version == Version::HTTP_2
        && kind.get(..GRPC.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(GRPC))
        && matches!(kind.get(GRPC.len()), None | Some(b'+' | b';' | b' '))
}

/// The whole answer for `refusal`: a head without a body ("trailers only").
///
/// # Errors
///
/// Never for these values.
pub(crate) fn refusal(refusal: Refusal) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(200, Some(4))?;
    head.insert_header(header::CONTENT_TYPE, "application/grpc")?;
    head.insert_header("grpc-status", status(refusal.status()).to_string())?;
    head.insert_header("grpc-message", refusal.detail())?;
    Ok(head)
}

/// The status that stands for one of HTTP, as in gRPC's `http-grpc-status-mapping.md`; but that our time was up is said
/// as such, because a client may repeat what was unavailable.
fn status(http: u16) -> u8 {
    match http {
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        413 | 431 => RESOURCE_EXHAUSTED,
        429 | 502 | 503 => UNAVAILABLE,
        408 | 504 => DEADLINE_EXCEEDED,
        _ => INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut request = RequestHeader::build("POST", b"/", None).expect("request");
            request.insert_header("content-type", kind).expect("header");
            assert!(!is_grpc(&request), "{kind} over HTTP/1.1");
            request.set_version(Version::HTTP_2);
            assert_eq!(is_grpc(&request), expected, "{kind}");
        }
    }

    #[test]
    fn a_refusal_is_a_status_without_a_body() {
        let head = refusal(Refusal::NoUpstream).expect("answer");
        assert_eq!(head.status.as_u16(), 200);
        assert_eq!(head.headers["grpc-status"], "14");
        let head = refusal(Refusal::TooSlow).expect("answer");
        assert_eq!(head.headers["grpc-status"], "4");
    }
}
