//! A request of HTTP/1 that is answered past Pingora: its head is read once, its body is short or passed on while it comes
//! (`forward::upload`), and what is written goes to the client's connection as it is.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderValue, StatusCode, Version, header};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use pingora_core::protocols::http::date::get_cached_date;

use super::super::client_stream::{ClientStream, GATHER};
use super::super::forward::KEPT_BODY;
use super::super::forward::http1::answer::Head;
use super::super::forward::upload::{Again, Upload};
use super::super::observe::mark::Shown;
use super::as_came;
use super::framing::Framing;
use super::request::RequestHead;

/// The request, and how far its answer is.
pub(crate) struct Direct {
    client: ClientStream,
    head: RequestHead,
    is_read: bool,
    /// Its body is passed on while it comes.
    uploads: bool,
    keeps: bool,
    framing: Framing,
    status: Option<u16>,
    bytes: u64,
}

impl Direct {
    /// The request that `client` has sent the head of, if it is one that is answered this way. Nothing of it is taken
    /// otherwise.
    pub(crate) fn of(client: &ClientStream) -> Option<Self> {
        let head = client.with_head(RequestHead::read)?;
        let (is_read, keeps) = (head.length() == 0, head.keeps());
        let (client, framing) = (client.clone(), Framing::None);
        Some(Direct { client, head, is_read, uploads: false, keeps, framing, status: None, bytes: 0 })
    }

    /// Takes it: what follows its head on the connection is its body.
    pub(crate) fn take(&self) {
        self.client.skip_head();
        self.client.expect_body(self.head.length());
    }

    pub(super) fn head(&self) -> &RequestHead {
        &self.head
    }

    pub(super) fn head_mut(&mut self) -> &mut RequestHead {
        &mut self.head
    }

    pub(crate) fn length(&self) -> u64 {
        self.head.length()
    }

    /// Whether it may be sent twice by its method.
    pub(crate) fn asks_idempotently(&self) -> bool {
        self.head.method().is_idempotent()
    }

    /// Whether its body is to be passed on while it comes: it is long, or its client waits for a word before it sends it.
    pub(super) fn streams(&self) -> bool {
        self.head.length() > KEPT_BODY || self.head.expects()
    }

    /// Its body, to be passed on while it comes as [`Upload::new`] says.
    pub(super) fn upload(&mut self, again: Again, until: Instant, timeout: Duration) -> Upload {
        self.uploads = true;
        Upload::new(self.client.clone(), again, until, timeout)
    }

    pub(super) fn is_last(&self) -> bool {
        self.client.is_closing()
    }

    pub(crate) fn close(&mut self) {
        self.keeps = false;
    }

    /// Whether the connection goes on.
    pub(crate) fn keeps(&self) -> bool {
        self.keeps && (!self.uploads || self.client.has_body_come())
    }

    /// The status of the answer, if one was written, and the length of its body in bytes.
    pub(crate) fn answered(&self) -> (Option<u16>, u64) {
        (self.status, self.bytes)
    }

    /// Reads the body; none when it ended before its length.
    pub(super) async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let length = usize::try_from(self.head.length()).unwrap_or(usize::MAX);
        let mut body = BytesMut::with_capacity(length);
        while body.len() < length {
            let read = self.client.clone().read_buf(&mut body).await;
            if read
                .map_err(|error| Error::because(ErrorType::ReadError, "reading a body", error).into_down())?
                == 0
            {
                return Ok(None);
            }
        }
        self.is_read = true;
        Ok(Some(body.freeze()))
    }

    /// Whether all of the request has come, be it that nobody wanted its body.
    fn has_come(&mut self) -> bool {
        match self.streams() {
            true => self.client.has_body_come(),
            false => self.is_read || matches!(self.read_body().now_or_never(), Some(Ok(Some(_)))),
        }
    }

    pub(super) async fn write_head(&mut self, mut head: Box<ResponseHeader>) -> Result<()> {
        let is_interim = head.status.is_informational();
        if is_interim && self.head.version() == Version::HTTP_10 {
            // It knows none (RFC 9110, section 15.2).
            return Ok(());
        }
        if !is_interim {
            self.begin(head.status, Framing::of(&head, self.head.header()))?;
            complete(&mut head, self.keeps)?;
        }
        self.write(&text(&head)).await?;
        if is_interim { self.flush().await } else { Ok(()) }
    }

    /// Writes the head of an answer as it came. Returns whether it can be; nothing is written otherwise.
    pub(super) fn write_as_came(&mut self, head: &Head) -> Result<bool> {
        let Some(framing) = as_came::framing(head, self.head.version(), self.head.method()) else {
            return Ok(false);
        };
        self.begin(head.status, framing)?;
        let shown = Shown::of(self.head.asked());
        // Its body will be gathered beside it if it is short.
        let body =
            if let Framing::Length(length) = framing { length.try_into().unwrap_or(GATHER) } else { 0 };
        let room = head.size() + as_came::ADDED + if body > GATHER { 0 } else { body };
        written(self.client.gather(room, |out| as_came::write(head, self.keeps, shown, out)))?;
        Ok(true)
    }

    /// Begins an answer, whose end is told so.
    fn begin(&mut self, status: StatusCode, framing: Framing) -> Result<()> {
        if self.status.is_some() {
            return Error::e_explain(ErrorType::InternalError, "an answer was begun before");
        }
        self.framing = framing;
        // A client that is still sending is told that nobody listens, unless somebody seems to.
        let is_listened_to = self.uploads && status.is_success();
        self.keeps &= framing != Framing::Close && (is_listened_to || self.has_come());
        self.status = Some(status.as_u16());
        Ok(())
    }

    pub(super) async fn write_body(&mut self, part: &[u8], end: bool) -> Result<()> {
        match &mut self.framing {
            Framing::None => {}
            _ if part.is_empty() => {}
            Framing::Length(left) => {
                let Some(rest) = left.checked_sub(part.len() as u64) else {
                    return Error::e_explain(ErrorType::InternalError, "a body is longer than its head says");
                };
                *left = rest;
                self.write(part).await?;
            }
            Framing::Close => self.write(part).await?,
            Framing::Chunked => {
                self.write(format!("{:X}\r\n", part.len()).as_bytes()).await?;
                self.write(part).await?;
                self.write(b"\r\n").await?;
            }
        }
        if self.framing != Framing::None {
            self.bytes += part.len() as u64;
        }
        if end { self.finish().await } else { Ok(()) }
    }

    pub(super) async fn finish(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.framing, Framing::None) {
            Framing::Chunked => self.write(b"0\r\n\r\n").await?,
            Framing::Length(1..) => {
                return Error::e_explain(ErrorType::InternalError, "a body is shorter than its head says");
            }
            Framing::Length(0) | Framing::Close | Framing::None => {}
        }
        self.flush().await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        written(self.client.write_all(bytes).await)
    }

    async fn flush(&self) -> Result<()> {
        written(self.client.send_gathered().await)
    }
}

/// Says in `head` whether the connection is kept, and when it was written.
pub(super) fn complete(head: &mut ResponseHeader, keeps: bool) -> Result<()> {
    let connection = if keeps { "keep-alive" } else { "close" };
    head.insert_header(header::CONNECTION, HeaderValue::from_static(connection))?;
    if !head.headers.contains_key(header::DATE) {
        head.insert_header(header::DATE, get_cached_date())?;
    }
    Ok(())
}

/// What is written of `head`.
pub(super) fn text(head: &ResponseHeader) -> BytesMut {
    let reason = head.get_reason_phrase().unwrap_or_default();
    let mut text = BytesMut::with_capacity(512);
    for part in ["HTTP/1.1 ", head.status.as_str(), " ", reason, "\r\n"] {
        text.extend_from_slice(part.as_bytes());
    }
    head.header_to_h1_wire(&mut text);
    text.extend_from_slice(b"\r\n");
    text
}

fn written(result: io::Result<()>) -> Result<()> {
    result.map_err(|error| Error::because(ErrorType::WriteError, "answering", error).into_down())
}
