//! HTTP/2 to upstreams, over Pingora's own path: how their connections are made, what a request needs beyond what
//! Pingora makes of it, and which failures say that an upstream has not looked at a request.

use std::time::Duration;

use h2::Reason;
use http::header;
use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::PeerOptions;
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

/// Requests at a time on one connection; with more another one is opened. An upstream may allow fewer.
const STREAMS: usize = 100;

/// What an upstream may send of one answer before it is read, in bytes …
const STREAM_WINDOW: u32 = 256 << 10;

/// … and of all answers of a connection.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// How often a connection is asked whether it still lives; Pingora gives it 5 s to answer.
const PING: Duration = Duration::from_secs(10);

/// Has connections be ones of HTTP/2, with prior knowledge where there is no TLS.
pub(crate) fn configure(options: &mut PeerOptions) {
    options.alpn = ALPN::H2;
    options.max_h2_streams = STREAMS;
    options.h2_stream_window_size = Some(STREAM_WINDOW);
    options.h2_connection_window_size = Some(CONNECTION_WINDOW);
    options.h2_ping_interval = Some(PING);
}

/// Makes `request`, which goes to an upstream of HTTP/2, what it has to be.
///
/// # Errors
///
/// When the client cannot be written to.
pub(crate) async fn prepare(session: &mut Session, request: &mut RequestHeader) -> Result<()> {
    // Pingora drops it as one of a connection's, but servers of gRPC insist on it (RFC 9113, section 8.2.2).
    if asks_for_trailers(session.req_header()) {
        request.insert_header(header::TE, "trailers")?;
    }
    // The interim answers of an upstream of HTTP/2 are not to be had from Pingora, so the go-ahead is ours.
    if request.remove_header(&header::EXPECT).is_some()
        && session.req_header().version >= http::Version::HTTP_11
    {
        let go_ahead = ResponseHeader::build(100, None)?;
        session.as_downstream_mut().write_response_header(Box::new(go_ahead)).await?;
    }
    Ok(())
}

/// Has `request` say that it goes over TLS. Pingora, which does not know, would say otherwise where there is a `Host`.
pub(crate) fn say_https(request: &mut RequestHeader) {
    let Some(host) = request.headers.get(header::HOST) else { return };
    let mut uri = http::Uri::builder().scheme("https").authority(host.as_bytes());
    if let Some(target) = request.uri.path_and_query() {
        uri = uri.path_and_query(target.clone());
    }
    // What is none stays as it is, and Pingora says what is wrong with it.
    if let Ok(uri) = uri.build() {
        request.set_uri(uri);
        request.remove_header(&header::HOST);
    }
}

fn asks_for_trailers(request: &RequestHeader) -> bool {
    let values = request.headers.get_all(header::TE).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Whether the upstream has not looked at the request, so that it may be sent again whatever its method: it refused
/// the stream (RFC 9113, section 8.7), or said with GOAWAY that it went no further than to an earlier one (section 6.8).
pub(crate) fn was_refused(error: &Error) -> bool {
    error.root_cause().downcast_ref::<h2::Error>().is_some_and(|error| {
        let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        error.is_remote() && (refused || error.is_go_away())
    })
}
