//! The table behind the time lines: the same numbers for whoever reads or hears them.

use maud::{Markup, html};

use super::figure::{by_kind, grouped};
use crate::report::Report;

/// A longer table is read by nobody; the JSON has every bucket.
const ROWS: usize = 100;

/// The table, folded away. Each row says which buckets it is the sum of.
pub(super) fn table(report: &Report) -> Markup {
    let size = report.timeline.buckets.len().div_ceil(ROWS).max(1);
    let series = report.timeline.merged(size);
    html! {
        details {
            summary { "The same as a table, a row for each " (grouped(&series.bucket_ms.to_string())) " ms" }
            div class="scroll" { table {
                caption class="hidden" { "Requests along the run" }
                thead { tr { th scope="col" { "From s" } th scope="col" { "Succeeded" } th scope="col" { "Failed" } th scope="col" { "p50 ms" } th scope="col" { "p99 ms" } th scope="col" { "Max ms" } th scope="col" class="left" { "By kind" } } }
                tbody {
                    @for (index, bucket) in series.buckets.iter().enumerate() {
                        tr data-buckets={ (index * size) " " ((index + 1) * size) } {
                            th scope="row" { (format!("{:.1}", bucket.at_ms / 1000.0)) }
                            td data-sum="succeeded" { (grouped(&bucket.succeeded.to_string())) }
                            td data-sum="failed" { (grouped(&bucket.failures().to_string())) }
                            @for value in [bucket.p50_ms, bucket.p99_ms, bucket.max_ms] {
                                td { (value.map_or("–".to_owned(), |value| format!("{value:.1}"))) }
                            }
                            td class="left" { (by_kind(&bucket.failed)) }
                        }
                    }
                }
            } }
        }
    }
}
