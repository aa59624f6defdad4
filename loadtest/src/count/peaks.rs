//! The slowest successful request of each stretch of time.

/// How wide a stretch is at first, in microseconds.
const FIRST_WIDTH_US: u64 = 100_000;
/// The most stretches; when there would be more, two neighbours become one.
const MAX_STRETCHES: usize = 18_000;

/// The greatest of the values that were told in each stretch of time; 0 where there was none.
#[derive(Clone, Debug)]
pub struct Peaks {
    width_us: u64,
    highest: Vec<u64>,
}

impl Default for Peaks {
    fn default() -> Self {
        Peaks { width_us: FIRST_WIDTH_US, highest: Vec::new() }
    }
}

impl Peaks {
    /// Takes a value of the moment `at_us`.
    pub fn record(&mut self, at_us: u64, value: u64) {
        while at_us / self.width_us >= MAX_STRETCHES as u64 {
            self.width_us *= 2;
            self.highest =
                self.highest.chunks(2).map(|pair| pair.iter().copied().max().unwrap_or(0)).collect();
        }
        let index = self.index(at_us);
        if self.highest.len() <= index {
            self.highest.resize(index + 1, 0);
        }
        self.highest[index] = self.highest[index].max(value.max(1));
    }

    /// The greatest of those from `from` until before `to`, to within a stretch; none where there was none.
    pub fn highest_in(&self, from: u64, to: u64) -> Option<u64> {
        let first = self.index(from).min(self.highest.len());
        let end = self.index(to.saturating_sub(1)).saturating_add(1).min(self.highest.len());
        self.highest.get(first..end)?.iter().copied().max().filter(|highest| *highest > 0)
    }

    fn index(&self, at_us: u64) -> usize {
        usize::try_from(at_us / self.width_us).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_is_found_in_long_runs_too() {
        let mut peaks = Peaks::default();
        for second in 0..86_400_u64 {
            peaks.record(second * 1_000_000, if second == 40_000 { 77 } else { 5 });
        }
        assert!(peaks.highest.len() <= MAX_STRETCHES);
        assert_eq!(peaks.highest_in(0, u64::MAX), Some(77));
        assert_eq!(peaks.highest_in(39_990_000_000, 40_010_000_000), Some(77));
        assert_eq!(peaks.highest_in(50_000_000_000, 50_100_000_000), Some(5));
        assert_eq!(peaks.highest_in(90_000_000_000, 90_000_000_001), None);
    }
}
