//! A stream as Pingora knows it: its protocol of "custom" sessions. Pingora's own session for HTTP/2 holds the stream
//! where nothing else can see whether the client is still there, and drops interim answers.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream as FuturesStream};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::body_buffer::FixedBuffer;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session as CustomSession;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{Error, ErrorType, OrErr as _, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::timeout;

use super::super::forward::http1::answer::Head;
use super::super::observe::mark::Shown;
use super::as_came;
use super::stream::Stream;

/// The largest request body that is kept to be sent again, as on Pingora's path for HTTP/1.
const KEPT_BODY: usize = 64 << 10;

/// Fields that HTTP/2 does not have (RFC 9113, section 8.2.2).
const NOT_IN_HTTP2: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// One request and its answer.
pub(crate) struct Session {
    head: RequestHeader,
    stream: Stream,
    written: Option<Box<ResponseHeader>>,
    kept: Option<FixedBuffer>,
    sent: usize,
    read: usize,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    drain_timeout: Option<Duration>,
}

impl Session {
    pub(super) fn new(head: RequestHeader, stream: Stream) -> Self {
        Session {
            head,
            stream,
            written: None,
            kept: None,
            sent: 0,
            read: 0,
            read_timeout: None,
            write_timeout: None,
            drain_timeout: None,
        }
    }

    pub(crate) fn head(&self) -> &RequestHeader {
        &self.head
    }

    pub(crate) fn head_mut(&mut self) -> &mut RequestHeader {
        &mut self.head
    }

    pub(crate) fn has_no_body(&self) -> bool {
        self.stream.is_body_empty()
    }

    /// The status of the answer, if one was written, and the length of its body in bytes.
    pub(super) fn answered(&self) -> (Option<u16>, u64) {
        (self.written.as_ref().map(|head| head.status.as_u16()), self.sent as u64)
    }

    /// Gives up what the client takes none of for so long.
    pub(super) fn allow(&mut self, write_timeout: Duration) {
        self.write_timeout = Some(write_timeout);
    }

    /// Writes the head of an answer, or an interim one; `end`: without a body.
    ///
    /// # Errors
    ///
    /// When the stream cannot be written to; so with those that follow.
    pub(crate) fn respond(&mut self, mut head: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self.written.is_some() {
            return Ok(());
        }
        if head.status.is_informational() {
            forget(&mut head);
            // There is nothing in HTTP/2 to switch to (RFC 9113, section 8.6).
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(Error::explain(ErrorType::InvalidHTTPHeader, "101 to a stream of HTTP/2"));
            }
            let sent = self.stream.write_interim(Response::from_parts((*head).into(), ()));
            return sent
                .or_err(ErrorType::WriteError, "an interim answer")
                .map_err(|error| error.into_down());
        }
        complete(&mut head)?;
        self.begin(Response::from_parts((*head).into(), ()), end)
    }

    /// Writes the head of an answer as it came. Returns whether it can be; nothing is written otherwise.
    pub(crate) fn write_as_came(&mut self, head: &Head) -> Result<bool> {
        if self.written.is_some() {
            return Ok(false);
        }
        let Some(made) = as_came::made(head, Shown::of((&self.head).into())) else { return Ok(false) };
        self.begin(made, false).map(|()| true)
    }

    /// Sends the head of an answer; `end`: without a body.
    fn begin(&mut self, head: Response<()>, end: bool) -> Result<()> {
        let has_no_body = self.head.method == Method::HEAD
            || matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        // Whoever asks later wants to know no more of it.
        self.written = Some(Box::new(ResponseHeader::build_no_case(head.status(), Some(0))?));
        let sent = self.stream.write_head(head, end || has_no_body);
        sent.or_err(ErrorType::WriteError, "the head of an answer").map_err(|error| error.into_down())
    }

    /// Writes a part of the body, the last one or not.
    ///
    /// # Errors
    ///
    /// As above.
    pub(crate) async fn send(&mut self, data: Bytes, end: bool) -> Result<()> {
        if self.stream.has_ended() {
            return Ok(());
        }
        self.sent += data.len();
        let mut sending = pin!(self.stream.write_data(data, end));
        let sent = match (sending.as_mut().now_or_never(), self.write_timeout) {
            // Most often there is room for it, and no timer is needed.
            (Some(sent), _) => sent,
            (None, Some(limit)) => {
                let sent = Box::pin(timeout(limit, sending)).await;
                sent.map_err(|_elapsed| Error::new_down(ErrorType::WriteTimedout))?
            }
            (None, None) => sending.await,
        };
        sent.or_err(ErrorType::WriteError, "the body of an answer").map_err(|error| error.into_down())
    }

    /// Ends the answer.
    ///
    /// # Errors
    ///
    /// As above.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.stream.finish().or_err(ErrorType::WriteError, "the end of an answer")
    }

    async fn next_part(&mut self) -> Result<Option<Bytes>> {
        let part = poll_fn(|context| self.stream.poll_body(context));
        let part = match self.read_timeout {
            Some(limit) => {
                timeout(limit, part).await.map_err(|_elapsed| Error::new_down(ErrorType::ReadTimedout))?
            }
            None => part.await,
        };
        let part = part.transpose().or_err(ErrorType::ReadError, "the body of a request");
        let part = part.map_err(|error| error.into_down())?;
        if let Some(part) = &part {
            self.read += part.len();
            if let Some(kept) = &mut self.kept {
                kept.write_to_buffer(part);
            }
        }
        Ok(part)
    }
}

/// Takes out of `head` what HTTP/2 does not have.
fn forget(head: &mut ResponseHeader) {
    for name in &NOT_IN_HTTP2 {
        head.remove_header(name);
    }
}

/// The same, and says when it was written.
pub(super) fn complete(head: &mut ResponseHeader) -> Result<()> {
    forget(head);
    if !head.headers.contains_key(header::DATE) {
        head.insert_header(header::DATE, get_cached_date())?;
    }
    Ok(())
}

#[async_trait]
impl CustomSession for Session {
    fn req_header(&self) -> &RequestHeader {
        &self.head
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.head
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        if self.stream.is_body_done() {
            return Ok(None);
        }
        self.next_part().await
    }

    /// Nothing: unlike a connection of HTTP/1 the stream is not used again, so the rest is refused instead.
    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.respond(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.respond(Box::new(head.clone()), end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.send(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        let sent = self.stream.write_trailers(trailers).or_err(ErrorType::WriteError, "trailers");
        sent.map_err(|error| error.into_down())
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut over = false;
        for task in tasks {
            over |= match task {
                HttpTask::Header(head, end) => {
                    self.respond(head, end)?;
                    end
                }
                HttpTask::Body(data, end) => {
                    if let Some(data) = data.filter(|data| !data.is_empty()) {
                        self.send(data, end).await?;
                    }
                    end
                }
                HttpTask::UpgradedBody(..) => {
                    return Err(Error::explain(ErrorType::InternalError, "a tunnel in a stream of HTTP/2"));
                }
                HttpTask::Trailer(trailers) => {
                    if let Some(trailers) = trailers {
                        self.write_trailers(*trailers).await?;
                    }
                    true
                }
                HttpTask::Done => true,
                HttpTask::Failed(error) => return Err(error),
            };
        }
        if over {
            self.finish().await?;
        }
        Ok(over)
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.read_timeout
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write_timeout = timeout;
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.write_timeout
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.drain_timeout = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout
    }

    fn request_summary(&self) -> String {
        format!("{} {}", self.head.method, self.head.uri)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.stream.abort();
    }

    fn is_body_done(&mut self) -> bool {
        self.stream.is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.end()
    }

    fn is_body_empty(&mut self) -> bool {
        self.stream.is_body_empty()
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.stream.is_body_done() {
            return self.next_part().await;
        }
        let gone = poll_fn(|context| self.stream.poll_gone(context)).await;
        let why = gone.map_or_else(|error| error.to_string(), |reason| reason.to_string());
        Err(Error::explain(ErrorType::ConnectionClosed, why).into_down())
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn body_bytes_read(&self) -> usize {
        self.read
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    /// Only Pingora's subrequests ask for it; we make none.
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.kept.get_or_insert_with(|| FixedBuffer::new(KEPT_BODY));
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.kept.as_ref().is_some_and(FixedBuffer::is_truncated)
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.kept.as_ref().filter(|kept| !kept.is_truncated()).and_then(FixedBuffer::get_buffer)
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn FuturesStream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<dyn FuturesStream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
