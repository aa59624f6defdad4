//! Passes an upstream's answer on: what was held of it at once, the rest as it comes; of that no more is read
//! than the client takes.

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Method, StatusCode, Version, header};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::super::client::Client;
use super::super::compress::encoder::Encoder;
use super::super::downstream::Downstream;
use super::super::error_page;
use super::super::headers;
use super::super::route::sender::Sender;
use super::super::state::in_flight::InFlight;
use super::super::state::upstream::Upstream;
use super::exchange::Answer;
use super::http1;
use super::http1::ReadError;
use super::http1::answer::{Head, ends_with_chunked};
use super::tries::Tries;

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client has all of it.
    Complete,
    /// The client went away.
    ClientGone,
    /// The upstream broke off in the middle; the client has a part.
    BrokenOff,
}

/// Sends `answer` to the client and keeps the upstream's connection if it can be kept.
///
/// # Errors
///
/// When the answer's head cannot be passed on.
pub(crate) async fn respond(
    downstream: &mut Downstream<'_>,
    client: &Client,
    mut answer: Box<Answer>,
    mut in_flight: InFlight,
    tries: &Tries,
) -> Result<Ending> {
    // What it is read from stays where it is: this future would have room for it twice.
    let (upstream, mut held) = (&mut answer.upstream, std::mem::take(&mut answer.held));
    let Some(head) = upstream.take_head() else { return Ok(Ending::BrokenOff) };
    let look = tries.route().look();
    if look.intercepts(head.status.as_u16()) {
        let header = head.to_header(downstream.request().has_case())?;
        // Boxed: few answers are.
        return Box::pin(replace(downstream, client, &header, answer.upstream, in_flight, tries)).await;
    }
    if client.is_closing() {
        downstream.close();
    }
    let mut encoder = None;
    let begun =
        if tries.change_answers(in_flight.upstream()) { Ok(false) } else { downstream.write_as_came(&head) };
    match begun {
        Ok(true) => {}
        // Boxed: most answers are passed on as they came.
        Ok(false) => {
            let made = Box::pin(make(downstream, client, &head, in_flight.upstream(), tries)).await?;
            let Some(made) = made else { return Ok(Ending::ClientGone) };
            encoder = made;
        }
        Err(_) => return Ok(Ending::ClientGone),
    }
    // What ends an answer that came whole goes out with its end.
    let last = if upstream.is_body_done() && encoder.is_none() { held.pop() } else { None };
    for chunk in held {
        let Some(chunk) = encoded(&mut encoder, chunk) else { return Ok(Ending::BrokenOff) };
        if upstream.beside(pass_on(downstream, chunk)).await.is_err() {
            return Ok(Ending::ClientGone);
        }
    }
    let mut done = upstream.is_body_done();
    while !done {
        let chunk = match upstream.read_body().now_or_never() {
            Some(chunk) => chunk,
            None => {
                // Nothing more for now: what was gathered goes out before we wait.
                if let Some(encoder) = &mut encoder {
                    let Ok(rest) = encoder.flush() else { return Ok(Ending::BrokenOff) };
                    if upstream.beside(pass_on(downstream, rest)).await.is_err() {
                        return Ok(Ending::ClientGone);
                    }
                }
                if upstream.beside(client.send_gathered()).await.is_err() {
                    return Ok(Ending::ClientGone);
                }
                tokio::select! {
                    biased;
                    chunk = upstream.read_body() => chunk,
                    () = client.gone() => return Ok(Ending::ClientGone),
                }
            }
        };
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(ReadError::NotSent) => return Ok(Ending::BrokenOff),
            Err(_) => {
                in_flight.broke_off();
                return Ok(Ending::BrokenOff);
            }
        };
        done = upstream.is_body_done();
        if let Some(chunk) = chunk {
            let Some(chunk) = encoded(&mut encoder, chunk) else { return Ok(Ending::BrokenOff) };
            if upstream.beside(pass_on(downstream, chunk)).await.is_err() {
                return Ok(Ending::ClientGone);
            }
        }
    }
    if upstream.is_sending() {
        // Boxed: few are answered before they have come.
        return Ok(Box::pin(finish_early(downstream, encoder, last, head.status, answer, in_flight)).await);
    }
    // The connection is free before the client has the last byte: its next request may need it.
    in_flight.done(upstream.heard());
    keep(answer.upstream, &in_flight);
    drop(in_flight);
    Ok(finish(downstream, encoder, last).await)
}

/// Sends the end of an answer.
async fn finish(
    downstream: &mut Downstream<'_>,
    encoder: Option<Box<Encoder>>,
    last: Option<Bytes>,
) -> Ending {
    if let Some(mut encoder) = encoder {
        let Ok(rest) = encoder.part(&[], true) else { return Ending::BrokenOff };
        if pass_on(downstream, rest).await.is_err() {
            return Ending::ClientGone;
        }
    }
    let ended = match last {
        Some(last) => downstream.write_last(last).await,
        None => downstream.finish().await,
    };
    match ended {
        Ok(()) => Ending::Complete,
        Err(_) => Ending::ClientGone,
    }
}

/// The same of an answer that was complete before the request had come. An upstream that has said yes may want the rest of
/// it; after any other answer nobody does.
async fn finish_early(
    downstream: &mut Downstream<'_>,
    encoder: Option<Box<Encoder>>,
    last: Option<Bytes>,
    status: StatusCode,
    answer: Box<Answer>,
    mut in_flight: InFlight,
) -> Ending {
    let mut upstream = answer.upstream;
    in_flight.done(upstream.heard());
    let ending = upstream.beside(finish(downstream, encoder, last)).await;
    if ending == Ending::Complete && status.is_success() {
        upstream.send_rest().await;
    }
    keep(upstream, &in_flight);
    ending
}

/// Writes a head that is made of `head` field by field, and says what its body goes through; none: the client is gone.
async fn make(
    downstream: &mut Downstream<'_>,
    client: &Client,
    head: &Head,
    upstream: &Upstream,
    tries: &Tries,
) -> Result<Option<Option<Box<Encoder>>>> {
    let mut head = head.to_header(downstream.request().has_case())?;
    headers::forward_response(&mut head)?;
    tries.keep_client(&mut head, upstream);
    tries.route().look().edit(&mut head, downstream.request(), || Sender::of(client));
    let encoder = tries.route().compress(downstream.request(), &mut head)?.map(Box::new);
    if frame(&mut head, downstream.request())? == Framing::Close {
        downstream.close();
    }
    Ok(downstream.write_head(head).await.is_ok().then_some(encoder))
}

/// What there is to send of `chunk`, after `encoder` if there is one; none: it cannot be compressed.
fn encoded(encoder: &mut Option<Box<Encoder>>, chunk: Bytes) -> Option<Bytes> {
    match encoder {
        None => Some(chunk),
        Some(encoder) => encoder.push(&chunk).ok(),
    }
}

async fn pass_on(downstream: &mut Downstream<'_>, chunk: Bytes) -> Result<()> {
    if chunk.is_empty() {
        return Ok(());
    }
    downstream.write_body(chunk, false).await
}

/// Sends an answer of ours in the place of `upstream`'s, which has this `head`.
async fn replace(
    downstream: &mut Downstream<'_>,
    client: &Client,
    head: &ResponseHeader,
    upstream: http1::Session,
    mut in_flight: InFlight,
    tries: &Tries,
) -> Result<Ending> {
    let heard = upstream.heard();
    let look = tries.route().look();
    let (mut head, body) = error_page::instead_of(head, downstream.request(), Sender::of(client), look)?;
    tries.keep_client(&mut head, in_flight.upstream());
    if upstream.is_body_done() {
        keep(upstream, &in_flight);
    }
    in_flight.done(heard);
    drop(in_flight);
    match error_page::write(downstream, head, body).await {
        Ok(()) => Ok(Ending::Complete),
        Err(_) => Ok(Ending::ClientGone),
    }
}

/// Keeps the connection of an answer that nobody wants, if there is nothing left to read.
pub(crate) fn keep_connection(answer: Answer, in_flight: &mut InFlight) {
    if answer.upstream.is_body_done() {
        in_flight.done(answer.upstream.heard());
        keep(answer.upstream, in_flight);
    }
}

fn keep(upstream: http1::Session, in_flight: &InFlight) {
    if let Some(connection) = upstream.into_kept() {
        in_flight.upstream().put_idle(connection.worker(), connection);
    }
}

/// Whether the connection can be used after a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// The body's end can be told.
    Kept,
    /// The body ends with the connection.
    Close,
}

/// Chooses how the end of the body is told to the client that sent `request`: HTTP/1.0 knows no chunks,
/// and an HTTP/1.1 connection need not end with a body of unknown length.
///
/// # Errors
///
/// Never for these constant values.
pub(crate) fn frame(response: &mut ResponseHeader, request: &RequestHeader) -> Result<Framing> {
    response.set_version(Version::HTTP_11);
    let has_body = request.method != Method::HEAD
        && !response.status.is_informational()
        && !matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let has_length = response.headers.contains_key(header::CONTENT_LENGTH);
    // Frames tell it (RFC 9113, section 8.1).
    if request.version == Version::HTTP_2 {
        response.remove_header(&header::TRANSFER_ENCODING);
        return Ok(Framing::Kept);
    }
    if request.version != Version::HTTP_11 {
        response.remove_header(&header::TRANSFER_ENCODING);
        return Ok(if has_body && !has_length { Framing::Close } else { Framing::Kept });
    }
    // Another coding that the upstream ended with its connection gets chunks around it (RFC 9112, section
    // 6.3): the client's connection goes on.
    if has_body && !has_length && !is_chunked(response) {
        response.append_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    Ok(Framing::Kept)
}

/// Whether the last transfer coding of `response` is `chunked`.
fn is_chunked(response: &ResponseHeader) -> bool {
    response
        .headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .next_back()
        .is_some_and(|codings| ends_with_chunked(codings.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_every_body_can_be_told() {
        for (fields, version, framing, codings) in [
            (&[][..], Version::HTTP_11, Framing::Kept, &["chunked"][..]),
            (&[("content-length", "5")], Version::HTTP_11, Framing::Kept, &[]),
            (&[("transfer-encoding", "gzip, Chunked")], Version::HTTP_11, Framing::Kept, &["gzip, Chunked"]),
            (&[("transfer-encoding", "gzip")], Version::HTTP_11, Framing::Kept, &["gzip", "chunked"]),
            (&[("transfer-encoding", "chunked")], Version::HTTP_10, Framing::Close, &[]),
            (&[("content-length", "5")], Version::HTTP_10, Framing::Kept, &[]),
        ] {
            let mut request = RequestHeader::build("GET", b"/", None).expect("request");
            request.set_version(version);
            let mut response = ResponseHeader::build(200, None).expect("response");
            for (name, value) in fields {
                response.append_header(*name, *value).expect("header");
            }
            assert_eq!(frame(&mut response, &request).expect("framed"), framing, "{fields:?}");
            let found: Vec<_> = response.headers.get_all(header::TRANSFER_ENCODING).iter().collect();
            assert_eq!(found, codings, "{fields:?}");
        }
    }
}
