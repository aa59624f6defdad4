//! Latencies beside those that the report always had.

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ms;

/// Quantiles in milliseconds; none if nothing succeeded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Percentiles {
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    pub p9999: Option<f64>,
    pub max: Option<f64>,
    pub mean: Option<f64>,
}

impl Percentiles {
    /// Those of a histogram in microseconds.
    pub fn of(latency: &Histogram<u64>) -> Self {
        let quantile = |quantile| (!latency.is_empty()).then(|| ms(latency.value_at_quantile(quantile)));
        Percentiles {
            p50: quantile(0.5),
            p90: quantile(0.9),
            p95: quantile(0.95),
            p99: quantile(0.99),
            p999: quantile(0.999),
            p9999: quantile(0.9999),
            max: quantile(1.0),
            mean: (!latency.is_empty()).then(|| latency.mean() / 1000.0),
        }
    }
}
