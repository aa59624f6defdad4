//! How sure a figure of one run is, and a difference of two.
//!
//! Requests are not independent: failures come in bursts, and one slow moment slows all that meet it. Counted as if they
//! were, any two runs would differ "significantly". So a run is cut into [`BATCHES`] stretches, and how much a share
//! differs between them says how many independent requests the run was worth (batch means; Law, *Simulation Modeling
//! and Analysis*, chapter 9). With that number:
//!
//! - a share has Wilson's interval (Brown, Cai and DasGupta 2001), which is right near 0 and 1, where availability is;
//! - a quantile has the interval of the order statistics around it;
//! - a difference has the interval made of both runs' intervals (MOVER; Newcombe 1998, Zou and Donner 2008).

use crate::report::series::{Bucket, Series};

/// Into so many stretches a run is cut. Fewer know less of how much they differ, more are not independent.
pub(super) const BATCHES: usize = 20;
/// How sure intervals are, in percent.
pub(super) const SURE_PERCENT: f64 = 99.0;
/// Student's t for that on both sides, with as many degrees of freedom as batches but one.
const T: f64 = 2.861;

/// From where to where a figure may really be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A figure and its interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) interval: Interval,
}

/// How many of how many.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) hits: u64,
    pub(super) of: u64,
}

impl Share {
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn value(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.hits as f64 / self.of as f64 }
    }
}

/// What each stretch of a run says; none where the run is too short to be cut.
pub(super) fn batches(series: &Series, count: impl Fn(&Bucket) -> Share) -> Option<Vec<Share>> {
    let buckets = &series.buckets;
    if buckets.len() < BATCHES {
        return None;
    }
    let batches = (0..BATCHES).map(|batch| {
        let (from, to) = (batch * buckets.len() / BATCHES, (batch + 1) * buckets.len() / BATCHES);
        buckets[from..to]
            .iter()
            .map(&count)
            .fold(Share::default(), |sum, share| Share { hits: sum.hits + share.hits, of: sum.of + share.of })
    });
    Some(batches.collect())
}

/// How many requests are worth one independent one: 1 where the stretches differ as chance has it, more the more
/// they differ (the design effect).
#[allow(clippy::cast_precision_loss)]
pub(super) fn togetherness(batches: &[Share]) -> f64 {
    let all = batches
        .iter()
        .fold(Share::default(), |sum, share| Share { hits: sum.hits + share.hits, of: sum.of + share.of });
    let (share, of, count) = (all.value(), all.of as f64, batches.len() as f64);
    let independent = share * (1.0 - share);
    let squares: f64 =
        batches.iter().map(|batch| (batch.hits as f64 - share * batch.of as f64).powi(2)).sum();
    let variance = squares * count / (count - 1.0) / (of * of).max(1.0);
    if independent > 0.0 { (variance * of / independent).max(1.0) } else { 1.0 }
}

/// Wilson's interval of a share, of what is worth so many independent requests.
pub(super) fn wilson(share: f64, worth: f64) -> Interval {
    if worth <= 0.0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let square = T * T / worth;
    let middle = (share + square / 2.0) / (1.0 + square);
    let half = T * (share * (1.0 - share) / worth + square / worth / 4.0).sqrt() / (1.0 + square);
    Interval { low: (middle - half).max(0.0).min(share), high: (middle + half).min(1.0).max(share) }
}

/// The interval of how much `after` is more than `before`.
pub(super) fn difference(before: Estimate, after: Estimate) -> Interval {
    let between = after.value - before.value;
    let down = (after.value - after.interval.low).hypot(before.interval.high - before.value);
    let up = (after.interval.high - after.value).hypot(before.value - before.interval.low);
    Interval { low: between - down, high: between + up }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_fail_together_are_worth_less_than_they_are() {
        let even = vec![Share { hits: 5, of: 100 }; BATCHES];
        assert_eq!(togetherness(&even), 1.0);
        let mut burst = vec![Share { hits: 0, of: 100 }; BATCHES];
        burst[7].hits = 100;
        // The burst is about one request's worth of news.
        assert!((90.0..110.0).contains(&togetherness(&burst)), "{}", togetherness(&burst));
        assert_eq!(togetherness(&[Share { hits: 0, of: 100 }; BATCHES]), 1.0);
        assert_eq!(togetherness(&[Share::default(); BATCHES]), 1.0);
    }

    #[test]
    fn an_interval_has_the_share_in_it_and_stays_between_nothing_and_all() {
        for worth in [1.0, 20.0, 1000.0, 1e6] {
            for share in [0.0, 1e-6, 0.01, 0.5, 0.999_9, 1.0] {
                let Interval { low, high } = wilson(share, worth);
                assert!(
                    (0.0..=share).contains(&low) && (share..=1.0).contains(&high),
                    "{share} {worth}: {low} {high}"
                );
            }
        }
        // 1 of 100: by the formula, with 2.861 for z.
        let Interval { low, high } = wilson(0.01, 100.0);
        assert!((low - 0.001_0).abs() < 0.000_2 && (high - 0.093_1).abs() < 0.000_2, "{low} {high}");
    }

    #[test]
    fn a_difference_is_less_sure_than_either_of_its_sides() {
        let estimate = |value: f64, half: f64| Estimate {
            value,
            interval: Interval { low: value - half, high: value + half },
        };
        let Interval { low, high } = difference(estimate(10.0, 3.0), estimate(30.0, 4.0));
        assert_eq!((low, high), (15.0, 25.0));
    }
}
