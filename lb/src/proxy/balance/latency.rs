//! How slow an upstream is compared with what its requests usually take: a peak-sensitive moving average
//! (Finagle's `PeakEwma`, also in linkerd). A slower sample counts at once and in full, a faster one by
//! the time that has passed; and what was measured fades, so that nobody is left out for ever.
//!
//! What is averaged is not the time itself but how many times the usual time of such requests it was
//! ([`Usual`]): a machine that happened to be asked for something slow is not a slow machine.
//!
//! ```text
//!   latency: | milliseconds of the last sample: 32 bits | times the usual, in 1/1024: 32 bits |
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::clock;
use super::hash;

/// What was measured so long ago has faded to 1/e (Finagle's decay time).
const DECAY: f64 = 10_000.0;

/// 1, as it is stored.
const ONE: f64 = 1_024.0;

/// The bounds of one sample.
const SAMPLE: std::ops::RangeInclusive<f64> = 1.0 / 16.0..=65_536.0;

/// A failed request counts as one that took at least so long: failing fast is not being fast (the sinkhole
/// that Prequal's error aversion is against; NSDI 2024).
const FAILED: Duration = Duration::from_secs(1);

/// Differences of so little are the noise of schedulers and queues, not of machines.
const NOISE: Duration = Duration::from_millis(5);

/// The cells of [`Usual`].
const CELLS: usize = 512;

/// A cell's average moves by this part of the distance to each sample.
const USUAL_SHARE: i64 = 16;

/// The average of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Latency(AtomicU64);

impl Latency {
    /// Takes in a sample.
    pub(crate) fn observe(&self, times_usual: f64, now: Instant) {
        let sample = times_usual.clamp(*SAMPLE.start(), *SAMPLE.end());
        let old = self.0.load(Ordering::Relaxed);
        // What had faded meanwhile is made up for by the samples that came: the average is of both.
        let value = match stored(old) {
            None => sample,
            Some(average) if sample >= average => sample,
            Some(average) => {
                let kept = fade(old, now);
                average * kept + sample * (1.0 - kept)
            }
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within SAMPLE
        let scaled = (value * ONE) as u64;
        // Two threads may overwrite each other's sample; the average does not mind.
        self.0.store(millis(now) << 32 | scaled.max(1), Ordering::Relaxed);
    }

    /// How many times slower than usual it is; 1 where nothing is known.
    pub(crate) fn times_usual(&self, now: Instant) -> f64 {
        let packed = self.0.load(Ordering::Relaxed);
        match stored(packed) {
            Some(average) if average > 1.0 => (average * fade(packed, now)).max(1.0),
            Some(_) | None => 1.0,
        }
    }

    /// As if nothing had been measured.
    pub(crate) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

fn stored(packed: u64) -> Option<f64> {
    let value = u32::try_from(packed & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    (value > 0).then(|| f64::from(value) / ONE)
}

/// What is left of the value in `packed`, as a share.
fn fade(packed: u64, now: Instant) -> f64 {
    #[allow(clippy::cast_possible_truncation)] // milliseconds wrap after 49 days, and so does the difference
    let age = (millis(now) as u32).wrapping_sub((packed >> 32) as u32);
    // Another thread's sample may be a moment younger than our `now`.
    if age > u32::MAX / 2 { 1.0 } else { (-f64::from(age) / DECAY).exp() }
}

fn millis(now: Instant) -> u64 {
    (clock::micros(now) / 1_000) & u64::from(u32::MAX)
}

/// What requests of a pool usually take to the first byte, by method and path.
#[derive(Debug)]
pub(crate) struct Usual(Box<[AtomicU64]>);

/// The kind of a request: the hash of its method and its path, without the query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kind(u64);

impl Kind {
    pub(crate) fn of(method: &str, path: &str) -> Self {
        Kind(hash::with(hash::hash(path.as_bytes()), hash::hash(method.as_bytes())))
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl Default for Usual {
    fn default() -> Self {
        Usual((0..CELLS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Usual {
    /// How many times the usual time of its kind a request took. A failed one says nothing about what is
    /// usual.
    pub(crate) fn compare(&self, kind: Kind, took: Duration, failed: bool) -> f64 {
        let cell = &self.0[hash::below(kind.0, CELLS)];
        let took = if failed { took.max(FAILED) } else { took };
        let sample = i64::try_from(took.as_micros()).unwrap_or(i64::MAX).clamp(1, 1 << 40);
        let usual = i64::try_from(cell.load(Ordering::Relaxed)).unwrap_or_default();
        if !failed {
            let moved = if usual == 0 { sample } else { usual + (sample - usual) / USUAL_SHARE };
            cell.store(moved.max(1).unsigned_abs(), Ordering::Relaxed);
        }
        let usual = if usual == 0 && !failed { sample } else { usual };
        let noise = i64::try_from(NOISE.as_micros()).unwrap_or_default();
        #[allow(clippy::cast_precision_loss)] // at most 2^40
        let times = (sample + noise) as f64 / (usual + noise) as f64;
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let start = Instant::now();
        let latency = Latency::default();
        assert!((latency.times_usual(start) - 1.0).abs() < f64::EPSILON);
        latency.observe(100.0, start);
        assert!((latency.times_usual(start) - 100.0).abs() < 0.1);
        latency.observe(1.0, start);
        assert!(latency.times_usual(start) > 99.0, "one fast answer proves nothing");
        assert!((36.0..37.5).contains(&latency.times_usual(at(start, 10))), "1/e after the decay time");
        latency.observe(1.0, at(start, 10));
        assert!((36.0..39.0).contains(&latency.times_usual(at(start, 10))));
        assert!((latency.times_usual(at(start, 120)) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_slow_for_everyone_is_usual() {
        let usual = Usual::default();
        let (slow, fast) = (Kind::of("GET", "/slow"), Kind::of("GET", "/fast"));
        for _ in 0..50 {
            assert!(usual.compare(slow, Duration::from_secs(2), false) < 1.01);
            assert!(usual.compare(fast, Duration::from_millis(1), false) < 1.01);
        }
        assert!(usual.compare(fast, Duration::from_millis(500), false) > 80.0);
        assert!(usual.compare(fast, Duration::from_millis(3), false) < 2.0, "noise");
        let failed_at_once = usual.compare(fast, Duration::from_micros(10), true);
        assert!(failed_at_once > 20.0, "{failed_at_once}");
    }
}
