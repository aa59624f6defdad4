//! The goals and what became of them, and the table that users of JMeter know.

use maud::{Markup, html};

use super::figure::{count, number};
use crate::report::Report;
use crate::verdict::samples::Row;

/// Each goal with the figure that it was held against.
pub(super) fn goals(report: &Report) -> Markup {
    html! {
        @if !report.thresholds.is_empty() {
            section class="card" {
                h2 { "Goals" }
                div class="scroll" { table id="goals" {
                    caption class="hidden" { "Goals and whether they were met" }
                    thead { tr { th scope="col" class="left" { "Goal" } th scope="col" { "It was" } th scope="col" class="left" { "Verdict" } } }
                    tbody {
                        @for (index, threshold) in report.thresholds.iter().enumerate() {
                            @let found = threshold.found();
                            tr {
                                th scope="row" class="mono" { (threshold.goal) }
                                td {
                                    @match (threshold.figure, found.split_once(' ').unwrap_or((&found, ""))) {
                                        (Some(figure), (shown, unit)) => {
                                            data class="n" data-json={ "/thresholds/" (index) "/figure" } value=(figure) { (shown) } " " (unit)
                                        }
                                        (None, _) => (found),
                                    }
                                }
                                td class="left" {
                                    @match threshold.met {
                                        Some(true) => span class="pill ok" { "met" },
                                        Some(false) => span class="pill bad" { "missed" },
                                        None => span class="pill warn" { "not judged" },
                                    }
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

/// Requests by target. They count from when they were sent, and those that failed are in it.
pub(super) fn samples(report: &Report) -> Markup {
    html! {
        @if !report.samples.is_empty() {
            section class="card" {
                h2 { "Targets" span class="mute" { ", as JMeter counts: from when it was sent, with what failed" } }
                div class="scroll" { table id="samples" {
                    caption class="hidden" { "Requests by target" }
                    thead { tr {
                        th scope="col" class="left" { "Target" } th scope="col" { "Samples" } th scope="col" { "Average ms" } th scope="col" { "Min ms" }
                        th scope="col" { "Max ms" } th scope="col" { "Std. dev. ms" } th scope="col" { "Error %" } th scope="col" { "Throughput /s" }
                        th scope="col" { "Received KiB/s" } th scope="col" { "Sent KiB/s" }
                    } }
                    tbody { @for (index, row) in report.samples.iter().enumerate() { (sample(index, row, index + 1 == report.samples.len())) } }
                } }
            }
        }
    }
}

fn sample(index: usize, row: &Row, sum: bool) -> Markup {
    let at = |field: &str| format!("/samples/{index}/{field}");
    let rate = |field: &str, value: Option<f64>| match value {
        Some(value) => number(&at(field), value, 2),
        None => html! { "–" },
    };
    html! {
        tr class=[sum.then_some("sum")] {
            th scope="row" { (row.label) }
            td { (count(&at("samples"), row.samples)) }
            td { (number(&at("average_ms"), row.average_ms, 2)) }
            td { (number(&at("min_ms"), row.min_ms, 2)) }
            td { (number(&at("max_ms"), row.max_ms, 2)) }
            td { (number(&at("deviation_ms"), row.deviation_ms, 2)) }
            td { (number(&at("error_percent"), row.error_percent, 3)) }
            td { (number(&at("throughput"), row.throughput, 1)) }
            td { (rate("received_kb_per_s", row.received_kb_per_s)) }
            td { (rate("sent_kb_per_s", row.sent_kb_per_s)) }
        }
    }
}
