//! How long a service was away, as a client sees it, in two ways:
//!
//! - an *outage*: the time between the starts of two successful requests that follow each other. What
//!   clients asked in it, they asked in vain;
//! - *unanswered* time: the time between the arrivals of two successful answers that follow each other.
//!   Requests may have started in it and have succeeded later, by TCP's own repetition for one: nobody
//!   lost anything, and yet nothing came from the service for so long.
//!
//! The run's own start and end are the outermost bounds of both. All times in microseconds since the
//! run's start.

use crate::count::Success;

/// Moments of one kind, in order, of a run.
#[derive(Debug)]
pub struct Moments {
    times: Vec<u64>,
    end: u64,
}

impl Moments {
    /// Takes the moments in any order, of a run that ended at `end`.
    pub fn new(mut times: Vec<u64>, end: u64) -> Self {
        times.sort_unstable();
        let end = end.max(times.last().copied().unwrap_or(0));
        Moments { times, end }
    }

    /// The longest gap of the run.
    pub fn longest_gap(&self) -> u64 {
        self.longest_gap_touching(0, self.end)
    }

    /// The longest of the gaps that have any of the time from `from` to `to` in them, in full length:
    /// also what of a gap lies before or after.
    pub fn longest_gap_touching(&self, from: u64, to: u64) -> u64 {
        let first = self.times.partition_point(|&time| time <= from);
        let mut begin = first.checked_sub(1).map_or(0, |before| self.times[before]);
        let mut longest = 0;
        for &time in &self.times[first..] {
            longest = longest.max(time - begin);
            begin = time;
            if time >= to {
                return longest;
            }
        }
        longest.max(self.end - begin)
    }
}

/// All successful requests of a run, as both measures see them.
#[derive(Debug)]
pub struct Successes {
    /// When they started.
    pub starts: Moments,
    /// When their answers were complete.
    pub arrivals: Moments,
    all: Vec<Success>,
}

impl Successes {
    /// Takes them in any order, of a run that sent until `end`.
    pub fn new(all: Vec<Success>, end: u64) -> Self {
        Successes {
            starts: Moments::new(all.iter().map(|success| success.started_us).collect(), end),
            arrivals: Moments::new(all.iter().map(|success| success.arrived_us).collect(), end),
            all,
        }
    }

    /// The longest that any of those that started from `from` until before `to` took from its start to
    /// its last byte; none where none did.
    pub fn slowest_started_in(&self, from: u64, to: u64) -> Option<u64> {
        let started = self.all.iter().filter(|success| (from..to).contains(&success.started_us));
        started.map(|success| success.arrived_us.saturating_sub(success.started_us)).max()
    }
}

/// The first success after the last failure since `since`, if there is one: from there on the service
/// was well, as far as is known.
pub fn well_since(since: u64, successes: &[Success], failures: impl Iterator<Item = u64>) -> Option<u64> {
    let last_failure = failures.filter(|&start| start >= since).max().unwrap_or(since);
    successes.iter().map(|success| success.started_us).filter(|&start| start > last_failure).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn success(started_us: u64, arrived_us: u64) -> Success {
        Success { started_us, arrived_us }
    }

    #[test]
    fn the_longest_gap_is_found_whatever_the_order_of_the_answers() {
        assert_eq!(Moments::new(vec![50, 10, 20, 40], 60).longest_gap(), 20);
    }

    #[test]
    fn the_time_before_the_first_and_after_the_last_success_counts() {
        assert_eq!(Moments::new(vec![70, 80, 90], 100).longest_gap(), 70);
        assert_eq!(Moments::new(vec![10, 20], 100).longest_gap(), 80);
        assert_eq!(Moments::new(vec![], 100).longest_gap(), 100);
    }

    #[test]
    fn a_fault_is_charged_with_the_gap_that_began_before_it() {
        // One request every 10, a fault at 43, the next success at 200.
        let starts = vec![0, 10, 20, 30, 40, 200, 210, 220, 400];
        let starts_of = Moments::new(starts, 400);
        assert_eq!(starts_of.longest_gap_touching(43, 250), 180, "the gap that ends after the window too");
        assert_eq!(starts_of.longest_gap_touching(43, 215), 160);
        assert_eq!(starts_of.longest_gap_touching(5, 35), 10, "nothing of the later outage");
        assert_eq!(starts_of.longest_gap_touching(215, 216), 10);
    }

    #[test]
    fn a_fault_from_which_nothing_came_back_lasts_to_the_end() {
        assert_eq!(Moments::new(vec![0, 10, 20], 500).longest_gap_touching(25, 500), 480);
        assert_eq!(Moments::new(vec![], 500).longest_gap_touching(25, 100), 500);
    }

    #[test]
    fn it_is_well_after_the_last_failure() {
        let at = |starts: &[u64]| starts.iter().map(|&start| success(start, start + 1)).collect::<Vec<_>>();
        assert_eq!(well_since(5, &at(&[10, 20, 30, 40]), [12, 25, 3].into_iter()), Some(30));
        assert_eq!(well_since(5, &at(&[10, 20]), [].into_iter()), Some(10));
        assert_eq!(well_since(5, &at(&[10, 20]), [25].into_iter()), None);
    }

    #[test]
    fn a_blackout_that_clients_sat_out_is_unanswered_time_and_no_outage() {
        // One request every 10; those started from 100 on are answered only at 400, all at once.
        let all = (0..50).map(|n| n * 10).map(|start| {
            let blacked_out = (100..400).contains(&start);
            success(start, if blacked_out { 400 } else { start + 1 })
        });
        let successes = Successes::new(all.rev().collect(), 500);
        assert_eq!(successes.starts.longest_gap_touching(100, 450), 10);
        assert_eq!(successes.arrivals.longest_gap_touching(100, 450), 309, "from 91 to 400");
        assert_eq!(successes.arrivals.longest_gap_touching(420, 450), 10);
        assert_eq!(successes.slowest_started_in(100, 450), Some(300));
        assert_eq!(successes.slowest_started_in(400, 450), Some(1));
        assert_eq!(successes.slowest_started_in(500, 600), None);
    }
}
