//! When each request is due, and nothing else.
//!
//! Slot `i` is due at `start + i / rate`, whatever became of the slots before (an open loop): a stall
//! of the service is then met by as many requests as real clients would have sent. The pacer has a
//! thread of its own, because a thread sleeps to within tens of microseconds and an async timer only
//! to a millisecond, which would be most of what is measured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The run's one clock: every time in this program is in microseconds since its start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Clock { start: Instant::now() }
    }

    /// Microseconds since the start.
    pub fn now_us(&self) -> u64 {
        micros(self.start.elapsed())
    }

    /// The moment `us` microseconds after the start.
    pub fn at(&self, us: u64) -> Instant {
        self.start + Duration::from_micros(us)
    }

    /// A moment just past, in milliseconds of the Unix epoch, as microseconds since the start. Counted
    /// back from now, because the two clocks drift apart over a long run.
    pub fn from_unix_ms(&self, unix_ms: u64) -> u64 {
        let now_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.now_us().saturating_sub(micros(now_unix.saturating_sub(Duration::from_millis(unix_ms))))
    }
}

/// A duration as whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Hands out slots until its end is set and reached.
#[derive(Debug)]
pub struct Pacer {
    clock: Clock,
    rate: f64,
    end_us: AtomicU64,
}

/// The longest the pacer sleeps without looking whether its end was moved.
const GLANCE: Duration = Duration::from_millis(20);

impl Pacer {
    /// A pacer of `rate` slots per second, without an end yet.
    pub fn new(clock: Clock, rate: f64) -> Self {
        Pacer { clock, rate, end_us: AtomicU64::new(u64::MAX) }
    }

    /// No slot that is due at `end_us` or later is handed out any more.
    pub fn end_at(&self, end_us: u64) {
        self.end_us.store(end_us, Ordering::Relaxed);
    }

    /// Calls `slot` with the number and the due time of each slot, at that time or, when the thread
    /// was kept from running, as soon after as possible; none is left out.
    pub fn run(&self, mut slot: impl FnMut(u64, u64)) {
        for number in 0.. {
            let due_us = self.due_us(number);
            while due_us < self.end_us.load(Ordering::Relaxed) {
                match due_us.saturating_sub(self.clock.now_us()) {
                    0 => break,
                    wait => std::thread::sleep(Duration::from_micros(wait).min(GLANCE)),
                }
            }
            if due_us >= self.end_us.load(Ordering::Relaxed) {
                return;
            }
            slot(number, due_us);
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn due_us(&self, number: u64) -> u64 {
        (number as f64 / self.rate * 1e6) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_were_missed_are_handed_out_late_and_none_is_left_out() {
        let pacer = Pacer::new(Clock::start(), 1000.0);
        pacer.end_at(100_000);
        let mut due = Vec::new();
        pacer.run(|number, due_us| {
            assert_eq!(number, due.len() as u64);
            if number == 10 {
                std::thread::sleep(Duration::from_millis(30));
            }
            due.push(due_us);
        });
        assert_eq!(due, (0..100).map(|slot| slot * 1000).collect::<Vec<_>>());
    }
}
