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
//!
//! Moments are kept one by one as long as there are few. When there are many, neighbours melt into a run of
//! moments, of which only the first, the last and the longest gap are known:
//!
//! ```text
//!  | | | |  | |          | | |     moments
//!  [-------------]       [---]     runs: gaps above the median stay as they are
//! ```
//!
//! So every gap worth telling is exact, and the memory is bounded however long the run is.

/// The most runs that are kept; each costs 24 bytes.
const MAX_RUNS: usize = 20_000;

/// Moments that follow each other closely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    last: u64,
    /// No gap between two of them is longer.
    longest: u64,
}

/// Moments of one kind, told in any order.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    /// In order, and further apart than `melt`.
    runs: Vec<Run>,
    /// Gaps up to this are within runs.
    melt: u64,
}

impl Moments {
    /// Takes a moment.
    pub fn add(&mut self, time: u64) {
        // Nearly always the newest.
        let after = match self.runs.last() {
            Some(last) if last.first <= time => self.runs.len(),
            _ => self.runs.partition_point(|run| run.first <= time),
        };
        if let Some(before) = after.checked_sub(1) {
            let run = &mut self.runs[before];
            if time <= run.last {
                return;
            }
            let gap = time - run.last;
            if gap <= self.melt {
                run.longest = run.longest.max(gap);
                run.last = time;
                self.close_up(before);
                return;
            }
        }
        if let Some(run) = self.runs.get_mut(after)
            && run.first - time <= self.melt
        {
            run.longest = run.longest.max(run.first - time);
            run.first = time;
            return;
        }
        self.runs.insert(after, Run { first: time, last: time, longest: 0 });
        while self.runs.len() > MAX_RUNS {
            self.melt_more();
        }
    }

    /// Joins a run that has grown with the one behind it, if they have come close.
    fn close_up(&mut self, index: usize) {
        let Some(&next) = self.runs.get(index + 1) else { return };
        let run = &mut self.runs[index];
        let gap = next.first - run.last;
        if gap <= self.melt {
            *run = Run { first: run.first, last: next.last, longest: run.longest.max(next.longest).max(gap) };
            self.runs.remove(index + 1);
        }
    }

    /// Melts at least every other gap.
    fn melt_more(&mut self) {
        let mut gaps: Vec<u64> = self.runs.windows(2).map(|pair| pair[1].first - pair[0].last).collect();
        let middle = gaps.len() / 2;
        self.melt = self.melt.max(*gaps.select_nth_unstable(middle).1);
        let melt = self.melt;
        self.runs.dedup_by(|next, run| {
            let gap = next.first - run.last;
            let close = gap <= melt;
            if close {
                run.longest = run.longest.max(next.longest).max(gap);
                run.last = next.last;
            }
            close
        });
    }

    /// The first moment after `time`. Where it is in a run, at the earliest that it can be.
    pub fn first_after(&self, time: u64) -> Option<u64> {
        let index = self.runs.partition_point(|run| run.last <= time);
        self.runs.get(index).map(|run| run.first.max(time + 1))
    }

    /// The longest gap of a run that ended at `end`.
    pub fn longest_gap(&self, end: u64) -> u64 {
        self.longest_gap_touching(0, end, end)
    }

    /// The longest of the gaps that have any of the time from `from` to `to` in them, in full length:
    /// also what of a gap lies before or after. The run ended at `end`.
    pub fn longest_gap_touching(&self, from: u64, to: u64, end: u64) -> u64 {
        let end = end.max(self.runs.last().map_or(0, |run| run.last));
        let first = self.runs.partition_point(|run| run.last <= from);
        let mut begin = first.checked_sub(1).map_or(0, |before| self.runs[before].last);
        let mut longest = 0;
        for run in &self.runs[first..] {
            // What lies before a run that `from` is in has passed.
            if run.first > from {
                longest = longest.max(run.first - begin);
            }
            if run.first >= to {
                return longest;
            }
            longest = longest.max(run.longest);
            begin = run.last;
            if begin >= to {
                return longest;
            }
        }
        longest.max(end - begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(times: impl IntoIterator<Item = u64>) -> Moments {
        let mut moments = Moments::default();
        times.into_iter().for_each(|time| moments.add(time));
        moments
    }

    #[test]
    fn the_longest_gap_is_found_whatever_the_order_of_the_answers() {
        assert_eq!(moments([50, 10, 20, 40]).longest_gap(60), 20);
    }

    #[test]
    fn the_time_before_the_first_and_after_the_last_success_counts() {
        assert_eq!(moments([70, 80, 90]).longest_gap(100), 70);
        assert_eq!(moments([10, 20]).longest_gap(100), 80);
        assert_eq!(moments([]).longest_gap(100), 100);
    }

    #[test]
    fn a_fault_is_charged_with_the_gap_that_began_before_it() {
        // One request every 10, a fault at 43, the next success at 200.
        let starts = moments([0, 10, 20, 30, 40, 200, 210, 220, 400]);
        let touching = |from, to| starts.longest_gap_touching(from, to, 400);
        assert_eq!(touching(43, 250), 180, "the gap that ends after the window too");
        assert_eq!(touching(43, 215), 160);
        assert_eq!(touching(5, 35), 10, "nothing of the later outage");
        assert_eq!(touching(215, 216), 10);
    }

    #[test]
    fn a_fault_from_which_nothing_came_back_lasts_to_the_end() {
        assert_eq!(moments([0, 10, 20]).longest_gap_touching(25, 500, 500), 480);
        assert_eq!(moments([]).longest_gap_touching(25, 100, 500), 500);
    }

    #[test]
    fn the_first_moment_after_another_is_known() {
        let starts = moments([10, 20, 30, 40]);
        assert_eq!(starts.first_after(5), Some(10));
        assert_eq!(starts.first_after(25), Some(30));
        assert_eq!(starts.first_after(40), None);
    }

    #[test]
    fn a_long_run_keeps_its_outages_exact_in_bounded_memory() {
        // Ten hours at 100 a second, told in disorder by up to half a second, with two outages.
        let outage = |time: u64| {
            (7_000_000_000..7_000_250_000).contains(&time) || (30_000_000_000..30_004_000_000).contains(&time)
        };
        let mut times: Vec<u64> = (0..3_600_000_u64).map(|n| n * 10_000 + n % 7 * 300).collect();
        times.retain(|time| !outage(*time));
        times.chunks_mut(50).for_each(|chunk| chunk.reverse());
        let moments = moments(times);
        assert!(moments.runs.len() <= MAX_RUNS);
        let end = 36_000_000_000;
        let longest = moments.longest_gap(end);
        assert!((4_000_000..4_020_000).contains(&longest), "{longest}");
        let first = moments.longest_gap_touching(6_999_000_000, 7_001_000_000, end);
        assert!((250_000..270_000).contains(&first), "{first}");
        let calm = moments.longest_gap_touching(9_000_000_000, 9_100_000_000, end);
        assert!((9_000..13_000).contains(&calm), "{calm}: as often as a request was sent");
    }
}
