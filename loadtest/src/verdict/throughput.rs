//! How much there was of everything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rates over the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Throughput {
    /// Requests per second that were sent.
    pub sent_per_s: f64,
    /// Requests per second that succeeded.
    pub succeeded_per_s: f64,
    /// Bytes of HTTP that were sent.
    pub sent_bytes: u64,
    /// Bytes of HTTP that were received.
    pub received_bytes: u64,
    /// How long the smaller share of successes than the threshold lasted, in milliseconds, to within a bucket of the
    /// time line.
    pub degraded_ms: f64,
    /// That threshold (`--success-threshold`).
    pub success_threshold_percent: f64,
}

impl Throughput {
    /// Of a run that lasted `duration_us`; the rest is set by whoever knows it.
    #[allow(clippy::cast_precision_loss)]
    pub fn of(sent: u64, succeeded: u64, (sent_bytes, received_bytes): (u64, u64), duration_us: u64) -> Self {
        let seconds = (duration_us as f64 / 1e6).max(1e-6);
        Throughput {
            sent_per_s: sent as f64 / seconds,
            succeeded_per_s: succeeded as f64 / seconds,
            sent_bytes,
            received_bytes,
            ..Default::default()
        }
    }
}
