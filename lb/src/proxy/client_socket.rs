//! What the handles to a client's socket share: which bytes are whose.
//!
//! ```text
//!   Head ──all of the head read──▶ Undecided ──the head says what follows──▶ Body (so many bytes)
//!    ▲                                                                      │  or Open (until it ends)
//!    └──────────────────────────── request done ─────────────────────────────┘
//! ```

use std::future::Future as _;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep};

use super::arrival::Arrived;
use super::hand_over::OnVip;
use super::tls::client_certificate::ClientCertificate;
use super::transport::Transport;

/// A client that takes none of what it is sent for so long is given up.
pub(crate) const CLIENT_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How much is read at once while a head arrives.
const HEAD_READ: usize = 2 << 10;

/// The socket, what was read from it ahead, and what is gathered for it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) transport: Transport,
    pub(super) peer: IpAddr,
    /// The client's own connection is encrypted: this one, or the one to the proxy before us.
    pub(super) is_secure: bool,
    /// What the client has shown, where it has shown any.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
    /// The virtual address it came to, if it is one.
    pub(super) on_vip: Option<Arc<OnVip>>,
    /// Read from the client and not yet given out.
    pub(super) input: Vec<u8>,
    pub(super) phase: Phase,
    /// Written by Pingora and not yet sent.
    pub(super) output: Vec<u8>,
    pub(super) sent: usize,
    /// Runs while the client takes nothing: since so much was taken.
    stalled: Option<(u64, Pin<Box<Sleep>>)>,
    pub(super) answer_by: Option<Instant>,
    pub(super) aborted: bool,
    /// Some of the answer to the present request, other than an interim one, was written.
    pub(super) answered: bool,
}

/// How much of what comes belongs to the present request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Head(usize),
    Undecided,
    Body(u64),
    Open,
}

impl Socket {
    pub(super) fn new(arrived: Arrived, on_vip: Option<Arc<OnVip>>) -> Self {
        let Arrived { mut transport, peer, is_secure, certificate } = arrived;
        let input = match &mut transport {
            Transport::Plain(wire) => std::mem::take(&mut wire.ahead),
            Transport::Tls(_) => Vec::new(),
        };
        Socket {
            transport,
            peer,
            is_secure,
            certificate,
            on_vip,
            input,
            phase: Phase::Undecided,
            output: Vec::new(),
            sent: 0,
            stalled: None,
            answer_by: None,
            aborted: false,
            answered: false,
        }
    }

    /// Notes that `bytes` are written. Interim answers (RFC 9110, section 15.2) are written by themselves.
    pub(super) fn note_written(&mut self, bytes: &[u8]) {
        self.answered |=
            !bytes.is_empty() && (!bytes.starts_with(b"HTTP/1.1 1") || bytes.starts_with(b"HTTP/1.1 101"));
    }

    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let filled = self.input.len();
        self.input.resize(filled + HEAD_READ, 0);
        let mut buffer = ReadBuf::new(&mut self.input[filled..]);
        let result = self.transport.poll_read(context, &mut buffer);
        let count = buffer.filled().len();
        self.input.truncate(filled + count);
        result.map_ok(|()| count)
    }

    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.input.is_empty() {
            return Poll::Pending;
        }
        let found = if self.transport.is_tls() {
            // The end is said in TLS, too: what is there has to be read to know what it is.
            self.poll_fill(context)
        } else {
            let mut byte = [0u8; 1];
            self.transport.tcp().poll_peek(context, &mut ReadBuf::new(&mut byte))
        };
        match ready!(found) {
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(()),
        }
    }

    /// Whether bytes of the next request are there.
    pub(super) fn has_sent(&mut self) -> bool {
        if self.input.is_empty() && self.transport.is_tls() {
            // Whoever waits for more asks again before it waits.
            let _ = self.poll_fill(&mut Context::from_waker(Waker::noop()));
            if self.input.is_empty() {
                self.input = Vec::new();
            }
            return !self.input.is_empty();
        }
        let mut byte = [MaybeUninit::uninit()];
        !self.input.is_empty() || matches!(SockRef::from(self.transport.tcp()).peek(&mut byte), Ok(1..))
    }

    /// Reads at most `limit` bytes, first of those read before.
    pub(super) fn poll_take(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        let limit = limit.min(buffer.remaining());
        if !self.input.is_empty() {
            let count = limit.min(self.input.len());
            buffer.put_slice(&self.input[..count]);
            self.input.drain(..count);
            return Poll::Ready(Ok(count));
        }
        let before = buffer.filled().len();
        if limit == buffer.remaining() {
            ready!(self.transport.poll_read(context, buffer))?;
            return Poll::Ready(Ok(buffer.filled().len() - before));
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(limit));
        ready!(self.transport.poll_read(context, &mut part))?;
        let count = part.filled().len();
        buffer.advance(count);
        Poll::Ready(Ok(count))
    }

    /// Sends what is gathered. Resolves when the kernel has it, or when the client takes nothing for too long.
    pub(super) fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.poll_send(context);
        self.unless_stalled(sent, context)
    }

    /// The same, and says after it that no more will be sent.
    pub(super) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = match self.poll_send(context) {
            Poll::Ready(Ok(())) => self.transport.poll_shutdown(context),
            unsent => unsent,
        };
        self.unless_stalled(ended, context)
    }

    fn unless_stalled(
        &mut self,
        sent: Poll<io::Result<()>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if sent.is_ready() {
            self.stalled = None;
            return sent;
        }
        // Here, because Pingora limits only the writing, not the flushing at an answer's end.
        let taken = self.transport.taken();
        if self.stalled.as_ref().is_none_or(|(since, _)| *since != taken) {
            self.stalled = Some((taken, Box::pin(sleep(CLIENT_WRITE_TIMEOUT))));
        }
        if let Some((_, timer)) = &mut self.stalled {
            ready!(timer.as_mut().poll(context));
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.output.len() {
            let count = ready!(self.transport.poll_write(context, &self.output[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        ready!(self.transport.poll_flush(context))?;
        self.output.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}
