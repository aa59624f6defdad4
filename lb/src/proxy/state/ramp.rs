//! The slow start of one upstream: new or readmitted, it comes to its full share in a straight line. Caches are
//! cold, code is not compiled yet, and a machine that just failed may do so again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::super::clock;

/// It begins with this part of its share (Envoy's `min_weight_percent`).
const LEAST: f64 = 0.1;

/// From when to when it comes to its full share, in microseconds; both 0 when it has it.
#[derive(Debug, Default)]
pub(crate) struct Ramp {
    from: AtomicU64,
    to: AtomicU64,
}

impl Ramp {
    /// It begins at `now` and takes `millis`; none takes none.
    pub(crate) fn begin(&self, now: Instant, millis: u64) {
        let from = clock::micros(now);
        let to = if millis == 0 { 0 } else { from.saturating_add(millis.saturating_mul(1_000)) };
        self.from.store(from, Ordering::Relaxed);
        self.to.store(to, Ordering::Relaxed);
    }

    /// The part of the share at `now`, up to 1.
    pub(crate) fn part(&self, now: Instant) -> f64 {
        let to = self.to.load(Ordering::Relaxed);
        if to == 0 {
            return 1.0;
        }
        let (from, now) = (self.from.load(Ordering::Relaxed), clock::micros(now));
        if now >= to {
            self.to.store(0, Ordering::Relaxed);
            return 1.0;
        }
        #[allow(clippy::cast_precision_loss)] // a day of microseconds at most
        let part = now.saturating_sub(from) as f64 / to.saturating_sub(from).max(1) as f64;
        part.clamp(LEAST, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_a_straight_line_that_does_not_begin_at_nothing() {
        let (ramp, now) = (Ramp::default(), Instant::now());
        assert!(ramp.part(now) >= 1.0);
        ramp.begin(now, 10_000);
        for (seconds, expected) in [(0, 0.1), (1, 0.1), (5, 0.5), (9, 0.9), (10, 1.0), (11, 1.0)] {
            let part = ramp.part(now + Duration::from_secs(seconds));
            assert!((part - expected).abs() < 0.001, "{seconds} s: {part}");
        }
        ramp.begin(now, 0);
        assert!(ramp.part(now) >= 1.0);
    }
}
