//! A client's socket, as we hold it between requests and as Pingora sees it during one.
//!
//! Between requests it has no buffers: an idle connection costs its task and its socket. During one,
//! Pingora owns a handle that gives it exactly one request's bytes, so that what a client sends ahead
//! stays here for the next one; we keep another handle to notice a client that goes away.

use std::cell::RefMut;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::arrival::Arrived;
use super::client::Likeness;
use super::client_socket::{Phase, Socket};
use super::hand_over::OnVip;
use super::headers::Origin;
use super::http2::PREFACE;
use super::limits::hops::Told;
use super::one_thread::OneThread;
use super::patience::Patience;
use super::plain_stream::plain_stream;
use super::request_head::head_length;
use super::route::sender::Sender;
use super::strict::{self, Fault, HeadLimits};
use super::unconfirmed::unconfirmed;

/// Writes are gathered up to so many bytes, so that a head and a small body leave in one packet.
pub(super) const GATHER: usize = 16 << 10;

/// So much of a head that is refused is looked at to write down what was asked, in bytes.
const HEAD_SHOWN: usize = 4 << 10;

/// The first byte of a TLS connection: a handshake record (RFC 8446, section 5.1).
pub(super) const HANDSHAKE_RECORD: u8 = 22;

/// A handle to a client's socket.
#[derive(Clone, Debug)]
pub(crate) struct ClientStream(Arc<OneThread<Socket>>);

/// What became of the wait for a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadRead {
    /// It is complete.
    Complete,
    /// It is larger than allowed.
    TooLarge,
    /// It can be read in two ways, or not at all.
    Faulty(Fault),
    /// The client closed the connection.
    Closed,
}

impl ClientStream {
    pub(crate) fn new(arrived: Arrived, on_vip: Option<Arc<OnVip>>) -> Self {
        ClientStream(Arc::new(OneThread::new(Socket::new(arrived, on_vip))))
    }

    /// The virtual address it came to, if it is one.
    pub(crate) fn on_vip(&self) -> Option<Arc<OnVip>> {
        self.socket().on_vip.clone()
    }

    /// Whether the next answer is the last one on this connection.
    pub(crate) fn is_closing(&self) -> bool {
        self.socket().on_vip.as_ref().is_some_and(|on_vip| on_vip.is_closing())
    }

    /// Whether its address moves without it, and nothing of the answer to its request was written.
    pub(crate) fn is_cut_unanswered(&self) -> bool {
        let socket = self.socket();
        !socket.answered && socket.on_vip.as_ref().is_some_and(|on_vip| on_vip.is_cut())
    }

    /// Whether anything of the answer to the present request was written.
    pub(crate) fn has_answered(&self) -> bool {
        self.socket().answered
    }

    /// Whether the request whose head was just read may be sent twice by its method.
    pub(crate) fn asks_idempotently(&self) -> bool {
        let socket = self.socket();
        let line = socket.input.trim_ascii_start();
        let method = line.split(|&byte| byte == b' ').next().unwrap_or_default();
        http::Method::from_bytes(method).is_ok_and(|method| method.is_idempotent())
    }

    /// Whether it ends with a reset.
    pub(crate) fn is_aborted(&self) -> bool {
        self.socket().aborted
    }

    /// Whether something was written that the kernel does not have yet.
    pub(crate) fn has_gathered(&self) -> bool {
        let socket = self.socket();
        !socket.output.is_empty() || socket.transport.has_unsent()
    }

    /// How many bytes the kernel has sent, or will, that the client has not confirmed; none on a connection that
    /// has ended.
    pub(crate) fn unconfirmed(&self) -> u64 {
        let socket = self.socket();
        match socket.transport.tcp().peer_addr() {
            Ok(_) => unconfirmed(socket.transport.tcp()).unwrap_or(0),
            Err(_) => 0,
        }
    }

    /// Whether bytes of the next request are there.
    pub(crate) fn has_sent(&self) -> bool {
        self.socket().has_sent()
    }

    /// The address at the other end.
    pub(crate) fn peer(&self) -> IpAddr {
        self.socket().peer
    }

    /// Whether the client's own connection is encrypted.
    pub(crate) fn is_secure(&self) -> bool {
        self.socket().is_secure
    }

    /// What upstreams are told of the client.
    pub(crate) fn origin(&self) -> Origin {
        let socket = self.socket();
        let (peer, is_secure) = (socket.peer, socket.is_secure);
        Origin { peer, is_secure, certificate: socket.certificate.clone(), told: socket.told.clone() }
    }

    /// Whose the present request is.
    pub(crate) fn sender(&self) -> Sender {
        let socket = self.socket();
        Sender::behind(socket.peer, socket.is_secure, socket.told.as_deref())
    }

    /// Believes what the peer says of whose the present request is.
    pub(crate) fn believe(&self, told: Arc<Told>) {
        self.socket().told = Some(told);
    }

    /// Whether the client begins as one does that speaks TLS, on a connection where it is not spoken. No request of
    /// HTTP/1.1 begins so.
    pub(crate) fn begins_with_tls(&self) -> bool {
        let socket = self.socket();
        !socket.transport.is_tls() && socket.input.first() == Some(&HANDSHAKE_RECORD)
    }

    /// Waits, without buffers, for the first bytes of the next request; `false` when the client closed the
    /// connection instead.
    pub(crate) async fn next_begins(&self) -> bool {
        if !self.socket().input.is_empty() {
            return true;
        }
        let first = poll_fn(|context| {
            let mut socket = self.socket();
            // TLS has a buffer as soon as it is asked to read.
            if socket.transport.is_tls() {
                ready!(socket.transport.poll_readable(context))?;
            }
            let first = socket.poll_fill(context);
            if first.is_pending() {
                // Ready was a hint only.
                socket.input = Vec::new();
            }
            first
        });
        matches!(first.await, Ok(1..))
    }

    /// Whether the client speaks HTTP/2: over TLS it has said so (RFC 9113, section 3.2), else it is read until that is
    /// known from how it opens (section 3.4).
    pub(crate) async fn speaks_http2(&self) -> bool {
        {
            let socket = self.socket();
            if socket.is_http2 || socket.transport.is_tls() {
                return socket.is_http2;
            }
        }
        loop {
            {
                let socket = self.socket();
                let have = socket.input.len().min(PREFACE.len());
                if socket.input[..have] != PREFACE[..have] {
                    return false;
                }
                if have == PREFACE.len() {
                    return true;
                }
            }
            if !matches!(poll_fn(|context| self.socket().poll_fill(context)).await, Ok(1..)) {
                return false;
            }
        }
    }

    /// Reads until a request's head is complete or larger than `most` bytes, and checks it.
    pub(crate) async fn read_head(&self, most: usize, limits: &HeadLimits) -> HeadRead {
        let (mut searched, mut has_line) = (0, false);
        loop {
            {
                let mut socket = self.socket();
                if let Some(length) = head_length(&socket.input, searched) {
                    return socket.take_head(length, most, limits);
                }
                searched = socket.input.len();
                if !has_line {
                    match strict::early(&socket.input, limits.target) {
                        Ok(complete) => has_line = complete,
                        Err(fault) => return HeadRead::Faulty(fault),
                    }
                }
                if searched > most {
                    return HeadRead::TooLarge;
                }
            }
            match poll_fn(|context| self.socket().poll_fill(context)).await {
                Ok(1..) => {}
                Ok(0) if !self.socket().input.trim_ascii().is_empty() => {
                    return HeadRead::Faulty(Fault::bad("the request's head ends before its empty line"));
                }
                Ok(0) | Err(_) => return HeadRead::Closed,
            }
        }
    }

    /// Looks at the head that was read.
    pub(crate) fn with_head<T>(&self, look: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let socket = self.socket();
        let Phase::Head(length) = socket.phase else { return None };
        look(&socket.input[..length])
    }

    /// The head that was read is done with.
    pub(crate) fn skip_head(&self) {
        let mut socket = self.socket();
        if let Phase::Head(length) = std::mem::replace(&mut socket.phase, Phase::Undecided) {
            socket.input.drain(..length);
        }
    }

    /// What is there of a head that was refused.
    pub(crate) fn head_so_far(&self) -> Vec<u8> {
        let socket = self.socket();
        socket.input[..socket.input.len().min(HEAD_SHOWN)].to_vec()
    }

    /// Sets how slow the client may be.
    pub(crate) fn allow(&self, patience: &Arc<Patience>) {
        self.socket().patience = Some(patience.clone());
    }

    /// What is wrong with the body of the present request, as far as it came.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.socket().fault
    }

    /// Whether someone has begun to serve the present request.
    pub(crate) fn is_taken(&self) -> bool {
        self.socket().taken
    }

    /// So many more bytes belong to the present request.
    pub(crate) fn expect_body(&self, length: u64) {
        self.socket().expect(Phase::Body(length));
    }

    /// The body of the present request will be read without being waited for: that says when the client is gone.
    pub(crate) fn begin_upload(&self) {
        self.socket().uploads = true;
    }

    /// Whether all of the present request's body was read, where its length was said.
    pub(crate) fn has_body_come(&self) -> bool {
        self.socket().phase == Phase::Body(0)
    }

    /// What comes belongs to the present request until its chunked body ends.
    pub(crate) fn expect_chunked(&self) {
        self.socket().expect(Phase::Chunked);
    }

    /// All that comes belongs to the present request: only its content tells where it ends.
    pub(crate) fn expect_stream(&self) {
        self.socket().expect(Phase::Open);
    }

    /// The request is done: gives its buffers back.
    pub(crate) fn settle(&self) {
        let mut socket = self.socket();
        socket.answer_by = None;
        socket.answered = false;
        socket.look = None;
        socket.told = None;
        socket.output = Vec::new();
        socket.sent = 0;
        socket.phase = Phase::Undecided;
        socket.forget_request();
        if socket.input.is_empty() {
            socket.input = Vec::new();
        }
    }

    /// Resolves when the client has closed the connection. A client that has sent its next request ahead is there,
    /// and so may be one that has only ended its own side (`Limits::half_closed_ms`).
    pub(crate) async fn gone(&self) {
        poll_fn(|context| self.socket().poll_gone(context)).await;
    }

    /// Sends what was gathered.
    pub(crate) async fn send_gathered(&self) -> io::Result<()> {
        poll_fn(|context| self.socket().poll_drain(context)).await
    }

    /// Gathers what `write` writes of an answer, for which there is to be so much `room`.
    pub(crate) fn gather(&self, room: usize, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut socket = self.socket();
        if socket.aborted {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        socket.answered = true;
        socket.output.reserve(room);
        write(&mut socket.output);
        Ok(())
    }

    /// Sends `bytes` past Pingora.
    pub(crate) async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.clone().write_all(bytes).await?;
        self.send_gathered().await
    }

    /// Ends the connection with a reset and takes no more writes: the answer on it is broken, and the
    /// client must not mistake what it has for the whole.
    pub(crate) async fn abort(&self) {
        let _ = self.send_gathered().await;
        self.reset();
    }

    /// Ends the connection with a reset, whatever of an answer is still to be sent.
    pub(crate) fn reset(&self) {
        let mut socket = self.socket();
        socket.aborted = true;
        let _ = socket2::SockRef::from(socket.transport.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// Sets until when the answer must have begun; none when it has.
    pub(crate) fn answer_by(&self, deadline: Option<Instant>) {
        self.socket().answer_by = deadline;
    }

    /// Has the present request refused like this, when Pingora is not asked.
    pub(crate) fn refuse_like(&self, likeness: Likeness) {
        self.socket().look = Some(Box::new(likeness));
    }

    /// Like what the present request is refused, where that was said.
    pub(crate) fn look(&self) -> Option<Likeness> {
        self.socket().look.as_deref().cloned()
    }

    /// Until when the answer must have begun.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.socket().answer_by
    }

    /// Says that no more will be sent and reads away up to `limit` bytes, until the client closes: closing
    /// with unread bytes would reset the connection and could take the answer with it. Calls `received` when
    /// there are such bytes.
    pub(crate) async fn linger(&self, limit: usize, mut received: impl FnMut()) {
        if self.socket().aborted {
            return;
        }
        let _ = self.send_gathered().await;
        let _ = self.clone().shutdown_write().await;
        let mut left = limit;
        while left > 0 {
            self.socket().input.clear();
            match poll_fn(|context| self.socket().poll_fill(context)).await {
                Ok(count @ 1..) => {
                    left = left.saturating_sub(count);
                    received();
                }
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Over TLS, gives the kernel all of an answer and the word that it is whole, however slow the client is: the
    /// kernel sends on what it has when a connection is dropped, and that word would not be among it.
    pub(crate) async fn finish(&self) {
        let waits = {
            let socket = self.socket();
            socket.transport.is_tls() && !socket.aborted
        };
        if waits {
            let _ = poll_fn(|context| self.socket().poll_end(context)).await;
        }
    }

    async fn shutdown_write(&self) -> io::Result<()> {
        poll_fn(|context| self.socket().transport.poll_shutdown(context)).await
    }

    /// Says, if it can be said at once, that a connection without a request ends: over TLS a client would else take
    /// it for cut off.
    pub(crate) fn part(&self) {
        let mut socket = self.socket();
        if socket.transport.is_tls() && !socket.aborted {
            let _ = socket.transport.poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn fd(&self) -> i32 {
        self.socket().transport.tcp().as_raw_fd()
    }

    fn socket(&self) -> RefMut<'_, Socket> {
        self.0.look()
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut socket = self.socket();
        match socket.phase {
            Phase::Head(left) => {
                let count = ready!(socket.poll_take(context, buffer, left))?;
                socket.phase = if count < left { Phase::Head(left - count) } else { Phase::Undecided };
            }
            // Nothing more is Pingora's to read before it was decided what follows.
            Phase::Undecided => {}
            // The end of input is what tells Pingora that the client is gone.
            Phase::Body(0) => ready!(socket.poll_gone(context)),
            Phase::Body(left) => {
                let count = ready!(socket.poll_body(context, buffer, left))?;
                socket.phase = Phase::Body(left - count);
            }
            Phase::Chunked => ready!(socket.poll_chunked(context, buffer))?,
            Phase::Open => {
                ready!(socket.poll_take(context, buffer, usize::MAX))?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut socket = self.socket();
        if socket.aborted {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        socket.note_written(bytes);
        if socket.output.len() + bytes.len() <= GATHER {
            socket.output.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        socket.poll_send(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_drain(context)
    }

    /// Sends what is left; the connection itself is ended by who holds the other handle.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

plain_stream!(ClientStream);
