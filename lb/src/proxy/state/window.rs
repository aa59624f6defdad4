//! How many of the last requests failed, in two halves of a window of time, without a lock.
//!
//! ```text
//!   half: | its number: 16 bits | requests: 24 bits | failed: 24 bits |
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

const BITS: u32 = 24;
const MASK: u64 = (1 << BITS) - 1;

/// The counts of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Window {
    present: AtomicU64,
    before: AtomicU64,
}

/// What a window saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
}

impl Seen {
    /// The share of the requests that failed.
    pub(crate) fn ratio(self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // at most 2^25
        let ratio = self.failed as f64 / self.requests.max(1) as f64;
        ratio
    }
}

impl std::ops::Add for Seen {
    type Output = Seen;

    fn add(self, other: Seen) -> Seen {
        Seen { requests: self.requests + other.requests, failed: self.failed + other.failed }
    }
}

impl Window {
    /// Counts a request at `millis`, in a window that is so many milliseconds long.
    pub(crate) fn count(&self, millis: u64, window: u64, failed: bool) {
        let half = number(millis, window);
        let one = 1 << BITS | u64::from(failed);
        let counted = |present: u64| {
            if present >> (2 * BITS) != half {
                half << (2 * BITS) | one
            } else if present >> BITS & MASK == MASK {
                present
            } else {
                present + one
            }
        };
        let old = self.present.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(counted(old)));
        if let Ok(old) = old
            && old >> (2 * BITS) != half
        {
            self.before.store(old, Ordering::Relaxed);
        }
    }

    /// What was counted in this half of the window and the one before.
    pub(crate) fn seen(&self, millis: u64, window: u64) -> Seen {
        let half = number(millis, window);
        let of = |packed: u64, wanted: u64| {
            if packed >> (2 * BITS) == wanted {
                Seen { requests: packed >> BITS & MASK, failed: packed & MASK }
            } else {
                Seen::default()
            }
        };
        let (present, before) = (self.present.load(Ordering::Relaxed), self.before.load(Ordering::Relaxed));
        let earlier = half.wrapping_sub(1) & 0xffff;
        of(present, half) + of(present, earlier) + of(before, earlier)
    }

    /// As if nothing had been counted.
    pub(crate) fn forget(&self) {
        self.present.store(0, Ordering::Relaxed);
        self.before.store(0, Ordering::Relaxed);
    }
}

/// The number of the half at `millis`; never that of a window in which nothing was counted yet.
fn number(millis: u64, window: u64) -> u64 {
    (millis / (window / 2).max(1)) & 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_half_counts_until_the_next_begins() {
        let window = Window::default();
        for millis in 10_000..10_100 {
            window.count(millis, 10_000, millis % 2 == 0);
        }
        assert_eq!(window.seen(10_100, 10_000), Seen { requests: 100, failed: 50 });
        window.count(15_000, 10_000, false);
        assert_eq!(window.seen(15_000, 10_000), Seen { requests: 101, failed: 50 });
        assert!((window.seen(15_000, 10_000).ratio() - 0.495).abs() < 0.001);
        assert_eq!(window.seen(20_000, 10_000), Seen { requests: 1, failed: 0 });
        assert_eq!(window.seen(60_000, 10_000), Seen::default());
    }
}
