//! What each fault did: everything that happened around it is put down to it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ms;
use crate::count::{Failure, Ledger};
use crate::faults::FaultRecord;
use crate::pace::micros;
use crate::verdict::impact::{Impact, Promise};

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
    /// What else it cost.
    pub impact: Impact,
}

/// Each fault with what happened from its moment until a little after its recovery, or until the next.
pub(super) fn faults(records: &[FaultRecord], ledger: &Ledger, end_us: u64, promise: Promise) -> Vec<Fault> {
    let next = records.iter().skip(1).map(|next| next.at_us).chain([u64::MAX]);
    records
        .iter()
        .zip(next)
        .map(|(record, next_us)| {
            let from = record.at_us;
            let to =
                record.recovered_us.map_or(end_us, |recovered| recovered + micros(AFTERMATH)).min(next_us);
            let failed_by_kind = ledger.failures.started_in(from, to);
            let outage_ms = ms(ledger.starts.longest_gap_touching(from, to, end_us));
            Fault {
                fault: record.fault.clone(),
                victim: record.victim.name().map(str::to_owned),
                at_ms: ms(from),
                outage_ms,
                unanswered_ms: ms(ledger.arrivals.longest_gap_touching(from, to, end_us)),
                slowest_ms: ledger.slowest.highest_in(from, to).map(ms),
                failed: failed_by_kind.values().sum(),
                failed_by_kind,
                recovered_after_ms: record.recovered_us.map(|recovered| ms(recovered.saturating_sub(from))),
                address_before: record.address_before,
                address_after: record.address_after,
                impact: Impact::of(ledger, from, to, outage_ms, promise),
            }
        })
        .collect()
}
