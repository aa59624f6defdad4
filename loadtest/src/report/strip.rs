//! A run in one line of text: how much was answered, from its start to its end, and where faults were.

use super::Report;

/// From nothing to all.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// As wide as fits on a terminal beside what stands before it.
const WIDTH: usize = 60;

/// How tall a share of 1 is.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub(super) fn level(share: f64) -> char {
    let last = LEVELS.len() - 1;
    LEVELS[((share.clamp(0.0, 1.0) * last as f64).floor() as usize).min(last)]
}

/// The lines: what was answered, and below it the numbers of the faults. A step is full only if nothing failed in it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub(super) fn strip(report: &Report) -> Option<String> {
    let series = report.timeline.at_most(WIDTH);
    if series.buckets.len() < 2 {
        return None;
    }
    let line: String = series
        .buckets
        .iter()
        .map(|bucket| match (bucket.succeeded, bucket.failures()) {
            (0, 0) => ' ',
            (succeeded, failed) => level(succeeded as f64 / (succeeded + failed) as f64),
        })
        .collect();
    let mut text = format!("Answered        {line}  {} s each", series.bucket_ms / 1000.0);
    if !report.faults.is_empty() {
        let mut marks = String::new();
        for (index, fault) in report.faults.iter().enumerate() {
            let at = ((fault.at_ms / series.bucket_ms) as usize).min(series.buckets.len() - 1);
            let number = (index + 1).to_string();
            let written = marks.chars().count();
            // Where two are too near, the first has the place.
            if at > written || marks.is_empty() {
                marks += &" ".repeat(at - written);
                marks += &number;
            }
        }
        text += &format!("\nFaults          {marks}");
    }
    Some(text)
}
