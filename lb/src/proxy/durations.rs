//! How long requests take, counted as Prometheus's histograms are. Two additions count a request; the client library, whose
//! scrapes see counts and sum of the same moment, needs five, and of a float.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::proto::{Bucket, Histogram, Metric};

/// Upper bounds of the histogram, in seconds. On one segment most requests take less than a millisecond.
pub(crate) const BUCKETS: [f64; 16] =
    [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The same in nanoseconds.
const BOUNDS: [u64; BUCKETS.len()] = {
    let mut bounds = [0; BUCKETS.len()];
    let mut at = 0;
    while at < bounds.len() {
        // To the nearest: not each bound is a number that a float can be.
        bounds[at] = (BUCKETS[at] * 1e9 + 0.5) as u64;
        at += 1;
    }
    bounds
};

/// Durations, by bucket.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    buckets: [AtomicU64; BUCKETS.len()],
    /// Longer than all of them.
    longer: AtomicU64,
    /// All of them together, in nanoseconds.
    sum: AtomicU64,
}

impl Durations {
    /// Counts one.
    pub(crate) fn observe(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|&bound| took <= bound);
        bucket.map_or(&self.longer, |at| &self.buckets[at]).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(took, Ordering::Relaxed);
    }

    /// How many so far took at most as long as each of [`BUCKETS`], and how many there were.
    pub(crate) fn counts(&self) -> ([u64; BUCKETS.len()], u64) {
        let mut count = 0;
        let counts = self.buckets.each_ref().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
            count
        });
        (counts, count + self.longer.load(Ordering::Relaxed))
    }

    /// The same for a scrape.
    pub(crate) fn metric(&self) -> Metric {
        let (counts, count) = self.counts();
        let buckets = counts.into_iter().zip(BUCKETS).map(|(count, bound)| {
            let mut bucket = Bucket::default();
            bucket.set_cumulative_count(count);
            bucket.set_upper_bound(bound);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(Duration::from_nanos(self.sum.load(Ordering::Relaxed)).as_secs_f64());
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        metric
    }
}

#[cfg(test)]
mod tests {
    use prometheus::HistogramOpts;
    use prometheus::core::Collector as _;

    use super::*;

    #[test]
    fn it_counts_as_the_client_library_does() {
        let options = HistogramOpts::new("d", "d").buckets(BUCKETS.to_vec());
        let library = prometheus::Histogram::with_opts(options).expect("a histogram");
        let durations = Durations::default();
        let bounds = BOUNDS.into_iter().flat_map(|bound| [bound - 1, bound, bound + 1]);
        for nanos in bounds.chain([0, 1, 60_000_000_000]) {
            durations.observe(Duration::from_nanos(nanos));
            library.observe(Duration::from_nanos(nanos).as_secs_f64());
        }
        let families = library.collect();
        let expected = families[0].get_metric()[0].get_histogram();
        let metric = durations.metric();
        let made = metric.get_histogram();
        assert_eq!(made.get_sample_count(), expected.get_sample_count());
        assert!((made.get_sample_sum() - expected.get_sample_sum()).abs() < 1e-6);
        let buckets = |histogram: &Histogram| -> Vec<_> {
            let all = histogram.get_bucket().iter();
            all.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())).collect()
        };
        assert_eq!(buckets(made), buckets(expected));
    }
}
