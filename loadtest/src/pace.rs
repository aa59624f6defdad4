//! The run's clock, its end, and a timer that is on time.
//!
//! The timers of an async runtime tick once a millisecond, which would be most of what is measured. The kernel's
//! (`timerfd`, on its high-resolution clock) wake a worker within tens of microseconds, in the same poll in which it
//! waits for answers: a schedule needs no thread of its own, and no request is passed from one thread to another.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::timer::Timer;

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

/// When no more requests are begun; may be moved while the run goes on.
#[derive(Clone, Debug)]
pub struct End(Arc<AtomicU64>);

impl End {
    /// None yet.
    pub fn open() -> Self {
        End(Arc::new(AtomicU64::new(u64::MAX)))
    }

    /// No request that is due at `end_us` or later is begun any more.
    pub fn set(&self, end_us: u64) {
        self.0.store(end_us, Ordering::Relaxed);
    }

    /// The end, in microseconds since the run's start.
    pub fn us(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The longest that is slept without looking whether the end was moved.
const GLANCE: Duration = Duration::from_millis(20);

/// Waits for moments of the schedule.
#[derive(Debug)]
pub struct Pacer {
    clock: Clock,
    end: End,
    timer: Timer,
}

impl Pacer {
    /// A pacer of the worker that calls this, within its runtime.
    ///
    /// # Errors
    ///
    /// When the kernel gives no timer.
    pub fn new(clock: Clock, end: End) -> io::Result<Self> {
        Ok(Pacer { clock, end, timer: Timer::new()? })
    }

    /// Waits until `due_us`; `false` if the run ends first. Returns at once when it has passed.
    ///
    /// # Errors
    ///
    /// When the kernel's timer fails.
    pub async fn wait_for(&mut self, due_us: u64) -> io::Result<bool> {
        loop {
            if due_us >= self.end.us() {
                return Ok(false);
            }
            match due_us.saturating_sub(self.clock.now_us()) {
                0 => return Ok(true),
                wait_us => self.timer.sleep(Duration::from_micros(wait_us).min(GLANCE)).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_waited_for_until_the_end_is_reached() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (clock, end) = (Clock::start(), End::open());
            let mut pacer = Pacer::new(clock, end.clone()).unwrap();
            for due_us in [0, 1000, 30_000, 30_000, 5] {
                assert!(pacer.wait_for(due_us).await.unwrap());
                assert!(clock.now_us() >= due_us);
            }
            let moved = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                end.set(40_000);
            });
            assert!(!pacer.wait_for(3_600_000_000).await.unwrap(), "told of the end while it waits");
            assert!(pacer.wait_for(39_999).await.unwrap(), "what was due before is still begun");
            moved.join().unwrap();
        });
    }
}
