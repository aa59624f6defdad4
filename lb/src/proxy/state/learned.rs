//! How long upstreams usually take to the first byte, learned per route, method and path, so that a
//! try can be given a deadline that fits what it asks for.
//!
//! Each cell of a table of fixed size holds a *decaying peak*: a slower sample pulls it half of the way
//! up at once, a faster one lets it sink by 1/128 of the distance. It so stays near the slowest of the
//! last hundred samples, about their 99th percentile, for one load and one store per request. Two
//! paths that fall into the same cell share the slower one's deadline, which is the harmless way to err.
//!
//! Beside it stands the *usual* time, about the 90th percentile: a sample above it lifts it by nine times of
//! what one below lowers it ("frugal streaming", Ma, Muthukrishnan and Sandler 2013). A few slow answers do
//! not move it, so it can tell who is late while one upstream is slow.
//!
//! ```text
//!   cell: | samples, saturating: 16 bits | peak in microseconds: 48 bits |
//!         | usual in microseconds | answers within the hedge time |
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wire::proxy_config::PoolPolicy;

use super::super::balance::hash;
use super::super::balance::latency::Kind;

/// The number of cells.
const CELLS: usize = 1024;

/// A cell with fewer samples than this has learned nothing yet.
const WARM: u64 = 8;

/// A deadline is so many times the learned peak, within the policy's bounds.
const MARGIN: u64 = 4;

/// The shortest silence that puts an upstream in doubt: long for a network of machines side by side, short
/// for a client.
pub(crate) const SHORTEST_DOUBT: Duration = Duration::from_millis(100);

/// The shortest wait before another upstream is asked because others answer sooner.
const SHORTEST_HEDGE: Duration = Duration::from_millis(20);

/// That wait is so many times the usual time.
const HEDGE_MARGIN: u64 = 2;

const PEAK_BITS: u32 = 48;
const PEAK_MASK: u64 = (1 << PEAK_BITS) - 1;

/// All that was learned.
#[derive(Debug)]
pub(crate) struct Learned(Box<[Entry]>);

#[derive(Debug, Default)]
struct Entry {
    peak: AtomicU64,
    usual: AtomicU64,
    quick: AtomicU64,
}

/// One cell of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<'a>(&'a Entry);

/// What one try may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadlines {
    /// After so long another upstream may be asked too, if others answer sooner.
    pub(crate) hedge: Duration,
    /// After so long without a byte, on any connection, other upstreams are better ones.
    pub(crate) doubt: Duration,
    /// After so long without a byte the try may be left, if the upstream does not live.
    pub(crate) first_byte: Duration,
    /// After so long even an upstream that lives is left for another.
    pub(crate) patience: Duration,
}

impl Default for Learned {
    fn default() -> Self {
        Learned((0..CELLS).map(|_| Entry::default()).collect())
    }
}

impl Learned {
    /// The cell for requests of this `kind`, by method and path, on `route`.
    pub(crate) fn cell(&self, route: &str, kind: Kind) -> Cell<'_> {
        Cell(&self.0[hash::below(hash::with(hash::hash(route.as_bytes()), kind.number()), CELLS)])
    }
}

impl Cell<'_> {
    /// Takes in that a first byte came after `took`.
    pub(crate) fn learn(self, took: Duration) {
        let sample = u64::try_from(took.as_micros()).unwrap_or(PEAK_MASK).min(PEAK_MASK);
        // Two threads may overwrite each other's sample; the estimate does not mind.
        let cell = self.0.peak.load(Ordering::Relaxed);
        let (count, peak) = (cell >> PEAK_BITS, cell & PEAK_MASK);
        let usual = if count == 0 { sample } else { self.0.usual.load(Ordering::Relaxed) };
        if count >= WARM && sample <= hedge_after(usual) {
            self.0.quick.fetch_add(1, Ordering::Relaxed);
        }
        let step = usual / 128 + 1;
        let usual =
            if sample > usual { usual + (9 * step).min(sample - usual) } else { usual.saturating_sub(step) };
        self.0.usual.store(usual, Ordering::Relaxed);
        let peak =
            if sample > peak { peak + (sample - peak).div_ceil(2) } else { peak - (peak - sample) / 128 };
        let count = (count + 1).min(u64::from(u16::MAX));
        self.0.peak.store(count << PEAK_BITS | peak, Ordering::Relaxed);
    }

    /// The deadlines for one try under `policy`.
    pub(crate) fn deadlines(self, policy: &PoolPolicy) -> Deadlines {
        let longest = Duration::from_millis(policy.first_byte_max_ms);
        let shortest = Duration::from_millis(policy.first_byte_min_ms).min(longest);
        let (usual, first_byte, patience, hedge) = match self.peak() {
            // Who knows nothing cannot say who is late.
            None => (Duration::ZERO, Duration::from_millis(policy.first_byte_cold_ms), longest, longest),
            Some(peak) => {
                let learned = Duration::from_micros(peak.saturating_mul(MARGIN));
                let hedge = Duration::from_micros(hedge_after(self.0.usual.load(Ordering::Relaxed)));
                (learned, learned.clamp(shortest, longest), learned.max(longest), hedge)
            }
        };
        Deadlines { hedge, doubt: usual.max(SHORTEST_DOUBT).min(first_byte), first_byte, patience }
    }

    /// How many answers came within the hedge time so far.
    pub(crate) fn quick_answers(self) -> u64 {
        self.0.quick.load(Ordering::Relaxed)
    }

    fn peak(self) -> Option<u64> {
        let cell = self.0.peak.load(Ordering::Relaxed);
        (cell >> PEAK_BITS >= WARM).then_some(cell & PEAK_MASK)
    }
}

/// The hedge time where `usual` microseconds are usual, in microseconds.
fn hedge_after(usual: u64) -> u64 {
    #[allow(clippy::cast_possible_truncation)] // a small constant
    let shortest = SHORTEST_HEDGE.as_micros() as u64;
    usual.saturating_mul(HEDGE_MARGIN).max(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples: impl IntoIterator<Item = u64>) -> Deadlines {
        let learned = Learned::default();
        let cell = learned.cell("r", Kind::of("GET", "/"));
        for millis in samples {
            cell.learn(Duration::from_millis(millis));
        }
        cell.deadlines(&PoolPolicy::default())
    }

    #[test]
    fn a_cold_cell_has_the_cold_deadline() {
        assert_eq!(after([1; 7]).first_byte, Duration::from_millis(1_000));
    }

    #[test]
    fn a_fast_route_has_the_shortest_deadline() {
        assert_eq!(after([2; 100]).first_byte, Duration::from_millis(250));
    }

    #[test]
    fn doubt_comes_early_unless_the_route_is_known_to_be_slow() {
        for (samples, expected) in
            [(vec![], 100), (vec![2; 100], 100), (vec![50; 100], 200), (vec![2_000; 50], 3_000)]
        {
            assert_eq!(after(samples.clone()).doubt, Duration::from_millis(expected), "{samples:?}");
        }
    }

    #[test]
    fn a_few_slow_answers_do_not_move_the_hedge_time() {
        let mixed = (0..2_000).map(|n| if n % 15 == 14 { 500 } else { 3 });
        assert_eq!(after(mixed).hedge, Duration::from_millis(20));
        assert!(after([500; 2_000]).hedge > Duration::from_millis(900));
        assert_eq!(after([1; 7]).hedge, Duration::from_millis(3_000), "nothing known");
    }

    #[test]
    fn quick_answers_are_counted_once_it_is_known_what_is_quick() {
        let learned = Learned::default();
        let cell = learned.cell("r", Kind::of("GET", "/"));
        for (millis, times, expected) in [(3, 8, 0), (3, 5, 5), (500, 5, 5), (15, 1, 6)] {
            (0..times).for_each(|_| cell.learn(Duration::from_millis(millis)));
            assert_eq!(cell.quick_answers(), expected);
        }
    }

    #[test]
    fn a_slow_route_is_waited_for() {
        let slow = after([2_000; 50]);
        assert_eq!(slow.first_byte, Duration::from_millis(3_000));
        assert!(slow.patience > Duration::from_millis(7_900), "{slow:?}");
    }

    #[test]
    fn one_slow_answer_in_a_hundred_is_remembered_and_later_forgotten() {
        let mixed = (0..1_000).map(|n| if n % 100 == 99 { 400 } else { 5 });
        assert!(after(mixed).first_byte > Duration::from_millis(500));
        assert_eq!(after([400; 10].into_iter().chain([5; 2_000])).first_byte, Duration::from_millis(250));
    }
}
