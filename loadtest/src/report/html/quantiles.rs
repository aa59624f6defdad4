//! How latencies are distributed: what so many of the successful requests took at most.

use std::io;

use maud::{Markup, html};

use super::axis::Log;
use super::figure::{grouped, millis};
use super::plot::{Path, Plot, WIDTH, height};
use crate::report::Report;

/// Each is as far from the one before as the share that is slower halves ten-fold.
const MARKS: [(f64, &str); 5] =
    [(0.0, "0 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")];
/// The last on the axis: one in a hundred thousand.
const LAST: f64 = 5.0;

/// The section with the chart and its numbers.
pub(super) fn section(report: &Report) -> io::Result<Markup> {
    let latency = &report.latency_ms;
    let chart = chart(report)?;
    Ok(html! {
        section class="card" {
            h2 { "Latency, from due to answered" }
            @if let Some(chart) = chart { (chart.markup()) }
            div class="scroll" { table {
                caption class="hidden" { "What so many of the successful requests took at most" }
                thead { tr { @for name in ["p50", "p90", "p99", "p99.9", "Max", "Mean"] { th scope="col" { (name) " ms" } } } }
                tbody { tr {
                    td { (millis("/latency_ms/p50", latency.p50)) }
                    td { (millis("/latency_ms/p90", latency.p90)) }
                    td { (millis("/latency_ms/p99", latency.p99)) }
                    td { (millis("/latency_ms/p999", latency.p999)) }
                    td { (millis("/latency_ms/max", latency.max)) }
                    td { (millis("/latency_ms/mean", latency.mean)) }
                } }
            } }
            p class="mute" {
                (super::figure::count("/over_200ms", report.over_200ms)) " took more than 200 ms. Sent late by "
                (millis("/lateness_ms/p99", report.lateness_ms.p99)) " ms (p99) and "
                (millis("/lateness_ms/max", report.lateness_ms.max)) " ms at most."
            }
        }
    })
}

fn chart(report: &Report) -> io::Result<Option<Plot>> {
    let histogram = report.latency_histogram.histogram().map_err(io::Error::other)?;
    if histogram.is_empty() {
        return Ok(None);
    }
    #[allow(clippy::cast_precision_loss)]
    let ms = |us: u64| us as f64 / 1000.0;
    let axis = Log::new(ms(histogram.min()) * 0.9, ms(histogram.max()) * 1.1);
    let mut path = Path::default();
    for step in 0..=100_u32 {
        let nines = LAST * f64::from(step) / 100.0;
        let quantile = 1.0 - 10_f64.powf(-nines);
        let value = ms(histogram.value_at_quantile(quantile));
        path.to((nines / LAST * WIDTH, height(axis.share(value))), step == 0);
    }
    let marks = MARKS.iter().map(|(quantile, text)| (-(1.0 - quantile).log10() / LAST, (*text).to_owned()));
    Ok(Some(Plot {
        title: html! { "What so many took at most" },
        told: format!(
            "The distribution of {} latencies; the table below has its quantiles.",
            grouped(&histogram.len().to_string())
        ),
        class: "",
        x: marks.collect(),
        y: axis.marks(),
        drawn: path.markup("curve"),
        over: html! {},
    }))
}
