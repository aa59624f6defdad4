//! The report as one page: it opens from a file, asks no network for anything, prints, and has a dark side.
//!
//! ```text
//!  page ─┬─ tables        verdict, tiles, faults, failures, connections, environment
//!        ├─ goals         goals, and requests by target
//!        ├─ lines         what came of the requests along the run, and the latency heat map
//!        ├─ quantiles     the latency distribution
//!        └─ the JSON      everything, for programs and for the small script that reads out a moment
//! ```
//!
//! Charts are drawn here, as SVG; the script only adds a cursor. Each number on the page that is one of the report
//! says which (`data-json`), and the tests hold it against the JSON. All text is escaped by [`maud`].

mod axis;
mod faults;
mod figure;
mod goals;
mod lines;
mod plot;
mod quantiles;
mod rows;
mod tables;

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Report, json};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Nothing is fetched, whatever a report has in it.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// Writes the page.
///
/// # Errors
///
/// What writing says.
pub fn write(report: &Report, mut to: impl Write) -> io::Result<()> {
    to.write_all(page(report)?.into_string().as_bytes())
}

fn page(report: &Report) -> io::Result<Markup> {
    let (class, verdict) = verdict(report);
    Ok(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "loadtest: " (report.url) ", " (verdict) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "loadtest" }
                    span class={ "pill " (class) } id="verdict" { (verdict) }
                    span class="mono" { (report.url) }
                    span class="mute" {
                        (figure::number("/rate", report.rate, usize::from(report.rate.fract() > 0.0))) " requests/s for "
                        (figure::seconds("/duration_ms", report.duration_ms, 1)) " s"
                    }
                    span class="mute when" { (started(report)) }
                }
                main {
                    (tables::reasons(report))
                    (tables::tiles(report))
                    (goals::goals(report))
                    (lines::section(report))
                    (faults::faults(report))
                    div class="pair" {
                        (quantiles::section(report)?)
                        (tables::failures(report))
                    }
                    (tables::connections(report))
                    (goals::samples(report))
                    (tables::environment(report))
                }
                script type="application/json" id="report" { (PreEscaped(embedded(report)?)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    })
}

fn verdict(report: &Report) -> (&'static str, &'static str) {
    match report {
        Report { interrupted: true, .. } => ("warn", "Interrupted"),
        Report { valid: false, .. } => ("warn", "Invalid: says nothing about the service"),
        Report { met: false, .. } => ("bad", "Goal missed"),
        Report { thresholds, .. } if !thresholds.is_empty() => ("ok", "All goals met"),
        Report { min_availability_percent: Some(_), .. } => ("ok", "Goal met"),
        _ => ("acc", "Done, no goal set"),
    }
}

fn started(report: &Report) -> String {
    let moment = UNIX_EPOCH.checked_add(Duration::from_millis(report.started_unix_ms));
    // What a file says need not be a year that can be written.
    let sane = moment.filter(|_| report.started_unix_ms < 253_402_300_800_000);
    sane.map(|moment| humantime::format_rfc3339_seconds(moment).to_string()).unwrap_or_default()
}

/// The JSON within HTML: no text in it can end the element that it stands in.
fn embedded(report: &Report) -> io::Result<String> {
    let mut text = Vec::new();
    json::write(report, &mut text)?;
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    Ok(text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}
