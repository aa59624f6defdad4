//! What is known of one request while Pingora's hooks pass it along. However it ends, it is counted once.

use std::sync::Arc;

use http::header;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tokio::time::Instant;

use super::client::Client;
use super::client_stream::ClientStream;
use super::compress::encoder::Encoder;
use super::error_page::Refusal;
use super::forward::dial::Dial;
use super::forward::hold::Since;
use super::forward::is_upgrade;
use super::forward::lost::Lookout;
use super::forward::tries::{Choice, Tries};
use super::http2;
use super::metrics::RouteStats;
use super::observe::Trace;
use super::state::in_flight::InFlight;

/// What is known of one request.
#[derive(Default)]
pub(crate) struct Context {
    pub(crate) account: Option<Account>,
    pub(crate) client: Option<Client>,
    /// The tries on Pingora's own path.
    pub(crate) tries: Option<Tries>,
    pub(crate) present: Option<(Choice, InFlight)>,
    /// What opens its connection, where Pingora does not.
    pub(crate) dial: Option<Arc<Dial>>,
    /// Ends it when it will not be answered.
    pub(crate) lookout: Option<Lookout>,
    pub(crate) body_bytes: u64,
    /// Interim answers to it.
    pub(crate) interim: u32,
    /// When it was first held for want of an upstream.
    pub(crate) held_since: Since,
    /// What to answer when it fails.
    pub(crate) refusal: Option<Refusal>,
    /// The head of the upstream's answer that is replaced by one of ours.
    pub(crate) replaced: Option<Box<ResponseHeader>>,
    /// The upstream has answered, and another one is asked instead.
    pub(crate) is_unwanted: bool,
    /// What the answer's body goes through, where it is compressed.
    pub(crate) encoder: Option<Box<Encoder>>,
}

/// Counts a request when it is dropped, so also one that panics or is cut off.
pub(crate) struct Account {
    /// The status of the answer, where there is one.
    pub(crate) answered: Option<u16>,
    stats: Arc<RouteStats>,
    arrived: Instant,
    client: Client,
    /// Its line in the access log, where there is one.
    trace: Option<Arc<Trace>>,
    /// Of the answer's body.
    pub(crate) bytes: u64,
}

impl Account {
    pub(crate) fn open(stats: Arc<RouteStats>, arrived: Instant, client: Client) -> Self {
        Account { answered: None, stats, arrived, client, trace: None, bytes: 0 }
    }

    /// Has it written down too.
    pub(crate) fn traced(mut self, trace: Option<Arc<Trace>>) -> Self {
        self.trace = trace;
        self
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let now = Instant::now();
        let overdue = self.client.deadline().is_some_and(|deadline| deadline <= now);
        let cut = self.client.is_cut_unanswered();
        let refused = overdue.then_some(Refusal::TooSlow).or(cut.then_some(Refusal::Moving));
        let status = self.answered.or(refused.map(Refusal::status));
        self.stats.count(status, now.duration_since(self.arrived));
        if let Some(trace) = &self.trace {
            trace.ended(status, self.bytes, now);
        }
    }
}

/// The client whose request `session` is. Of one that speaks HTTP/2 it is taken out of the request, where it was put
/// for this.
///
/// # Errors
///
/// When it is not a client of ours, which it always is.
pub(crate) fn client_of(session: &mut Session) -> Result<Client> {
    let client = match session.as_downstream_mut() {
        ServerSession::H1(http1) => connection_of(http1).cloned().map(Client::Http1),
        other => other.req_header_mut().extensions_mut().remove::<http2::Stream>().map(Client::Http2),
    };
    client.ok_or_else(|| Error::explain(ErrorType::InternalError, "not a client of ours"))
}

fn connection_of(http1: &HttpSession) -> Option<&ClientStream> {
    (**http1.stream()).as_any().downcast_ref::<ClientStream>()
}

/// Whether the answer to `session`'s request is the last one on its connection.
pub(crate) fn is_last(session: &Session) -> bool {
    match session.as_downstream() {
        ServerSession::H1(http1) => connection_of(http1).is_some_and(ClientStream::is_closing),
        _ => false,
    }
}

/// Tells `client` how much of what comes belongs to this request, and returns the length of its body where
/// the head says it.
pub(crate) fn expect_body(session: &mut Session, client: &Client) -> Option<u64> {
    if session.is_body_empty() && matches!(client, Client::Http2(_)) {
        return Some(0);
    }
    let request = session.req_header();
    // Whoever looked at the head before (`strict`, or for HTTP/2 h2 and we) has seen to it that it is one number.
    let length =
        request.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let Client::Http1(client) = client else { return length };
    if is_upgrade(request) {
        client.expect_stream();
        return None;
    }
    // This means `chunked`, and there is no length beside it.
    if request.headers.contains_key(header::TRANSFER_ENCODING) {
        client.expect_chunked();
        return None;
    }
    let length = length.unwrap_or(0);
    client.expect_body(length);
    Some(length)
}
