//! A check by HTTP/1.1 (RFC 9112): one request, and the connection is closed.

use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use wire::checks::{HttpAsk, Method};

use super::stream::{Search, Stream};
use super::{Fault, MAX_ANSWER, Outcome, Role, USER_AGENT};

/// Sends the request over `stream` and judges the answer.
pub(super) async fn ask(stream: Stream, ask: &HttpAsk) -> Outcome {
    // What is configured was found to make a request when it came.
    let request = request(&stream, ask).map_err(|_unusable| Fault::Void)?;
    let opening = http1::Builder::new().max_buf_size(MAX_ANSWER).handshake(TokioIo::new(stream));
    let (mut sender, connection) = opening.await.map_err(|_error| Fault::Broken)?;
    let judging = pin!(async {
        let response = sender.send_request(request).await.map_err(|_error| Fault::Broken)?;
        let status = response.status().as_u16();
        if !ask.expect_status.iter().any(|range| range.contains(status)) {
            return Err(Fault::Status(status));
        }
        let Some(wanted) = &ask.expect_body else { return Ok(Role::Any) };
        let (mut body, mut search) = (response.into_body(), Search::new(wanted));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_error| Fault::Broken)?;
            match frame.data_ref().and_then(|bytes| search.take(bytes)) {
                Some(true) => return Ok(Role::Any),
                Some(false) => break,
                None => {}
            }
        }
        Err(Fault::Body)
    });
    match select(judging, pin!(connection)).await {
        Either::Left((outcome, _)) => outcome,
        // The connection is done with; what it brought is still there to be read.
        Either::Right((_, judging)) => judging.await,
    }
}

fn request(stream: &Stream, ask: &HttpAsk) -> http::Result<Request<Empty<Bytes>>> {
    let method = match ask.method {
        Method::Get => http::Method::GET,
        Method::Head => http::Method::HEAD,
    };
    let host = ask.host.clone().unwrap_or_else(|| stream.address.to_string());
    let mut request = Request::builder()
        .method(method)
        .uri(&ask.path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::new())?;
    for (name, value) in &ask.headers {
        let name = HeaderName::from_bytes(name.as_bytes())?;
        request.headers_mut().insert(name, HeaderValue::from_str(&value.0)?);
    }
    Ok(request)
}
