//! A client's socket, as we hold it between requests and as Pingora sees it during one.
//!
//! Between requests it has no buffers: an idle connection costs its task and its socket. During one,
//! Pingora owns a handle that gives it exactly one request's bytes, so that what a client sends ahead
//! stays here for the next one; we keep another handle to notice a client that goes away.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::client_socket::{Phase, Socket};
use super::hand_over::OnVip;
use super::http2::PREFACE;
use super::lock;
use super::plain_stream::plain_stream;
use super::request_head::head_length;
use super::unconfirmed::unconfirmed;

/// Writes are gathered up to so many bytes, so that a head and a small body leave in one packet.
const GATHER: usize = 16 << 10;

/// A handle to a client's socket.
#[derive(Clone, Debug)]
pub(crate) struct ClientStream(Arc<Mutex<Socket>>);

/// What became of the wait for a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadRead {
    /// It is complete.
    Complete,
    /// It is larger than allowed.
    TooLarge,
    /// The client closed the connection.
    Closed,
}

impl ClientStream {
    pub(crate) fn new(tcp: TcpStream, peer: IpAddr, on_vip: Option<Arc<OnVip>>) -> Self {
        ClientStream(Arc::new(Mutex::new(Socket::new(tcp, peer, on_vip))))
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
        !self.socket().output.is_empty()
    }

    /// How many bytes the kernel has sent, or will, that the client has not confirmed; none on a connection that
    /// has ended.
    pub(crate) fn unconfirmed(&self) -> u64 {
        let socket = self.socket();
        match socket.tcp.peer_addr() {
            Ok(_) => unconfirmed(&socket.tcp).unwrap_or(0),
            Err(_) => 0,
        }
    }

    /// Whether bytes of the next request are there.
    pub(crate) fn has_sent(&self) -> bool {
        let socket = self.socket();
        let mut byte = [MaybeUninit::uninit()];
        !socket.input.is_empty() || matches!(socket2::SockRef::from(&socket.tcp).peek(&mut byte), Ok(1..))
    }

    /// The client's address.
    pub(crate) fn peer(&self) -> IpAddr {
        self.socket().peer
    }

    /// Waits, without buffers, for the first bytes of the next request; `false` when the client closed the
    /// connection instead.
    pub(crate) async fn next_begins(&self) -> bool {
        if !self.socket().input.is_empty() {
            return true;
        }
        let first = poll_fn(|context| {
            let mut socket = self.socket();
            ready!(socket.tcp.poll_read_ready(context))?;
            let first = socket.poll_fill(context);
            if first.is_pending() {
                // Ready was a hint only.
                socket.input = Vec::new();
            }
            first
        });
        matches!(first.await, Ok(1..))
    }

    /// Reads until it is known whether the client opens with HTTP/2 (RFC 9113, section 3.4).
    pub(crate) async fn opens_http2(&self) -> bool {
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

    /// Reads until a request's head is complete or larger than `limit` bytes.
    pub(crate) async fn read_head(&self, limit: usize) -> HeadRead {
        let mut searched = 0;
        loop {
            {
                let mut socket = self.socket();
                if let Some(length) = head_length(&socket.input, searched) {
                    socket.phase = Phase::Head(length);
                    return if length <= limit { HeadRead::Complete } else { HeadRead::TooLarge };
                }
                searched = socket.input.len();
                if searched > limit {
                    return HeadRead::TooLarge;
                }
            }
            match poll_fn(|context| self.socket().poll_fill(context)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return HeadRead::Closed,
            }
        }
    }

    /// So many more bytes belong to the present request.
    pub(crate) fn expect_body(&self, length: u64) {
        self.socket().phase = Phase::Body(length);
    }

    /// All that comes belongs to the present request: only its content tells where it ends.
    pub(crate) fn expect_stream(&self) {
        self.socket().phase = Phase::Open;
    }

    /// The request is done: gives its buffers back.
    pub(crate) fn settle(&self) {
        let mut socket = self.socket();
        socket.answer_by = None;
        socket.answered = false;
        socket.output = Vec::new();
        socket.sent = 0;
        socket.phase = Phase::Undecided;
        if socket.input.is_empty() {
            socket.input = Vec::new();
        }
    }

    /// Resolves when the client has closed the connection. A client that has sent its next request ahead
    /// is there.
    pub(crate) async fn gone(&self) {
        poll_fn(|context| self.socket().poll_gone(context)).await;
    }

    /// Sends what was gathered.
    pub(crate) async fn send_gathered(&self) -> io::Result<()> {
        poll_fn(|context| self.socket().poll_drain(context)).await
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
        let _ = socket2::SockRef::from(&socket.tcp).set_linger(Some(Duration::ZERO));
    }

    /// Sets until when the answer must have begun; none when it has.
    pub(crate) fn answer_by(&self, deadline: Option<Instant>) {
        self.socket().answer_by = deadline;
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

    async fn shutdown_write(&self) -> io::Result<()> {
        poll_fn(|context| Pin::new(&mut self.socket().tcp).poll_shutdown(context)).await
    }

    fn fd(&self) -> i32 {
        self.socket().tcp.as_raw_fd()
    }

    fn socket(&self) -> MutexGuard<'_, Socket> {
        lock(&self.0)
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
                let limit = usize::try_from(left).unwrap_or(usize::MAX);
                let count = ready!(socket.poll_take(context, buffer, limit))?;
                socket.phase = Phase::Body(left - count as u64);
            }
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
        ready!(socket.poll_drain(context))?;
        Pin::new(&mut socket.tcp).poll_write(context, bytes)
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
