//! What can be said in words and tables.

use maud::{Markup, html};

use super::figure::{by_kind, count, grouped, millis};
use super::lines::{colour, kinds};
use crate::report::{Half, Report};

/// Why a run does not count or missed its goal.
pub(super) fn reasons(report: &Report) -> Markup {
    html! {
        @if !report.invalid_reasons.is_empty() || !report.missed_reasons.is_empty() {
            section class="card reasons" role="alert" {
                ul {
                    @for reason in &report.invalid_reasons { li { span class="pill warn" { "Invalid" } " " (reason) } }
                    @for reason in &report.missed_reasons { li { span class="pill bad" { "Missed" } " " (reason) } }
                }
            }
        }
    }
}

/// What one wants to know first.
pub(super) fn tiles(report: &Report) -> Markup {
    let latency = &report.latency_ms;
    html! {
        section class="tiles" aria-label="Summary" {
            div class="card" {
                h2 { "Availability" }
                div class="big" {
                    data class="n" data-json="/availability_percent" value=(report.availability_percent) { (report.availability_figure()) }
                    " %"
                }
                div class="mute" {
                    (count("/succeeded", report.succeeded)) " of " (count("/intended", report.intended)) " intended requests"
                    @if let Some(nines) = report.budget.nines { "; " (format!("{nines:.1}")) " nines" }
                    @if let Some(goal) = report.min_availability_percent { ". Goal: " (goal) " %" }
                }
            }
            div class="card" {
                h2 { "Longest outage" }
                div class="big" { (millis("/longest_outage_ms", Some(report.longest_outage_ms))) " ms" }
                div class="mute" {
                    "Between the starts of two successes. Without any answer for "
                    (millis("/longest_unanswered_ms", Some(report.longest_unanswered_ms))) " ms"
                }
            }
            div class="card" {
                h2 { "Latency" }
                div class="big" { (millis("/latency_ms/p99", latency.p99)) " ms " span class="mute small" { "p99" } }
                div class="mute" {
                    "p50 " (millis("/latency_ms/p50", latency.p50)) " ms, p99.9 " (millis("/latency_ms/p999", latency.p999))
                    " ms, max " (millis("/latency_ms/max", latency.max)) " ms"
                }
            }
            div class="card" {
                h2 { "Failed" }
                div class="big" { (count("/failed", report.failed)) }
                div class="mute" {
                    @if report.failed == 0 { "Every request was answered" } @else { (by_kind(&report.failed_by_kind)) }
                }
            }
        }
    }
}

/// Failures by kind.
pub(super) fn failures(report: &Report) -> Markup {
    let kinds = kinds(report);
    html! {
        section class="card" {
            h2 { "Failures by kind" }
            @if kinds.is_empty() { p { "None." } } @else {
                div class="scroll" { table id="kinds" {
                    caption class="hidden" { "Failed requests by kind" }
                    thead { tr { th scope="col" class="left" { "Kind" } th scope="col" { "All" } th scope="col" { "Fresh connections" } th scope="col" { "Kept connections" } th scope="col" { "Share of intended" } } }
                    tbody {
                        @for (place, kind) in kinds.iter().enumerate() {
                            @let name = kind.name();
                            @let of = |half: &Half| half.failed_by_kind.get(kind).copied();
                            tr {
                                th scope="row" { span class={ "key " (colour(place)) } { (name) } }
                                td { (count(&format!("/failed_by_kind/{name}"), report.failed_by_kind.get(kind).copied().unwrap_or(0))) }
                                @for (half, pointer) in [(&report.connections.fresh, "fresh"), (&report.connections.kept, "kept")] {
                                    td { @match of(half) { Some(failed) => (count(&format!("/connections/{pointer}/failed_by_kind/{name}"), failed)), None => "0" } }
                                }
                                td { (share(report.failed_by_kind.get(kind).copied().unwrap_or(0), report.intended)) }
                            }
                        }
                    }
                } }
            }
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn share(part: u64, whole: u64) -> String {
    format!("{:.3} %", part as f64 * 100.0 / whole.max(1) as f64)
}

/// Fresh and kept connections apart: they fail differently.
pub(super) fn connections(report: &Report) -> Markup {
    let halves = [("Fresh", "fresh", &report.connections.fresh), ("Kept", "kept", &report.connections.kept)];
    html! {
        section class="card" {
            h2 { "Connections" }
            div class="scroll" { table {
                caption class="hidden" { "Requests on fresh and on kept connections" }
                thead { tr {
                    th scope="col" class="left" { "Requests on" } th scope="col" { "Sent" } th scope="col" { "Succeeded" } th scope="col" { "Failed" }
                    th scope="col" { "p50 ms" } th scope="col" { "p90 ms" } th scope="col" { "p99 ms" } th scope="col" { "p99.9 ms" } th scope="col" { "Max ms" }
                } }
                tbody {
                    @for (name, pointer, half) in halves {
                        @let at = |field: &str| format!("/connections/{pointer}/{field}");
                        @let Half { sent, succeeded, failed, latency_ms, failed_by_kind: _ } = half;
                        tr {
                            th scope="row" { (name) " connections" }
                            td { (count(&at("sent"), *sent)) } td { (count(&at("succeeded"), *succeeded)) } td { (count(&at("failed"), *failed)) }
                            td { (millis(&at("latency_ms/p50"), latency_ms.p50)) } td { (millis(&at("latency_ms/p90"), latency_ms.p90)) }
                            td { (millis(&at("latency_ms/p99"), latency_ms.p99)) } td { (millis(&at("latency_ms/p999"), latency_ms.p999)) }
                            td { (millis(&at("latency_ms/max"), latency_ms.max)) }
                        }
                    }
                    tr class="sum" {
                        th scope="row" { "All" }
                        td { (count("/sent", report.sent)) } td { (count("/succeeded", report.succeeded)) } td { (count("/failed", report.failed)) }
                        td { (millis("/latency_ms/p50", report.latency_ms.p50)) } td { (millis("/latency_ms/p90", report.latency_ms.p90)) }
                        td { (millis("/latency_ms/p99", report.latency_ms.p99)) } td { (millis("/latency_ms/p999", report.latency_ms.p999)) }
                        td { (millis("/latency_ms/max", report.latency_ms.max)) }
                    }
                    @let uncorrected = &report.uncorrected_ms;
                    tr {
                        th scope="row" { "All, from when they were sent" span class="mute" { " (uncorrected)" } }
                        td {} td {} td {}
                        td { (millis("/uncorrected_ms/p50", uncorrected.p50)) } td { (millis("/uncorrected_ms/p90", uncorrected.p90)) }
                        td { (millis("/uncorrected_ms/p99", uncorrected.p99)) } td { (millis("/uncorrected_ms/p999", uncorrected.p999)) }
                        td { (millis("/uncorrected_ms/max", uncorrected.max)) }
                    }
                }
            } }
        }
    }
}

/// What it ran on, so that it can be done again.
pub(super) fn environment(report: &Report) -> Markup {
    let environment = &report.environment;
    html! {
        section class="card" {
            h2 { "Environment" }
            dl {
                dt { "Command" } dd class="mono" { (environment.command_line()) }
                dt { "Processor" } dd {
                    (environment.cpu.as_deref().unwrap_or("not known"))
                    @if let Some(cpus) = environment.cpus { ", " (grouped(&cpus.to_string())) " usable" }
                }
                dt { "Kernel" } dd { (environment.kernel) }
                dt { "Version" } dd { "loadtest " (environment.version) }
                @if let Some(seed) = environment.seed { dt { "Seed" } dd class="mono" { (seed) } }
                @for (host, driver) in &report.drivers { dt { "Machines of " (host) } dd { (driver) } }
            }
            p class="mute" id="save" { "This file has the report in it as JSON, in the element with the id " code { "report" } "." }
        }
    }
}
