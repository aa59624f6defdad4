//! What became of the requests along the run: answered and failed, failures by kind, a heat map of latencies,
//! with a shaded band where a fault was.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::axis::{self, Log};
use super::figure::grouped;
use super::plot::{HEIGHT, Path, Plot, WIDTH, height, percent};
use super::rows;
use crate::count::Failure;
use crate::report::Report;
use crate::report::series::{Bucket, Series};

/// More columns than this are not told apart on a page.
const COLUMNS: usize = 600;
/// How many shades a heat map has.
const SHADES: usize = 6;
/// A cell of latency reaches from its end down to this share of it.
const CELL: f64 = 0.840_896_4;
/// So many kinds of failure have a colour of their own.
const COLOURS: usize = 8;

/// The section with all of them.
pub(super) fn section(report: &Report) -> Markup {
    let series = report.timeline.at_most(COLUMNS);
    if series.buckets.is_empty() {
        return html! {};
    }
    let kinds = kinds(report);
    html! {
        section class="card" id="lines" {
            h2 { "Along the run" span class="mute" { ", a column is " (grouped(&series.bucket_ms.to_string())) " ms" } }
            (answered(report, &series).markup())
            @if report.failed > 0 { (failed(report, &series, &kinds).markup()) }
            @if let Some(heat) = heat(report, &series) { (heat.markup()) }
            output class="mute" id="moment" {}
            (rows::table(report))
        }
    }
}

/// The kinds of failure of this run, the most frequent first: their colours stay the same in all charts.
pub(super) fn kinds(report: &Report) -> Vec<Failure> {
    let mut kinds: Vec<_> = report.failed_by_kind.iter().map(|(kind, count)| (*count, *kind)).collect();
    kinds.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
    kinds.into_iter().map(|(_, kind)| kind).collect()
}

/// The class that gives the kind at this place of [`kinds`] its colour.
pub(super) fn colour(place: usize) -> String {
    format!("k{}", place.min(COLOURS - 1))
}

fn answered(report: &Report, series: &Series) -> Plot {
    let per_second = 1000.0 / series.bucket_ms;
    #[allow(clippy::cast_precision_loss)]
    let rate = |count: u64| count as f64 * per_second;
    let most =
        series.buckets.iter().map(|bucket| rate(bucket.succeeded + bucket.failures())).fold(0.0, f64::max);
    let (end, y) = axis::linear(most, 3.0);
    let (mut good, mut bad) = (Path::default(), Path::default());
    let width = WIDTH / len(series);
    for (x, bucket) in columns(series) {
        let (succeeded, failed) =
            (rate(bucket.succeeded) / end * HEIGHT, rate(bucket.failures()) / end * HEIGHT);
        if bucket.succeeded > 0 {
            good.rectangle(x, HEIGHT - succeeded, width, succeeded);
        }
        if failed > 0.0 {
            bad.rectangle(x, HEIGHT - succeeded - failed, width, failed);
        }
    }
    let told = format!(
        "Requests per second along the run: {} succeeded and {} failed. The table below has the numbers.",
        report.succeeded, report.failed
    );
    Plot {
        title: html! {
            "Requests per second"
            span class="legend" { span class="key good" { "succeeded" } @if report.failed > 0 { span class="key bad" { "failed" } } @if !report.faults.is_empty() { span class="key fault" { "fault, until recovered" } } }
        },
        told,
        class: "tall",
        x: times(series),
        y,
        drawn: html! { (bands(report, series)) (good.markup("good")) (bad.markup("bad")) (begins(report, series)) },
        over: html! {
            @for (index, fault) in report.faults.iter().enumerate() {
                span class="mark" style={ "left:" (percent((fault.at_ms / total_ms(series)).clamp(0.0, 1.0))) } title=(fault.fault) { (index + 1) }
            }
        },
    }
}

fn failed(report: &Report, series: &Series, kinds: &[Failure]) -> Plot {
    let most = series.buckets.iter().map(Bucket::failures).max().unwrap_or(0);
    #[allow(clippy::cast_precision_loss)]
    let (end, y) = axis::linear(most.max(2) as f64, 2.0);
    let mut paths: BTreeMap<Failure, Path> = BTreeMap::new();
    let width = WIDTH / len(series);
    for (x, bucket) in columns(series) {
        let mut below = 0.0;
        for kind in kinds {
            let count = bucket.failed.get(kind).copied().unwrap_or(0);
            if count == 0 {
                continue;
            }
            #[allow(clippy::cast_precision_loss)]
            let tall = count as f64 / end * HEIGHT;
            paths.entry(*kind).or_default().rectangle(x, HEIGHT - below - tall, width, tall);
            below += tall;
        }
    }
    let all: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    Plot {
        title: html! {
            "Failed requests in a column, by kind"
            span class="legend" {
                @for (place, kind) in kinds.iter().enumerate() { span class={ "key " (colour(place)) } { (kind.name()) } }
            }
        },
        told: format!("Failed requests along the run, by kind: {}.", all.join(", ")),
        class: "",
        x: times(series),
        y,
        drawn: html! {
            (bands(report, series))
            @for (place, kind) in kinds.iter().enumerate() {
                @if let Some(path) = paths.get(kind) { (path.markup(&colour(place))) }
            }
            (begins(report, series))
        },
        over: html! {},
    }
}

fn heat(report: &Report, series: &Series) -> Option<Plot> {
    let cells = || series.buckets.iter().flat_map(|bucket| &bucket.latency);
    let least = cells().map(|cell| cell.0 * CELL).reduce(f64::min)?;
    let most = cells().map(|cell| cell.0).reduce(f64::max)?;
    let deepest = cells().map(|cell| cell.1).max()?;
    let axis = Log::new(least, most);
    let mut shades: [Path; SHADES] = std::array::from_fn(|_| Path::default());
    let mut p99 = Path::default();
    let (width, mut begin) = (WIDTH / len(series), true);
    for (x, bucket) in columns(series) {
        for (upto, count) in &bucket.latency {
            let (top, bottom) = (height(axis.share(*upto)), height(axis.share(upto * CELL)));
            shades[shade(*count, deepest)].rectangle(x, top, width, bottom - top);
        }
        if let Some(p99_ms) = bucket.p99_ms {
            p99.to((x + width / 2.0, height(axis.share(p99_ms))), begin);
        }
        begin = bucket.p99_ms.is_none();
    }
    let latency = &report.latency_ms;
    let told = format!(
        "Latency of the successful requests along the run: half took at most {} ms, 99 in 100 at most {} ms, the slowest {} ms.",
        latency.p50.unwrap_or_default(),
        latency.p99.unwrap_or_default(),
        latency.max.unwrap_or_default()
    );
    Some(Plot {
        title: html! {
            "Latency of the successful ones"
            span class="legend" { span class="key shades" { "few to many" } span class="key p99" { "99 in 100 are below" } }
        },
        told,
        class: "tall",
        x: times(series),
        y: axis.marks(),
        drawn: html! {
            (bands(report, series))
            @for (index, path) in shades.iter().enumerate() { (path.markup(&format!("h{}", index + 1))) }
            (p99.markup("p99"))
            (begins(report, series))
        },
        over: html! {},
    })
}

/// Which shade a count has: logarithmic, so that one slow request among thousands is seen.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn shade(count: u64, deepest: u64) -> usize {
    let share = (count as f64 + 1.0).ln() / (deepest as f64 + 1.0).ln();
    ((share * SHADES as f64).ceil() as usize).clamp(1, SHADES) - 1
}

/// Behind what is drawn: from each fault's moment to its recovery, or to the end.
fn bands(report: &Report, series: &Series) -> Markup {
    let (mut over, mut lasting) = (Path::default(), Path::default());
    for fault in &report.faults {
        let from = moment(fault.at_ms, series);
        let (band, to) = match fault.recovered_after_ms {
            Some(after) => (&mut over, moment(fault.at_ms + after, series)),
            None => (&mut lasting, WIDTH),
        };
        band.rectangle(from, 0.0, to - from, HEIGHT);
    }
    html! { (over.markup("band")) (lasting.markup("band lasting")) }
}

/// Before what is drawn: a line at each fault's moment.
fn begins(report: &Report, series: &Series) -> Markup {
    let mut begun = Path::default();
    for fault in &report.faults {
        let x = moment(fault.at_ms, series);
        begun.line((x, 0.0), (x, HEIGHT));
    }
    begun.markup("begun")
}

fn moment(at_ms: f64, series: &Series) -> f64 {
    (at_ms / total_ms(series)).clamp(0.0, 1.0) * WIDTH
}

fn times(series: &Series) -> Vec<axis::Mark> {
    axis::time(total_ms(series), 6.0)
}

#[allow(clippy::cast_precision_loss)]
fn len(series: &Series) -> f64 {
    series.buckets.len() as f64
}

fn total_ms(series: &Series) -> f64 {
    (series.bucket_ms * len(series)).max(1.0)
}

/// Each bucket with where it begins.
#[allow(clippy::cast_precision_loss)]
fn columns(series: &Series) -> impl Iterator<Item = (f64, &Bucket)> {
    let width = WIDTH / len(series);
    series.buckets.iter().enumerate().map(move |(index, bucket)| (index as f64 * width, bucket))
}
