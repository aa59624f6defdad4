//! A check by gRPC's health protocol: `grpc.health.v1.Health/Check`, over HTTP/2 with prior knowledge (RFC 9113,
//! section 3.3).
//!
//! The two messages of it have one field each, so they are written and read here:
//!
//! ```text
//!   HealthCheckRequest  { string service = 1; }           0a LENGTH NAME
//!   HealthCheckResponse { ServingStatus status = 1; }     08 STATUS          SERVING = 1
//!   each in a frame                                       COMPRESSED(1 byte) LENGTH(4 bytes) MESSAGE
//! ```

use std::pin::pin;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::{Either, select};
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request, Uri, Version, header};
use wire::checks::GrpcAsk;

use super::stream::Stream;
use super::{Fault, MAX_ANSWER, Outcome, Role, USER_AGENT};

/// The largest header list of an answer, in bytes.
const MAX_HEAD: u32 = 16 << 10;

/// `ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// Asks over `stream` and judges the answer.
pub(super) async fn ask(stream: Stream, ask: &GrpcAsk) -> Outcome {
    let request = request(&stream, ask).map_err(|_unusable| Fault::Void)?;
    let mut builder = Builder::new();
    builder.enable_push(false).max_header_list_size(MAX_HEAD);
    let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.map_err(|_error| Fault::Broken)?;
    let judging = pin!(exchange(sender, request, message(&ask.service)));
    match select(judging, pin!(connection)).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right((_, judging)) => judging.await,
    }
}

fn request(stream: &Stream, ask: &GrpcAsk) -> http::Result<Request<()>> {
    let authority = ask.host.clone().unwrap_or_else(|| stream.address.to_string());
    let uri = Uri::builder()
        .scheme(stream.scheme())
        .authority(authority)
        .path_and_query("/grpc.health.v1.Health/Check");
    Request::post(uri.build()?)
        .version(Version::HTTP_2)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, USER_AGENT)
        .body(())
}

async fn exchange(sender: SendRequest<Bytes>, request: Request<()>, message: Bytes) -> Outcome {
    let broken = |_error: h2::Error| Fault::Broken;
    let mut sender = sender.ready().await.map_err(broken)?;
    let (response, mut body) = sender.send_request(request, false).map_err(broken)?;
    body.send_data(message, true).map_err(broken)?;
    let (head, mut body) = response.await.map_err(broken)?.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(Fault::Status(head.status.as_u16()));
    }
    let mut answer = Vec::new();
    while let Some(bytes) = body.data().await {
        let bytes = bytes.map_err(broken)?;
        if answer.len() + bytes.len() > MAX_ANSWER {
            return Err(Fault::Broken);
        }
        answer.extend_from_slice(&bytes);
        body.flow_control().release_capacity(bytes.len()).map_err(broken)?;
    }
    let trailers = body.trailers().await.map_err(broken)?;
    // Where there is no message, the status is in the head.
    match grpc_status(trailers.as_ref().unwrap_or(&head.headers))? {
        0 => match serving_status(&answer).ok_or(Fault::Broken)? {
            SERVING => Ok(Role::Any),
            other => Err(Fault::NotServing(other)),
        },
        other => Err(Fault::GrpcStatus(other)),
    }
}

fn grpc_status(fields: &HeaderMap) -> Result<u32, Fault> {
    let value = fields.get("grpc-status").and_then(|value| value.to_str().ok());
    value.and_then(|text| text.parse().ok()).ok_or(Fault::Broken)
}

/// The request's message about `service`, in its frame.
fn message(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    // A field that has its default value is left out.
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    // A name is checked to be short.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(&message);
    frame.freeze()
}

fn put_varint(buffer: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        #[allow(clippy::cast_possible_truncation)] // the lowest seven bits are meant
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    #[allow(clippy::cast_possible_truncation)] // below 0x80
    buffer.put_u8(value as u8);
}

/// The status in a framed answer; fields that are not known are passed over. None where it is no such answer.
fn serving_status(frame: &[u8]) -> Option<u64> {
    let (&compressed, rest) = frame.split_first()?;
    let (length, mut message) = rest.split_first_chunk::<4>()?;
    if compressed != 0 || usize::try_from(u32::from_be_bytes(*length)).ok()? != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        let skip = match tag & 7 {
            0 => {
                let value = take_varint(&mut message)?;
                if tag >> 3 == 1 {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => usize::try_from(take_varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        message = message.get(skip..)?;
    }
    Some(status)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_what_protobuf_says() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let long = message(&"s".repeat(200));
        assert_eq!(&long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }

    #[test]
    fn the_status_is_found_among_unknown_fields() {
        for (frame, status) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(1)),
            (b"\0\0\0\0\x00", Some(0)),
            (b"\0\0\0\0\x03\x08\x82\x01", Some(130)),
            (b"\0\0\0\0\x06\x12\x02xx\x08\x02", Some(2)),
            (b"\0\0\0\0\x07\x15abcd\x08\x01", Some(1)),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x03\x08\x01", None),
            (b"\0\0\0\0\x02\x12\x09", None),
            (b"\0\0\0\0\x02\x08\xff", None),
            (b"\0\0", None),
            (b"", None),
        ] {
            assert_eq!(serving_status(frame), status, "{frame:?}");
        }
    }
}
