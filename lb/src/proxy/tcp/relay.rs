//! Passes bytes on between two sockets until both have ended.
//!
//! ```text
//!   Open ──end of input──▶ Ending ──all of it written, and the end said──▶ Ended
//!     │                                                                      ▲
//!     └── the other side takes no more, and has ended itself ──▶ Discarding ─┘   (each way for itself)
//! ```
//!
//! What is read is written at once ([`super::super::passing`]), and nothing more is read while the other side has no room for
//! it: whoever sends to a slow reader feels it.
//!
//! Ends are passed on as they come: the end of what one side says (FIN) while the other goes on, and a reset as one.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::super::passing::{ROUNDS, Unwritten, with_space};
use super::ended::Ended;
use super::streams::{Entry, Phase};

/// What a client still says after its upstream has ended is read away for so long, so that what the upstream said last is
/// not lost to a reset …
const LINGER: Duration = Duration::from_secs(2);

/// … and up to so many bytes.
const LINGER_BYTES: u64 = 4 << 20;

/// How long a connection may be silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    /// While both sides may speak.
    pub(super) open: Duration,
    /// When one has ended.
    pub(super) half_closed: Duration,
}

/// One way: from one side to the other.
#[derive(Debug, Default)]
pub(super) struct Way {
    flow: Flow,
    /// What was read and the other side has no room for.
    kept: Unwritten,
    /// The other side has reset the connection: how its own way ends does not matter.
    was_reset: bool,
    /// The bytes that were read to be passed on, and those that were not.
    read: u64,
    discarded: u64,
    /// Counts what moved, be it in or out.
    moves: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Open,
    Ending,
    Discarding,
    Ended,
}

/// Which side of a way failed.
#[derive(Debug)]
enum Broken {
    Reading(io::Error),
    Writing(io::Error),
}

impl Way {
    /// One that begins with `said`, which the other side is told ahead of what comes.
    pub(super) fn beginning_with(said: Vec<u8>) -> Self {
        Way { kept: said.into(), ..Way::default() }
    }

    /// Passes on what there is. Resolves when it has ended.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        (from, to): (&mut TcpStream, &mut TcpStream),
        space: &mut [u8],
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..ROUNDS {
            ready!(self.poll_kept(context, to)).map_err(Broken::Writing)?;
            match self.flow {
                Flow::Open | Flow::Discarding => {}
                Flow::Ending => {
                    // One that is gone has no use for it.
                    let _ = ready!(Pin::new(&mut *to).poll_shutdown(context));
                    self.flow = Flow::Ended;
                    return Poll::Ready(Ok(()));
                }
                Flow::Ended => return Poll::Ready(Ok(())),
            }
            let mut buffer = ReadBuf::new(space);
            ready!(Pin::new(&mut *from).poll_read(context, &mut buffer)).map_err(Broken::Reading)?;
            let read = buffer.filled();
            self.moves += 1;
            match (self.flow, read) {
                (Flow::Discarding, []) => self.flow = Flow::Ended,
                (Flow::Discarding, read) => self.discarded += read.len() as u64,
                (_, []) => self.flow = Flow::Ending,
                (_, read) => {
                    self.read += read.len() as u64;
                    self.kept.write(context, to, read).map_err(Broken::Writing)?;
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what was kept.
    fn poll_kept(&mut self, context: &mut Context<'_>, to: &mut TcpStream) -> Poll<io::Result<()>> {
        let before = self.kept.left();
        let written = self.kept.poll(context, to);
        self.moves += u64::from(self.kept.left() < before);
        written
    }

    fn is_over(&self) -> bool {
        self.flow == Flow::Ended
    }
}

/// Two sides that speak to each other.
#[derive(Debug)]
pub(super) struct Relay<'a> {
    pub(super) client: TcpStream,
    pub(super) upstream: TcpStream,
    /// To the upstream, and from it.
    pub(super) up: Way,
    pub(super) down: Way,
    pub(super) entry: &'a Entry,
    pub(super) silence: Silence,
}

/// When something moved, and since when only one side speaks.
#[derive(Debug)]
struct Clock {
    moved: Instant,
    /// Since when all that is left is to read away what the client says.
    discarding: Option<Instant>,
}

impl Relay<'_> {
    /// Passes on all that both sides say; returns why it ended. The sockets are ended as that says.
    pub(super) async fn run(mut self) -> Ended {
        let mut timer = pin!(sleep_until(Instant::now() + self.silence.open));
        let mut clock = Clock { moved: Instant::now(), discarding: None };
        let ended = poll_fn(|context| self.poll(context, timer.as_mut(), &mut clock)).await;
        self.end(ended);
        ended
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        clock: &mut Clock,
    ) -> Poll<Ended> {
        if let Poll::Ready(ended) = self.entry.poll_told(context) {
            return Poll::Ready(ended);
        }
        let before = (self.up.read, self.down.read, self.up.moves + self.down.moves);
        let ended = with_space(|space| self.poll_ways(context, space));
        let (up, down) = (self.up.read - before.0, self.down.read - before.1);
        self.entry.moved(up, down);
        if let Some(whose) = self.entry.whose() {
            whose.service.stats.moved(up, down);
        }
        if let Poll::Ready(ended) = ended {
            return Poll::Ready(ended);
        }
        let is_half = self.is_half_closed();
        if is_half {
            self.entry.set_phase(Phase::HalfClosed);
        }
        // An end is something, too.
        if self.up.moves + self.down.moves > before.2 {
            clock.moved = Instant::now();
            self.entry.moved_at(clock.moved.into_std());
        }
        if self.up.flow == Flow::Discarding && self.down.is_over() {
            clock.discarding.get_or_insert_with(Instant::now);
        }
        loop {
            let by = match clock.discarding {
                Some(since) => since + LINGER,
                None if is_half => clock.moved + self.silence.half_closed,
                None => clock.moved + self.silence.open,
            };
            // It is set back only when it has rung: mostly something moves before.
            if by < timer.deadline() {
                timer.as_mut().reset(by);
            }
            ready!(timer.as_mut().poll(context));
            if Instant::now() >= by {
                return Poll::Ready(match (clock.discarding, is_half) {
                    (Some(_), _) => Ended::Closed,
                    (None, true) => Ended::HalfClosed,
                    (None, false) => Ended::Idle,
                });
            }
            timer.as_mut().reset(by);
        }
    }

    fn poll_ways(&mut self, context: &mut Context<'_>, space: &mut [u8]) -> Poll<Ended> {
        let Relay { client, upstream, up, down, .. } = self;
        match down.poll(context, (&mut *upstream, &mut *client), space) {
            Poll::Ready(Err(Broken::Reading(error))) => return Poll::Ready(lost(&error)),
            Poll::Ready(Err(Broken::Writing(_))) => return Poll::Ready(Ended::ClientReset),
            // Whoever was told of the reset while it wrote reads an end like any other.
            Poll::Ready(Ok(())) if up.was_reset => return Poll::Ready(Ended::UpstreamReset),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        match up.poll(context, (client, upstream), space) {
            Poll::Ready(Err(Broken::Reading(_))) => return Poll::Ready(Ended::ClientReset),
            Poll::Ready(Err(Broken::Writing(error))) => {
                // It takes no more, but what it said last may still be on its way.
                up.was_reset = error.kind() == io::ErrorKind::ConnectionReset && !down.is_over();
                (up.flow, up.kept) = (Flow::Discarding, Unwritten::default());
                context.waker().wake_by_ref();
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        let is_over = down.is_over() && (up.is_over() || up.discarded > LINGER_BYTES);
        if is_over { Poll::Ready(Ended::Closed) } else { Poll::Pending }
    }

    fn is_half_closed(&self) -> bool {
        self.up.flow != Flow::Open || self.down.flow != Flow::Open
    }

    /// Ends both sides: where something is lost with a reset, which nobody takes for the end of what was said.
    fn end(&self, ended: Ended) {
        let is_whole = match ended {
            Ended::Closed => true,
            Ended::Idle | Ended::HalfClosed => self.up.kept.is_empty() && self.down.kept.is_empty(),
            _ => false,
        };
        if !is_whole {
            [&self.client, &self.upstream].into_iter().for_each(reset);
        }
    }
}

/// Has `tcp` be reset when it is closed.
pub(super) fn reset(tcp: &TcpStream) {
    let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}

/// What an error of an upstream means.
fn lost(error: &io::Error) -> Ended {
    if error.kind() == io::ErrorKind::TimedOut { Ended::UpstreamLost } else { Ended::UpstreamReset }
}
