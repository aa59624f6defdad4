//! The table that users of JMeter know: a row for each target, and one for all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ms;
use crate::count::samples::Samples;

/// The name of the row for all targets.
const TOTAL: &str = "TOTAL";

/// One row. As in JMeter, requests that failed are in it with the time they took to fail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// The target.
    pub label: String,
    /// How many requests were sent.
    pub samples: u64,
    /// What they took on average, in milliseconds from when they were sent.
    pub average_ms: f64,
    /// The shortest.
    pub min_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// The standard deviation.
    pub deviation_ms: f64,
    /// The share that failed.
    pub error_percent: f64,
    /// Requests per second.
    pub throughput: f64,
    /// What was received of HTTP, in KiB per second; only of all targets together.
    pub received_kb_per_s: Option<f64>,
    /// What was sent of it.
    pub sent_kb_per_s: Option<f64>,
}

/// The rows of targets with these names, in a run that lasted `duration_us` and sent and received so many bytes.
#[allow(clippy::cast_precision_loss)]
pub fn rows(names: &[String], samples: &[Samples], traffic: (u64, u64), duration_us: u64) -> Vec<Row> {
    let seconds = (duration_us as f64 / 1e6).max(1e-6);
    let row = |label: &str, samples: &Samples| Row {
        label: label.to_owned(),
        samples: samples.count,
        average_ms: samples.mean_us() / 1000.0,
        min_ms: ms(samples.min_us),
        max_ms: ms(samples.max_us),
        deviation_ms: samples.deviation_us() / 1000.0,
        error_percent: samples.failed as f64 * 100.0 / samples.count.max(1) as f64,
        throughput: samples.count as f64 / seconds,
        received_kb_per_s: None,
        sent_kb_per_s: None,
    };
    let none = Samples::default();
    let counted = |index: usize| samples.get(index).unwrap_or(&none);
    let mut rows: Vec<Row> =
        names.iter().enumerate().map(|(index, name)| row(name, counted(index))).collect();
    let all = samples.iter().fold(Samples::default(), |sum, samples| sum.with(samples));
    let (sent, received) = traffic;
    let kb_per_s = |bytes: u64| Some(bytes as f64 / 1024.0 / seconds);
    rows.push(Row {
        received_kb_per_s: kb_per_s(received),
        sent_kb_per_s: kb_per_s(sent),
        ..row(TOTAL, &all)
    });
    rows
}
