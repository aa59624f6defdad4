//! What was broken, what it did and what that cost.

use maud::{Markup, html};

use super::figure::{by_kind, count, millis, number, seconds};
use crate::report::Report;
use crate::report::fault::Fault;

/// What was broken, and what it did.
pub(super) fn faults(report: &Report) -> Markup {
    html! {
        @if !report.faults.is_empty() {
            section class="card" {
                h2 { "Faults" }
                div class="scroll" { table id="faults" {
                    caption class="hidden" { "What was broken and what it did" }
                    thead { tr {
                        th scope="col" { "#" } th scope="col" class="left" { "Fault" } th scope="col" class="left" { "Victim" }
                        th scope="col" { "At s" } th scope="col" { "Outage ms" } th scope="col" { "Unanswered ms" } th scope="col" { "Slowest ms" }
                        th scope="col" { "Failed" } th scope="col" { "Well after ms" } th scope="col" class="left" { "By kind" }
                    } }
                    tbody {
                        @for (index, fault) in report.faults.iter().enumerate() {
                            @let at = |field: &str| format!("/faults/{index}/{field}");
                            tr {
                                td { span class="mark" { (index + 1) } }
                                td class="wide" {
                                    (fault.fault)
                                    @if !fault.overlaps.is_empty() { " " span class="mute" { "while " (numbers(&fault.overlaps)) } }
                                }
                                td class="left" {
                                    (fault.victim.as_deref().unwrap_or("–"))
                                    @if let Some(before) = fault.address_before {
                                        br; span class="mono mute" { (before) @if let Some(after) = fault.address_after.filter(|after| *after != before) { " → " (after) } }
                                    }
                                }
                                td { (seconds(&at("at_ms"), fault.at_ms, 3)) }
                                td { (millis(&at("outage_ms"), Some(fault.outage_ms))) }
                                td { (millis(&at("unanswered_ms"), Some(fault.unanswered_ms))) }
                                td { (millis(&at("slowest_ms"), fault.slowest_ms)) }
                                td { (count(&at("failed"), fault.failed)) }
                                td {
                                    @match fault.recovered_after_ms {
                                        Some(after) => (number(&at("recovered_after_ms"), after, 0)),
                                        None => span class="pill bad" { "not" },
                                    }
                                }
                                td class="left kinds" { (by_kind(&fault.failed_by_kind)) }
                            }
                        }
                    }
                } }
                (impact(report))
            }
        }
    }
}

/// What each cost, beside what it did.
fn impact(report: &Report) -> Markup {
    html! {
        div class="scroll" { table id="impact" {
            caption class="hidden" { "What each fault cost" }
            thead { tr {
                th scope="col" { "#" } th scope="col" { "First failed s" } th scope="col" { "Last failed s" }
                th scope="col" { "Degraded ms" } th scope="col" { "p50 before ms" } th scope="col" { "p50 ms" }
                th scope="col" { "p99 before ms" } th scope="col" { "p99 ms" } th scope="col" { "p99 added ms" }
                @if report.budget.slo_percent.is_some() { th scope="col" { "Of a month's budget %" } }
            } }
            tbody {
                @for (index, Fault { impact, .. }) in report.faults.iter().enumerate() {
                    @let at = |field: &str| format!("/faults/{index}/impact/{field}");
                    tr {
                        td { span class="mark" { (index + 1) } }
                        @for (field, moment) in [("first_failed_ms", impact.first_failed_ms), ("last_failed_ms", impact.last_failed_ms)] {
                            td { @match moment { Some(moment) => (seconds(&at(field), moment, 3)), None => "–" } }
                        }
                        td { (number(&at("degraded_ms"), impact.degraded_ms, 0)) }
                        td { (millis(&at("p50_before_ms"), impact.p50_before_ms)) } td { (millis(&at("p50_ms"), impact.p50_ms)) }
                        td { (millis(&at("p99_before_ms"), impact.p99_before_ms)) } td { (millis(&at("p99_ms"), impact.p99_ms)) }
                        td { (millis(&at("p99_added_ms"), impact.p99_added_ms)) }
                        @if report.budget.slo_percent.is_some() {
                            td { @match impact.month_percent { Some(share) => (number(&at("month_percent"), share, 3)), None => "–" } }
                        }
                    }
                }
            }
        } }
        p class="mute" {
            "Latencies are of the successful requests, five seconds before a fault and until it was over."
            @if report.faults.iter().any(|fault| !fault.overlaps.is_empty()) {
                " What failed while several faults were in force is in the figures of each."
            }
        }
    }
}

fn numbers(faults: &[usize]) -> String {
    faults.iter().map(|number| format!("#{number}")).collect::<Vec<_>>().join(", ")
}
