//! The head of a request, out of bytes that were found to be one (`strict`).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{Version, header};
use httparse::{Request, Status};
use pingora_http::{RequestHeader, header_value_from_raw};

use super::super::forward::streams;

/// As many fields as any limit allows are looked at here; requests with more go Pingora's way.
const MAX_FIELDS: usize = 128;

/// The request that `head` is, and the length of its body, if it is one that is answered past Pingora: all of its body
/// is announced, in at most `most` bytes, and nobody waits for a word before sending it.
pub(super) fn read(head: &[u8], most: u64) -> Option<(RequestHeader, u64)> {
    let raw = Bytes::copy_from_slice(head);
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = Request::new(&mut []);
    let Ok(Status::Complete(_)) = parsed.parse_with_uninit_headers(&raw, &mut fields) else { return None };
    let mut request =
        RequestHeader::build(parsed.method?, parsed.path?.as_bytes(), Some(parsed.headers.len())).ok()?;
    request.set_version(if parsed.version? == 1 { Version::HTTP_11 } else { Version::HTTP_10 });
    for field in parsed.headers {
        let (name, value) = (raw.slice_ref(field.name.as_bytes()), raw.slice_ref(field.value));
        request.append_header(name, header_value_from_raw(value)).ok()?;
    }
    let headers = &request.headers;
    if headers.contains_key(header::TRANSFER_ENCODING) || streams(&request) {
        return None;
    }
    let length = match headers.get(header::CONTENT_LENGTH) {
        Some(length) => length.to_str().ok()?.parse().ok()?,
        None => 0,
    };
    (length <= most).then_some((request, length))
}
