//! HTTP/1.1 as a client of upstreams, for requests that are at hand: one write, and answers in pieces of the buffer that
//! they were read into.
//!
//! ```text
//!   send ──▶ read_head ──▶ interim: read_head again
//!                 └──────▶ read_body … ──▶ done ──▶ into_kept: the next request
//! ```
//!
//! Each wait may be left and taken up again: nothing that was read is lost. Where the request's body is passed on while it
//! comes, each of them does that too.

pub(crate) mod answer;
mod body;
mod head;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt as _;
use thiserror::Error;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use self::answer::Head;
use self::body::Body;
use super::connect::Connection;
use super::upload::{Flow, Sending, Upload};

/// A request that cannot be written in this time will not be: it fits into any socket's buffer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A head and a small body are read at once, in bytes.
const FIRST_READ: usize = 4 << 10;

/// As much of a body is read at once …
const BODY_READ: usize = 64 << 10;

/// … and so much once that was there at once: each read has the kernel tell the sender that there is room again.
const LARGE_READ: usize = 256 << 10;

/// Why an answer cannot be read.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the connection ended in the middle")]
    Closed,
    #[error("it is no answer of HTTP/1.1: {0}")]
    Unsound(&'static str),
    #[error("the request's body broke off")]
    NotSent,
}

/// A connection, and the exchange that goes over it.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    /// The body that is passed on to it while it comes, until all of it was.
    sending: Option<Box<Sending>>,
    /// Read and not given out.
    input: BytesMut,
    head: Option<Head>,
    body: Body,
    /// How much of it is read at once, in bytes.
    at_once: usize,
    asks_for_head: bool,
    keeps: bool,
}

impl Session {
    /// A session over `connection`, whose request asks for a head alone (HEAD) or not.
    pub(crate) fn new(connection: Connection, asks_for_head: bool) -> Self {
        let (input, body) = (BytesMut::new(), Body::Unknown);
        Session {
            connection,
            sending: None,
            input,
            head: None,
            body,
            at_once: BODY_READ,
            asks_for_head,
            keeps: false,
        }
    }

    /// Sends a request that is written in `wire`, with what is left of its `body`.
    ///
    /// # Errors
    ///
    /// When not all of it can be written in time.
    pub(crate) async fn send(&mut self, wire: &[u8], body: &[u8]) -> io::Result<()> {
        let writing = async {
            if body.is_empty() {
                self.connection.write_all(wire).await?;
            } else {
                self.connection.write_all_buf(&mut Buf::chain(wire, body)).await?;
            }
            self.connection.flush().await
        };
        let mut writing = pin!(writing);
        // Most often the kernel takes it at once, and no timer is needed.
        match writing.as_mut().now_or_never() {
            Some(written) => written,
            None => Box::pin(timeout(WRITE_TIMEOUT, writing)).await?,
        }
    }

    /// Begins to send a request with the head `wire`, whose body is passed on while it comes.
    pub(crate) fn begin_to_send(&mut self, wire: &[u8], body: Arc<Upload>) {
        self.sending = Some(Box::new(Sending::new(body, wire)));
    }

    /// Whether some of the request's body is still to be passed on, if the upstream takes it.
    pub(crate) fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Passes on what there is of the request's body.
    fn poll_sending(&mut self, context: &mut Context<'_>) -> Flow {
        let Some(sending) = &mut self.sending else { return Flow::Ended };
        let flow = sending.poll(context, &mut self.connection);
        if flow == Flow::Ended {
            self.sending = None;
        }
        flow
    }

    /// Passes on the rest of the request's body, as far as the client sends it and the upstream takes it.
    pub(crate) async fn send_rest(&mut self) {
        poll_fn(|context| match self.poll_sending(context) {
            Flow::Open => Poll::Pending,
            Flow::Ended | Flow::Refused | Flow::BrokeOff => Poll::Ready(()),
        })
        .await;
    }

    /// Does `other` while the request's body is passed on.
    pub(crate) async fn beside<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        poll_fn(|context| {
            // Whoever reads on finds out what came of it.
            self.poll_sending(context);
            other.as_mut().poll(context)
        })
        .await
    }

    /// Reads the head of the next answer; after an interim one there is another.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) async fn read_head(&mut self) -> Result<&Head, ReadError> {
        loop {
            if let Some(found) = head::take(&mut self.input, self.asks_for_head)? {
                (self.body, self.keeps) = (found.body, found.keeps);
                return Ok(self.head.insert(found.head));
            }
            if poll_fn(|context| self.poll_fill_first(context)).await? == 0 {
                return Err(ReadError::Closed);
            }
        }
    }

    /// When anything came last.
    pub(crate) fn heard(&self) -> Instant {
        self.connection.heard()
    }

    /// The head that was read last.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// The same, to be passed on.
    pub(crate) fn take_head(&mut self) -> Option<Head> {
        self.head.take()
    }

    /// Whether nothing more belongs to the answer.
    pub(crate) fn is_body_done(&self) -> bool {
        self.body.is_done()
    }

    /// Reads more of the body; none: that was all.
    ///
    /// # Errors
    ///
    /// When it does not end as its head says.
    pub(crate) async fn read_body(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(part) = self.body.take(&mut self.input)? {
                return Ok(Some(part));
            }
            if self.body.is_done() {
                return Ok(None);
            }
            let read = self.fill(self.at_once).await?;
            if read >= BODY_READ {
                self.at_once = LARGE_READ;
            }
            if read == 0 {
                return if self.body.ends_with_connection() { Ok(None) } else { Err(ReadError::Closed) };
            }
        }
    }

    /// The same, if there is more of it already.
    ///
    /// # Errors
    ///
    /// As above.
    pub(crate) fn body_at_hand(&mut self) -> Result<Option<Bytes>, ReadError> {
        self.body.take(&mut self.input)
    }

    /// Reads what a head and a small body are. They are most often far shorter than there is room for here, and so is what is
    /// allocated for them.
    fn poll_fill_first(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, ReadError>> {
        let mut space = [MaybeUninit::uninit(); FIRST_READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        if self.poll_sending(context) == Flow::BrokeOff {
            return Poll::Ready(Err(ReadError::NotSent));
        }
        ready!(Pin::new(&mut self.connection).poll_read(context, &mut buffer))?;
        self.input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    async fn fill(&mut self, most: usize) -> Result<usize, ReadError> {
        self.input.reserve(self.body.at_most().map_or(most, |left| left.min(most)));
        poll_fn(|context| {
            if self.poll_sending(context) == Flow::BrokeOff {
                return Poll::Ready(Err(ReadError::NotSent));
            }
            let Session { connection, input, .. } = self;
            pin!(connection.read_buf(input)).poll(context).map_err(ReadError::Io)
        })
        .await
    }

    /// The connection, if another request may go over it.
    pub(crate) fn into_kept(self) -> Option<Connection> {
        (self.keeps && self.body.is_done() && self.input.is_empty() && self.sending.is_none())
            .then_some(self.connection)
    }
}

/// The head that `text` is.
#[cfg(test)]
pub(crate) fn head_of(text: &str) -> Result<Head, ReadError> {
    let found = head::take(&mut bytes::BytesMut::from(text), false)?;
    Ok(found.expect("a whole head").head)
}

/// Fields of answers of many kinds, those that are said twice or in two ways among them.
#[cfg(test)]
pub(crate) const FIELDS: [&str; 21] = [
    "Content-Length: 5",
    "content-length: 5",
    "Content-Length: 5, 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Connection: keep-alive",
    "connection: X-Mine, close",
    "Connection: close",
    "Proxy-Connection: close",
    "Keep-Alive: timeout=5",
    "Trailer: X-Mine",
    "Upgrade: h2c",
    "via: 1.0 a",
    "Via: 1.1 b (c)",
    "Date: Tue, 15 Nov 1994 08:12:31 GMT",
    "X-Mine: 1",
    "x-EMPTY:",
    "Set-Cookie: a=b",
    "Set-Cookie: c=d; Path=/",
    "Content-Type: text/html",
    "X-Folded: a\r\n  b",
];
