//! The host's clock, as it comes in with messages of the host: the only way for a machine to learn that
//! it was paused when its own clock stood still with it.
//!
//! ```text
//!   stamp − own clock        ┌─────●──●───●    a rise: no message can be early,
//!      ●──●───●─ ─ ─ ─ ─ ─ ─ ┘ paused          so the own clock stood still
//!           ●                                  a dip: a message that waited on the way
//! ```
//!
//! Two clocks never run quite alike, so what was the highest difference is forgotten after a while.

use std::time::Duration;

/// So many stamps have to come before a rise means anything: the first ones may all have waited.
const SETTLE: u32 = 3;

/// The highest difference counts for one to two such times. Clocks that drift apart by a tenth of a
/// thousandth, which is much, differ by 6 ms then.
const WINDOW: Duration = Duration::from_secs(30);

/// After so long without stamps all begins anew: the clocks may have drifted apart by anything.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// Differences in nanoseconds between the host's clock and ours.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps {
    /// How many came since they began.
    count: u32,
    last: Duration,
    window_from: Duration,
    /// The highest of this window and of the one before.
    highest: i128,
    before: i128,
}

impl Stamps {
    /// Notes that `stamp` came at `now`; for how long our clock stood still since the one before, if it
    /// seems so at all.
    pub(super) fn note(&mut self, now: Duration, stamp: Duration) -> Option<Duration> {
        let difference = nanoseconds(stamp) - nanoseconds(now);
        if self.count == 0 || now > self.last + LOST_AFTER {
            *self = Stamps { count: 1, last: now, window_from: now, highest: difference, before: difference };
            return None;
        }
        let known = self.highest.max(self.before);
        if now >= self.window_from + WINDOW {
            (self.before, self.highest, self.window_from) = (self.highest, difference, now);
        }
        self.last = now;
        self.highest = self.highest.max(difference);
        self.count = self.count.saturating_add(1);
        let rise = u64::try_from(difference - known).ok().filter(|rise| *rise > 0)?;
        (self.count > SETTLE).then(|| Duration::from_nanos(rise))
    }
}

fn nanoseconds(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The host's clock began a day earlier.
    const HOST: Duration = Duration::from_secs(86_400);

    /// Stamps that came every second up to ten seconds.
    fn settled() -> Stamps {
        let mut stamps = Stamps::default();
        for at in (0..=10_000).step_by(1000) {
            assert_eq!(stamps.note(ms(at), HOST + ms(at)), None);
        }
        stamps
    }

    #[test]
    fn a_pause_shows_once() {
        let mut stamps = settled();
        assert_eq!(stamps.note(ms(11_000), HOST + ms(15_000)), Some(ms(4000)));
        assert_eq!(stamps.note(ms(12_000), HOST + ms(16_000)), None);
    }

    #[test]
    fn stamps_that_waited_show_nothing() {
        let mut stamps = settled();
        for (at, waited) in [(11_000, 900), (12_000, 300), (13_000, 0), (14_000, 0)] {
            assert_eq!(stamps.note(ms(at), HOST + ms(at - waited)), None);
        }
    }

    #[test]
    fn the_first_ones_may_all_have_waited() {
        let mut stamps = Stamps::default();
        for (at, waited) in [(1000, 900), (2000, 600), (3000, 0)] {
            assert_eq!(stamps.note(ms(at), HOST + ms(at - waited)), None);
        }
    }

    #[test]
    fn stamps_that_come_again_begin_anew() {
        let mut stamps = settled();
        assert_eq!(stamps.note(ms(80_000), HOST + ms(95_000)), None);
    }

    #[test]
    fn a_drift_in_either_direction_is_no_pause_and_hides_none() {
        for drift_us in [-100_i64, 100] {
            let mut stamps = Stamps::default();
            let host = |second: u64| {
                let drifted = second.cast_signed() * (1_000_000 + drift_us);
                HOST + Duration::from_micros(drifted.cast_unsigned())
            };
            for second in 0..100_000 {
                let rise = stamps.note(ms(second * 1000), host(second)).unwrap_or_default();
                assert!(rise < ms(1), "{rise:?}");
            }
            let paused = stamps.note(ms(100_000_000), host(100_000) + ms(500));
            assert!(paused.is_some_and(|paused| paused > ms(490)), "{paused:?}");
        }
    }
}
