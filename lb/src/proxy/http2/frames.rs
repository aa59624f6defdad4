//! Looks at the frames of a connection as they are read, for what h2 sets no limit to: how long a head may take to
//! come, and how many frames that ask for work and carry nothing. It also tells what h2 does not: that the first frame
//! is none of SETTINGS (RFC 9113, section 3.4), and which lengths are wrong (section 4.2).
//!
//! ```text
//!   preface ──24 bytes──▶ frame header ──9 bytes──▶ payload ──its length──▶ frame header …
//!                               │ HEADERS or CONTINUATION without END_HEADERS: the head is on its way
//!                               │ anything but DATA, HEADERS and WINDOW_UPDATE costs
//!                               ▼ too late, too many, or wrong
//!                             alarm: nothing more is read, and the connection ends with the reason
//! ```

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::limits::{COSTS_AT_ONCE, COSTS_PER_SECOND, RESET_COSTS};

/// What a client says first (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The length of a frame's header (RFC 9113, section 4.1).
const HEADER: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// A connection whose frames are looked at.
pub(super) struct Watched<T> {
    io: T,
    frames: Frames,
    head_limit: Duration,
    /// Runs while a head is on its way.
    late: Option<Pin<Box<Sleep>>>,
    alarm: Arc<Alarm>,
}

/// Says when the client has gone too far.
#[derive(Debug, Default)]
pub(super) struct Alarm(OnceLock<Reason>);

impl Alarm {
    /// Resolves when it has, with what the connection ends for. To be waited for by the task that reads the connection.
    pub(super) async fn raised(&self) -> Reason {
        poll_fn(|_| self.0.get().map_or(Poll::Pending, |reason| Poll::Ready(*reason))).await
    }

    /// Raises it in the task of `context`, which reads and will look at it again.
    fn raise(&self, reason: Reason, context: &Context<'_>) {
        // The first one counts.
        let _ = self.0.set(reason);
        context.waker().wake_by_ref();
    }
}

impl<T> Watched<T> {
    /// Watches `io`, on which a head may take `head_limit` to come.
    pub(super) fn new(io: T, head_limit: Duration) -> Self {
        Watched { io, frames: Frames::new(Instant::now()), head_limit, late: None, alarm: Arc::default() }
    }

    pub(super) fn alarm(&self) -> Arc<Alarm> {
        self.alarm.clone()
    }

    /// Whether a head has been on its way for too long.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.frames.in_head {
            self.late = None;
            return Poll::Pending;
        }
        let limit = self.head_limit;
        self.late.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.alarm.0.get().is_some() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        let mut taken = match &read {
            Poll::Ready(_) => self.frames.take(&buffer.filled()[before..], Instant::now()),
            Poll::Pending => Ok(()),
        };
        if taken.is_ok() && self.poll_late(context).is_ready() {
            taken = Err(Reason::ENHANCE_YOUR_CALM);
        }
        if let Err(reason) = taken {
            buffer.set_filled(before);
            self.alarm.raise(reason, context);
            return Poll::Pending;
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Where in the frames the reading is, and what they have cost.
struct Frames {
    /// Bytes of the preface or of a payload that are still to come.
    skip: usize,
    header: [u8; HEADER],
    have: usize,
    /// The first frame has not begun.
    is_first: bool,
    /// A head is on its way.
    in_head: bool,
    /// What the present frame's end means for `in_head`.
    head_after: bool,
    budget: u32,
    filled_at: Instant,
}

impl Frames {
    fn new(now: Instant) -> Self {
        Frames {
            skip: PREFACE.len(),
            header: [0; HEADER],
            have: 0,
            is_first: true,
            in_head: false,
            head_after: false,
            budget: COSTS_AT_ONCE,
            filled_at: now,
        }
    }

    /// Takes note of `bytes`.
    ///
    /// # Errors
    ///
    /// What the connection ends for, when they go beyond what is allowed.
    fn take(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Reason> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let count = self.skip.min(bytes.len());
                self.skip -= count;
                bytes = &bytes[count..];
            } else {
                let count = (HEADER - self.have).min(bytes.len());
                self.header[self.have..self.have + count].copy_from_slice(&bytes[..count]);
                self.have += count;
                bytes = &bytes[count..];
                if self.have == HEADER {
                    self.have = 0;
                    self.begin_frame(now)?;
                }
            }
            if self.skip == 0 && self.have == 0 {
                self.in_head = self.head_after;
            }
        }
        Ok(())
    }

    fn begin_frame(&mut self, now: Instant) -> Result<(), Reason> {
        let [a, b, c, kind, flags, ..] = self.header;
        self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if std::mem::take(&mut self.is_first) && kind != SETTINGS {
            return Err(Reason::PROTOCOL_ERROR);
        }
        let fits = match kind {
            RST_STREAM | WINDOW_UPDATE => self.skip == 4,
            PING => self.skip == 8,
            SETTINGS => self.skip.is_multiple_of(6) && (self.skip == 0 || flags & ACK == 0),
            _ => true,
        };
        if !fits {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        match kind {
            HEADERS | CONTINUATION => {
                // From its first byte to the end of the frame that says it is whole.
                self.in_head = true;
                self.head_after = flags & END_HEADERS == 0;
                Ok(())
            }
            // One that says nothing.
            DATA if self.skip == 0 => self.pay(1, now),
            DATA | WINDOW_UPDATE => Ok(()),
            RST_STREAM => self.pay(RESET_COSTS, now),
            _ => self.pay(1, now),
        }
    }

    fn pay(&mut self, costs: u32, now: Instant) -> Result<(), Reason> {
        if self.budget < costs {
            let seconds = now.saturating_duration_since(self.filled_at).as_secs_f64();
            // Saturates.
            let earned = (seconds * f64::from(COSTS_PER_SECOND)) as u32;
            self.budget = self.budget.saturating_add(earned).min(COSTS_AT_ONCE);
            self.filled_at = now;
        }
        self.budget = self.budget.checked_sub(costs).ok_or(Reason::ENHANCE_YOUR_CALM)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("short");
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn a_head_is_on_its_way_until_its_last_byte_however_it_is_cut() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(0x4, 0, &[]));
        bytes.extend(frame(HEADERS, 0, b"abc"));
        let first = bytes.len();
        bytes.extend(frame(CONTINUATION, END_HEADERS, b"de"));
        let now = Instant::now();
        let mut frames = Frames::new(now);
        let begins = PREFACE.len() + HEADER + HEADER;
        for (index, byte) in bytes.iter().enumerate() {
            assert_eq!(frames.take(&[*byte], now), Ok(()));
            let expected = (begins - 1..bytes.len() - 1).contains(&index);
            assert_eq!(frames.in_head, expected, "after byte {index}, the second frame begins at {first}");
        }
        let mut whole = Frames::new(now);
        assert!(whole.take(&bytes, now).is_ok() && !whole.in_head);
    }

    #[test]
    fn frames_that_carry_nothing_are_limited_and_others_are_not() {
        let now = Instant::now();
        let mut frames = Frames::new(now);
        assert_eq!(frames.take(PREFACE, now), Ok(()));
        let data = frame(DATA, 0, b"x");
        let settings = frame(SETTINGS, 0, &[]);
        assert_eq!(frames.take(&settings, now), Ok(()));
        assert!((0..10 * COSTS_AT_ONCE).all(|_| frames.take(&data, now).is_ok()));
        let ping = frame(PING, 0, &[0; 8]);
        assert!((1..COSTS_AT_ONCE).all(|_| frames.take(&ping, now).is_ok()));
        let later = now + Duration::from_secs(1);
        assert!((0..COSTS_PER_SECOND).all(|_| frames.take(&ping, later).is_ok()));
        assert_eq!(frames.take(&ping, later), Err(Reason::ENHANCE_YOUR_CALM));
    }

    #[test]
    fn the_first_frame_is_one_of_settings_and_lengths_are_right() {
        for (bad, reason) in [
            (frame(HEADERS, END_HEADERS, b"x"), Reason::PROTOCOL_ERROR),
            (frame(SETTINGS, 0, &[0; 5]), Reason::FRAME_SIZE_ERROR),
            (frame(SETTINGS, ACK, &[0; 6]), Reason::FRAME_SIZE_ERROR),
        ] {
            let mut frames = Frames::new(Instant::now());
            assert_eq!(frames.take(&[PREFACE, &bad].concat(), Instant::now()), Err(reason), "{bad:?}");
        }
    }
}
