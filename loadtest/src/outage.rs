//! How long a service was away, as a client sees it: the time between the starts of two successful
//! requests that follow each other, with the run's own start and end as outermost bounds.
//!
//! All times in microseconds since the run's start.

/// The starts of all successful requests, in order.
#[derive(Debug)]
pub struct Successes {
    starts: Vec<u64>,
    end: u64,
}

impl Successes {
    /// Takes the starts in any order, of a run that ended at `end`.
    pub fn new(mut starts: Vec<u64>, end: u64) -> Self {
        starts.sort_unstable();
        let end = end.max(starts.last().copied().unwrap_or(0));
        Successes { starts, end }
    }

    /// The longest gap of the run.
    pub fn longest_gap(&self) -> u64 {
        self.longest_gap_touching(0, self.end)
    }

    /// The longest of the gaps that have any of the time from `from` to `to` in them, in full length:
    /// also what of a gap lies before or after.
    pub fn longest_gap_touching(&self, from: u64, to: u64) -> u64 {
        let first = self.starts.partition_point(|&start| start <= from);
        let mut begin = first.checked_sub(1).map_or(0, |before| self.starts[before]);
        let mut longest = 0;
        for &start in &self.starts[first..] {
            longest = longest.max(start - begin);
            begin = start;
            if start >= to {
                return longest;
            }
        }
        longest.max(self.end - begin)
    }
}

/// The first success after the last failure since `since`, if there is one: from there on the service
/// was well, as far as is known.
pub fn well_since(since: u64, successes: &[u64], failures: impl Iterator<Item = u64>) -> Option<u64> {
    let last_failure = failures.filter(|&start| start >= since).max().unwrap_or(since);
    successes.iter().copied().filter(|&start| start > last_failure).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_found_whatever_the_order_of_the_answers() {
        assert_eq!(Successes::new(vec![50, 10, 20, 40], 60).longest_gap(), 20);
    }

    #[test]
    fn the_time_before_the_first_and_after_the_last_success_counts() {
        assert_eq!(Successes::new(vec![70, 80, 90], 100).longest_gap(), 70);
        assert_eq!(Successes::new(vec![10, 20], 100).longest_gap(), 80);
        assert_eq!(Successes::new(vec![], 100).longest_gap(), 100);
    }

    #[test]
    fn a_fault_is_charged_with_the_gap_that_began_before_it() {
        // One request every 10, a fault at 43, the next success at 200.
        let starts = vec![0, 10, 20, 30, 40, 200, 210, 220, 400];
        let successes = Successes::new(starts, 400);
        assert_eq!(successes.longest_gap_touching(43, 250), 180, "the gap that ends after the window too");
        assert_eq!(successes.longest_gap_touching(43, 215), 160);
        assert_eq!(successes.longest_gap_touching(5, 35), 10, "nothing of the later outage");
        assert_eq!(successes.longest_gap_touching(215, 216), 10);
    }

    #[test]
    fn a_fault_from_which_nothing_came_back_lasts_to_the_end() {
        assert_eq!(Successes::new(vec![0, 10, 20], 500).longest_gap_touching(25, 500), 480);
        assert_eq!(Successes::new(vec![], 500).longest_gap_touching(25, 100), 500);
    }

    #[test]
    fn it_is_well_after_the_last_failure() {
        assert_eq!(well_since(5, &[10, 20, 30, 40], [12, 25, 3].into_iter()), Some(30));
        assert_eq!(well_since(5, &[10, 20], [].into_iter()), Some(10));
        assert_eq!(well_since(5, &[10, 20], [25].into_iter()), None);
    }
}
