//! What each fault did: everything that happened around it is put down to it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ms;
use crate::count::{Failed, Failure};
use crate::faults::FaultRecord;
use crate::outage::Successes;
use crate::pace::micros;

/// What still happens so long after its recovery is put down to a fault.
const AFTERMATH: std::time::Duration = std::time::Duration::from_secs(1);

/// One fault and what it did.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// What was done.
    pub fault: String,
    /// To whom.
    pub victim: Option<String>,
    /// When.
    pub at_ms: f64,
    /// The longest time between the starts of two successful requests around it.
    pub outage_ms: f64,
    /// The longest time between the arrivals of two successful answers around it: how long nothing came.
    /// Requests that started in it may have succeeded later; to `outage_ms` they are no gap.
    pub unanswered_ms: f64,
    /// What the slowest successful request that started around it took from its start to its last byte;
    /// none if none succeeded.
    pub slowest_ms: Option<f64>,
    /// How many of the requests that started around it failed.
    pub failed: u64,
    /// Those by reason.
    pub failed_by_kind: BTreeMap<Failure, u64>,
    /// How long it took until all was well again.
    pub recovered_after_ms: Option<f64>,
    /// The victim's address before.
    pub address_before: Option<IpAddr>,
    /// The victim's address after.
    pub address_after: Option<IpAddr>,
}

/// Each fault with what happened from its moment until a little after its recovery, or until the next.
pub(super) fn faults(
    records: &[FaultRecord],
    successes: &Successes,
    failures: &[Failed],
    end_us: u64,
) -> Vec<Fault> {
    let next = records.iter().skip(1).map(|next| next.at_us).chain([u64::MAX]);
    records
        .iter()
        .zip(next)
        .map(|(record, next_us)| {
            let from = record.at_us;
            let to =
                record.recovered_us.map_or(end_us, |recovered| recovered + micros(AFTERMATH)).min(next_us);
            let mut failed_by_kind = BTreeMap::new();
            for failed in failures.iter().filter(|failed| (from..to).contains(&failed.started_us)) {
                *failed_by_kind.entry(failed.failure).or_default() += 1;
            }
            Fault {
                fault: record.fault.clone(),
                victim: record.victim.name().map(str::to_owned),
                at_ms: ms(from),
                outage_ms: ms(successes.starts.longest_gap_touching(from, to)),
                unanswered_ms: ms(successes.arrivals.longest_gap_touching(from, to)),
                slowest_ms: successes.slowest_started_in(from, to).map(ms),
                failed: failed_by_kind.values().sum(),
                failed_by_kind,
                recovered_after_ms: record.recovered_us.map(|recovered| ms(recovered.saturating_sub(from))),
                address_before: record.address_before,
                address_after: record.address_after,
            }
        })
        .collect()
}
