//! The smaller parts of a report.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ms, quantile};
use crate::count::{Failed, Failure, Tally};

/// Latencies in milliseconds; none if nothing succeeded.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Quantiles {
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    pub max: Option<f64>,
    pub mean: Option<f64>,
}

/// How late requests were sent, in milliseconds; none if nothing was sent.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Lateness {
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

/// Requests on fresh and on kept connections, apart.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Connections {
    /// Those that opened a connection.
    pub fresh: Half,
    /// Those that used one that was open, where there was one.
    pub kept: Half,
}

/// One half of the load.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Half {
    /// As in [`Report`].
    pub sent: u64,
    /// As in [`Report`].
    pub succeeded: u64,
    /// As in [`Report`].
    pub failed: u64,
    /// As in [`Report`].
    pub failed_by_kind: BTreeMap<Failure, u64>,
    /// As in [`Report`].
    pub latency_ms: Quantiles,
}

/// One request that failed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FailedRequest {
    /// When it was sent, from the start of the run; when it should have been, if it never was.
    pub started_ms: f64,
    /// How long it took to fail.
    pub took_ms: f64,
    /// Why it failed.
    pub kind: Failure,
}

impl Half {
    pub(super) fn of(tally: Tally) -> Self {
        Half {
            sent: tally.sent(),
            succeeded: tally.succeeded,
            failed: tally.failures(),
            latency_ms: Quantiles::of(&tally.latency),
            failed_by_kind: tally.failed,
        }
    }
}

impl FailedRequest {
    pub(super) fn of(failed: &Failed) -> Self {
        let Failed { started_us, finished_us, failure } = *failed;
        let took_ms = ms(finished_us.saturating_sub(started_us));
        FailedRequest { started_ms: ms(started_us), took_ms, kind: failure }
    }
}

impl Quantiles {
    pub(super) fn of(latency: &Histogram<u64>) -> Self {
        Quantiles {
            p50: quantile(latency, 0.5),
            p90: quantile(latency, 0.9),
            p99: quantile(latency, 0.99),
            p999: quantile(latency, 0.999),
            max: quantile(latency, 1.0),
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            mean: (!latency.is_empty()).then(|| ms(latency.mean() as u64)),
        }
    }
}
