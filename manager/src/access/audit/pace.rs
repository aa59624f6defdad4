//! How many refusals are listed.

/// So many at once …
const BURST: u64 = 60;

/// … and then one in so many milliseconds.
const EVERY_MS: u64 = 10_000;

/// A bucket of entries that may be written, and a count of those that were not.
#[derive(Debug)]
pub(super) struct Pace {
    left: u64,
    filled_ms: u64,
    unlisted: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { left: BURST, filled_ms: 0, unlisted: 0 }
    }
}

impl Pace {
    /// Whether an entry of `now_ms` is listed; then how many before it were not.
    pub(super) fn admit(&mut self, now_ms: u64) -> Option<u64> {
        let due = now_ms.saturating_sub(self.filled_ms) / EVERY_MS;
        // A clock that was set back starts anew from there.
        if due > 0 || now_ms < self.filled_ms {
            self.left = self.left.saturating_add(due).min(BURST);
            self.filled_ms = now_ms;
        }
        if self.left == 0 {
            self.unlisted += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.unlisted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_instead_of_listed() {
        let mut pace = Pace::default();
        let listed = (0..1_000).filter(|_| pace.admit(1_000_000).is_some()).count();
        assert_eq!(listed as u64, BURST);
        assert_eq!(pace.admit(1_000_000 + EVERY_MS), Some(1_000 - BURST));
        assert_eq!(pace.admit(1_000_000 + EVERY_MS), None);
        // The clock goes back: nothing is admitted for it, and it goes on from there.
        assert_eq!(pace.admit(5), None);
        assert_eq!(pace.admit(5 + EVERY_MS), Some(2));
    }
}
