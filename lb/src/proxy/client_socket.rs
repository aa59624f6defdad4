//! What the handles to a client's socket share: which bytes are whose.
//!
//! ```text
//!   Head ──all of the head read──▶ Undecided ──the head says what follows──▶ Body (so many bytes)
//!    ▲                                                                      │  or Open (until it ends)
//!    └──────────────────────────── request done ─────────────────────────────┘
//! ```

use std::future::Future as _;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::hand_over::OnVip;
use super::route::look::Look;

/// A client that takes none of what it is sent for so long is given up.
pub(crate) const CLIENT_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How much is read at once while a head arrives.
const HEAD_READ: usize = 2 << 10;

/// The socket, what was read from it ahead, and what is gathered for it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) tcp: TcpStream,
    pub(super) peer: IpAddr,
    /// The virtual address it came to, if it is one.
    pub(super) on_vip: Option<Arc<OnVip>>,
    /// Read from the client and not yet given out.
    pub(super) input: Vec<u8>,
    pub(super) phase: Phase,
    /// Written by Pingora and not yet sent.
    pub(super) output: Vec<u8>,
    pub(super) sent: usize,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    pub(super) answer_by: Option<Instant>,
    pub(super) aborted: bool,
    /// Some of the answer to the present request, other than an interim one, was written.
    pub(super) answered: bool,
    /// How the present request is refused when Pingora is not asked, and whether in JSON; none: as any other.
    pub(super) look: Option<Box<(Arc<Look>, bool)>>,
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
    pub(super) fn new(tcp: TcpStream, peer: IpAddr, on_vip: Option<Arc<OnVip>>) -> Self {
        Socket {
            tcp,
            peer,
            on_vip,
            input: Vec::new(),
            phase: Phase::Undecided,
            output: Vec::new(),
            sent: 0,
            stalled: None,
            answer_by: None,
            aborted: false,
            answered: false,
            look: None,
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
        let result = Pin::new(&mut self.tcp).poll_read(context, &mut buffer);
        let count = buffer.filled().len();
        self.input.truncate(filled + count);
        result.map_ok(|()| count)
    }

    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.input.is_empty() {
            return Poll::Pending;
        }
        let mut byte = [0u8; 1];
        match ready!(self.tcp.poll_peek(context, &mut ReadBuf::new(&mut byte))) {
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(()),
        }
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
            ready!(Pin::new(&mut self.tcp).poll_read(context, buffer))?;
            return Poll::Ready(Ok(buffer.filled().len() - before));
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(limit));
        ready!(Pin::new(&mut self.tcp).poll_read(context, &mut part))?;
        let count = part.filled().len();
        buffer.advance(count);
        Poll::Ready(Ok(count))
    }

    pub(super) fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.output.len() {
            let Poll::Ready(written) = Pin::new(&mut self.tcp).poll_write(context, &self.output[self.sent..])
            else {
                // Here, because Pingora limits only the writing, not the flushing at an answer's end.
                let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(CLIENT_WRITE_TIMEOUT)));
                ready!(stalled.as_mut().poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            };
            self.stalled = None;
            let count = written?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.output.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}
