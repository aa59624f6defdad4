//! What the handles to a client's socket share: which bytes are whose.
//!
//! ```text
//!   Head ──all of the head read──▶ Undecided ──the head says what follows──▶ Body (so many bytes)
//!    ▲                                                                      │  or Open (until it ends)
//!    │                                                                      │  or Chunked (until its last chunk)
//!    └──────────────────────────── request done ─────────────────────────────┘
//! ```

use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::arrival::Arrived;
use super::client::Likeness;
use super::client_stream::HeadRead;
use super::half_closed::HalfClosed;
use super::hand_over::OnVip;
use super::limits::hops::Told;
use super::patience::{Pace, Patience};
use super::strict::chunked::Chunked;
use super::strict::{self, Fault, HeadLimits};
use super::tls::client_certificate::ClientCertificate;
use super::transport::Transport;
use super::unconfirmed::unconfirmed;
use crate::settings::Limits;

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
    /// HTTP/2 was negotiated.
    pub(super) is_http2: bool,
    /// The virtual address it came to, if it is one.
    pub(super) on_vip: Option<Arc<OnVip>>,
    /// Read from the client and not yet given out.
    pub(super) input: Vec<u8>,
    pub(super) phase: Phase,
    /// Written by Pingora and not yet sent.
    pub(super) output: Vec<u8>,
    pub(super) sent: usize,
    /// None: that of the default limits.
    pub(super) patience: Option<Arc<Patience>>,
    pub(super) body_pace: Pace,
    /// Of the present body, in bytes.
    pub(super) body_bytes: u64,
    send_pace: Pace,
    pub(super) chunked: Option<Box<Chunked>>,
    pub(super) fault: Option<Fault>,
    /// Someone has begun to serve the present request.
    pub(super) taken: bool,
    /// The body of the present request is read while it is answered.
    pub(super) uploads: bool,
    half_closed: Option<Box<HalfClosed>>,
    pub(super) answer_by: Option<Instant>,
    pub(super) aborted: bool,
    /// Some of the answer to the present request, other than an interim one, was written.
    pub(super) answered: bool,
    /// How the present request is refused when Pingora is not asked, and whether in JSON; none: as any other.
    pub(super) look: Option<Box<Likeness>>,
    /// What the peer says of whose the present request is, where it is believed.
    pub(super) told: Option<Arc<Told>>,
}

/// How much of what comes belongs to the present request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Head(usize),
    Undecided,
    Body(u64),
    Chunked,
    Open,
}

impl Socket {
    pub(super) fn new(arrived: Arrived, on_vip: Option<Arc<OnVip>>) -> Self {
        let Arrived { mut transport, peer, is_secure, certificate, is_http2 } = arrived;
        let input = match &mut transport {
            Transport::Plain(wire) => std::mem::take(&mut wire.ahead),
            Transport::Tls(_) => Vec::new(),
        };
        Socket {
            transport,
            peer,
            is_secure,
            certificate,
            is_http2,
            on_vip,
            input,
            phase: Phase::Undecided,
            output: Vec::new(),
            sent: 0,
            patience: None,
            body_pace: Pace::default(),
            body_bytes: 0,
            send_pace: Pace::default(),
            chunked: None,
            fault: None,
            taken: false,
            uploads: false,
            half_closed: None,
            answer_by: None,
            aborted: false,
            answered: false,
            look: None,
            told: None,
        }
    }

    /// Notes that `bytes` are written. Interim answers (RFC 9110, section 15.2) are written by themselves.
    pub(super) fn note_written(&mut self, bytes: &[u8]) {
        self.answered |=
            !bytes.is_empty() && (!bytes.starts_with(b"HTTP/1.1 1") || bytes.starts_with(b"HTTP/1.1 101"));
    }

    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // What comes is short, and so is what is allocated for it.
        let mut space = [MaybeUninit::uninit(); HEAD_READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        let result = self.transport.poll_read(context, &mut buffer);
        self.input.extend_from_slice(buffer.filled());
        let count = buffer.filled().len();
        result.map_ok(|()| count)
    }

    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Whoever uploads finds out by reading.
        if !self.input.is_empty() || (self.uploads && self.phase != Phase::Body(0)) {
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
            Ok(0) => {
                let Socket { transport, patience, half_closed, .. } = self;
                let taken = transport.taken();
                let half_closed = half_closed.get_or_insert_with(|| Box::new(HalfClosed::begin(taken)));
                half_closed.poll_gone(context, transport.tcp(), taken, allowed(patience).half_closed)
            }
            Err(_) => Poll::Ready(()),
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

    /// Checks the head of `length` bytes that the input begins with.
    pub(super) fn take_head(&mut self, length: usize, most: usize, limits: &HeadLimits) -> HeadRead {
        if length > most {
            return HeadRead::TooLarge;
        }
        let tidied = match strict::check(&self.input[..length], limits) {
            Ok(checked) => checked.is_untidy().then(|| strict::tidy(&checked)),
            Err(fault) => return HeadRead::Faulty(fault),
        };
        let length = tidied.as_ref().map_or(length, |tidied| {
            self.input.splice(..length, tidied.iter().copied());
            tidied.len()
        });
        self.phase = Phase::Head(length);
        HeadRead::Complete
    }

    /// What follows the head.
    pub(super) fn expect(&mut self, phase: Phase) {
        self.taken = true;
        self.chunked = (phase == Phase::Chunked).then(|| Box::new(Chunked::new()));
        self.phase = phase;
    }

    /// What is known of one request alone is forgotten.
    pub(super) fn forget_request(&mut self) {
        (self.chunked, self.fault, self.taken, self.body_bytes) = (None, None, false, 0);
        self.uploads = false;
        (self.body_pace, self.send_pace) = (Pace::default(), Pace::default());
    }

    /// Sends some of `bytes`, after what is gathered: together where that is possible, so that a head does not travel
    /// alone. A client that takes them too slowly is given up with a reset: what the kernel still holds for it would stay
    /// there.
    pub(super) fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        while self.transport.writes_parts() && self.sent < self.output.len() {
            let gathered = &self.output[self.sent..];
            let left = gathered.len();
            let parts = [io::IoSlice::new(gathered), io::IoSlice::new(bytes)];
            let sent = self.transport.poll_write_parts(context, &parts);
            let count = ready!(self.poll_sent(context, sent))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count.min(left);
            if count >= left {
                self.output.clear();
                self.sent = 0;
            }
            if count > left {
                return Poll::Ready(Ok(count - left));
            }
        }
        ready!(self.poll_drain(context))?;
        let sent = self.transport.poll_write(context, bytes);
        self.poll_sent(context, sent)
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
        while self.sent < self.output.len() {
            let sent = self.transport.poll_write(context, &self.output[self.sent..]);
            let count = ready!(self.poll_sent(context, sent))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        // TLS may keep some of it.
        let flushed = self.transport.poll_flush(context);
        ready!(self.poll_sent(context, flushed))?;
        self.output.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// The same, and says after it that no more will be sent.
    pub(super) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        let ended = self.transport.poll_shutdown(context);
        self.poll_sent(context, ended)
    }

    /// What came of an attempt to send.
    fn poll_sent<T>(&mut self, context: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Socket { transport, send_pace, patience, .. } = self;
        if sent.is_ready() {
            send_pace.moves();
            return sent;
        }
        // What the kernel took is not what the client took.
        let moved = || transport.taken().saturating_sub(unconfirmed(transport.tcp()).unwrap_or(0));
        ready!(send_pace.poll_wait(context, &allowed(patience).send, moved));
        self.aborted = true;
        let _ = SockRef::from(self.transport.tcp()).set_linger(Some(Duration::ZERO));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// How slow a client may be.
pub(super) fn allowed(patience: &Option<Arc<Patience>>) -> Patience {
    patience.as_deref().copied().unwrap_or_else(|| Patience::new(&Limits::default()))
}
