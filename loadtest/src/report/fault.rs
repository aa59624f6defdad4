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
    /// How many of the requests failed that were under way at its moment or started around it.
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
    /// The numbers, from 1, of the other faults that were in force in its time. What failed while several were is in
    /// the figures of each.
    #[serde(default)]
    pub overlaps: Vec<usize>,
}

impl Fault {
    /// What was done, and while which others were in force.
    pub(super) fn named(&self) -> String {
        if self.overlaps.is_empty() {
            return self.fault.clone();
        }
        let others: Vec<_> = self.overlaps.iter().map(|number| format!("#{number}")).collect();
        format!("{} (while {})", self.fault, others.join(", "))
    }
}

/// Each fault with what happened from its moment until a little after its recovery. Of that little, what comes after
/// the next fault is the next one's.
pub(super) fn faults(records: &[FaultRecord], ledger: &Ledger, end_us: u64, promise: Promise) -> Vec<Fault> {
    let over = |record: &FaultRecord| record.recovered_us.unwrap_or(end_us);
    records
        .iter()
        .map(|record| {
            let (from, over_us) = (record.at_us, over(record));
            let later = records.iter().map(|other| other.at_us).filter(|other| *other > from);
            let next_us = later.filter(|next| *next >= over_us).min().unwrap_or(u64::MAX);
            let to =
                record.recovered_us.map_or(end_us, |recovered| recovered + micros(AFTERMATH)).min(next_us);
            let overlaps = (1..)
                .zip(records)
                .filter(|(_, other)| {
                    !std::ptr::eq(*other, record) && other.at_us < over_us && over(other) > from
                })
                .map(|(number, _)| number)
                .collect();
            let failed_by_kind = ledger.failures.touching(from, to);
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
                overlaps,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::{Connection, Outcome};
    use crate::faults::recovery::Victim;

    fn record(at_ms: u64, recovered_ms: Option<u64>) -> FaultRecord {
        FaultRecord {
            fault: "kill".to_owned(),
            victim: Victim::Unknown,
            at_us: at_ms * 1000,
            recovered_us: recovered_ms.map(|recovered| recovered * 1000),
            address_before: None,
            address_after: None,
        }
    }

    #[test]
    fn faults_that_overlap_are_each_charged_with_all_of_their_time() {
        // A request every 10 ms; those from 1 s to 2 s are refused, those from 3 s to 4 s time out.
        let mut ledger = Ledger::new().unwrap();
        for due_us in (0..1000).map(|number| number * 10_000) {
            let result = match due_us / 1_000_000 {
                1 => Err(Failure::Refused),
                3 => Err(Failure::Timeout),
                _ => Ok(()),
            };
            let (connection, finished_us) = (Connection::Kept, due_us + 1000);
            ledger.record(Outcome { connection, due_us, started_us: due_us, finished_us, result });
        }
        // The first lasts from 1 s to 5 s, the second within it, the third begins within the second's aftermath.
        let records = [
            record(1000, Some(5000)),
            record(3000, Some(4000)),
            record(4500, Some(4600)),
            record(8000, None),
        ];
        let faults =
            faults(&records, &ledger, 10_000_000, Promise { success_threshold: 95.0, ..Promise::default() });
        let failed: Vec<_> = faults.iter().map(|fault| fault.failed).collect();
        assert_eq!(failed, [200, 100, 0, 0]);
        assert_eq!(faults[0].failed_by_kind[&Failure::Refused], 100);
        assert_eq!(faults[1].failed_by_kind, BTreeMap::from([(Failure::Timeout, 100)]));
        let outages: Vec<_> = faults.iter().map(|fault| fault.outage_ms).collect();
        assert_eq!(outages, [1010.0, 1010.0, 10.0, 10.0]);
        let overlaps: Vec<_> = faults.iter().map(|fault| fault.overlaps.clone()).collect();
        assert_eq!(overlaps, [vec![2, 3], vec![1], vec![1], vec![]]);
        let degraded: Vec<_> = faults.iter().map(|fault| fault.impact.degraded_ms).collect();
        assert_eq!(degraded, [2000.0, 1000.0, 0.0, 0.0]);
    }
}
