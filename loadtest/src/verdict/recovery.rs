//! How long it took until all was well again, over all faults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ms;
use crate::faults::FaultRecord;

/// The recoveries of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    /// How many faults were injected.
    pub faults: usize,
    /// How many of them have recovered.
    pub recovered: usize,
    /// The mean time to repair: from a fault to its recovery. None unless all have recovered: what has not would
    /// make it look better.
    pub mttr_ms: Option<f64>,
    /// The longest of them.
    pub longest_ms: Option<f64>,
}

impl Recovery {
    /// Those of these faults.
    #[allow(clippy::cast_precision_loss)]
    pub fn of(records: &[FaultRecord]) -> Self {
        let took: Vec<f64> = records
            .iter()
            .filter_map(|record| Some(ms(record.recovered_us?.saturating_sub(record.at_us))))
            .collect();
        let all = !records.is_empty() && took.len() == records.len();
        Recovery {
            faults: records.len(),
            recovered: took.len(),
            mttr_ms: all.then(|| took.iter().sum::<f64>() / took.len() as f64),
            longest_ms: took.iter().copied().reduce(f64::max).filter(|_| all),
        }
    }
}
