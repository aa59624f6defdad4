//! How latencies are distributed, as anybody can read it: pairs of a latency and a count.

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ms;
use crate::count::histogram;

/// A histogram of the latencies of the successful requests, from due to answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Two latencies that agree in so many digits are in one cell.
    pub significant_digits: u8,
    /// `[latency in milliseconds, count]` for each cell that has any, in order. The latency is the longest that
    /// is in the cell.
    pub counts: Vec<(f64, u64)>,
}

impl Distribution {
    /// The cells of a histogram in microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let counts = histogram
            .iter_recorded()
            .map(|cell| (ms(cell.value_iterated_to()), cell.count_since_last_iteration()))
            .collect();
        Distribution { significant_digits: histogram.sigfig(), counts }
    }

    /// The histogram, in microseconds, that these are the cells of.
    ///
    /// # Errors
    ///
    /// Never: the bounds are the ledger's.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn histogram(&self) -> Result<Histogram<u64>, hdrhistogram::CreationError> {
        let mut histogram = histogram()?;
        for (upto_ms, count) in &self.counts {
            histogram.saturating_record_n((upto_ms * 1000.0).round() as u64, *count);
        }
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_histogram_comes_back_from_its_cells() {
        let mut before = histogram().unwrap();
        for latency in (1..200_000_u64).map(|n| n * n % 5_000_011) {
            before.saturating_record(latency);
        }
        let after = Distribution::of(&before).histogram().unwrap();
        assert_eq!(after, before);
        assert_eq!(Distribution::of(&after), Distribution::of(&before));
        for quantile in [0.0, 0.5, 0.99, 0.9999, 1.0] {
            assert_eq!(after.value_at_quantile(quantile), before.value_at_quantile(quantile));
        }
    }
}
