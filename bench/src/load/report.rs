//! What became of a load.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

/// The longest latency that is told apart, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// Counts and latencies.
pub(super) struct Report {
    latency: Histogram<u64>,
    failed: u64,
    handshakes: u64,
    resumed: u64,
}

impl Report {
    /// # Errors
    ///
    /// Never: the bounds are good ones.
    pub(super) fn new() -> Result<Self> {
        let latency = Histogram::new_with_bounds(1_000, LONGEST, 3)?;
        Ok(Report { latency, failed: 0, handshakes: 0, resumed: 0 })
    }

    pub(super) fn answered(&mut self, due: Instant) {
        let nanos = u64::try_from(due.elapsed().as_nanos()).unwrap_or(LONGEST);
        self.latency.saturating_record(nanos);
    }

    pub(super) fn failed(&mut self) {
        self.failed += 1;
    }

    pub(super) fn shook_hands(&mut self, resumed: bool) {
        self.handshakes += 1;
        self.resumed += u64::from(resumed);
    }

    /// Prints it; `took` is how long the load was sent.
    pub(super) fn print(&self, took: Duration) {
        #[allow(clippy::cast_precision_loss)] // nanoseconds of a minute
        let ms = |nanos: u64| nanos as f64 / 1e6;
        println!("requests {}", self.latency.len());
        println!("failed {}", self.failed);
        println!("seconds {:.3}", took.as_secs_f64());
        for (name, quantile) in [("p50_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999), ("max_ms", 1.0)] {
            println!("{name} {:.4}", ms(self.latency.value_at_quantile(quantile)));
        }
        println!("handshakes {}", self.handshakes);
        println!("resumed {}", self.resumed);
    }
}
