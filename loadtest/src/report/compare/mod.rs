//! What changed from one run to another, and whether it is more than noise.
//!
//! Availability and the quantiles of latency are judged: from thousands of requests it can be said how much of a
//! difference is chance ([`interval`]). What a run has once, such as its longest outage, is shown and not judged: one
//! figure against one says nothing about the next.

mod beside;
mod interval;
#[cfg(test)]
mod tests;
mod text;

use hdrhistogram::Histogram;
use serde::Serialize;

use self::interval::{Estimate, Interval, SURE_PERCENT, Share, batches, difference, togetherness, wilson};
use super::series::Bucket;
use super::{Report, ms};

/// The version of a comparison's structure.
const SCHEMA: u32 = 1;
/// A quantile that so few requests are beyond is not judged.
const BEYOND: f64 = 10.0;
/// The same, in independent requests.
const BEYOND_WORTH: f64 = 3.0;

/// Two runs side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The version of this structure.
    pub schema: u32,
    /// How sure it is that each interval has the real difference in it, in percent.
    pub sure_percent: f64,
    /// So much a latency has to differ at least to count, in percent.
    pub tolerance_percent: f64,
    /// What the runs do not have in common, so that they may differ for that.
    pub unlike: Vec<Unlike>,
    /// What is judged.
    pub figures: Vec<Figure>,
    /// What either run has only once.
    pub seen_once: Vec<Once>,
    /// All of it in a word.
    pub verdict: Verdict,
}

/// A condition that was not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Unlike {
    pub what: &'static str,
    pub before: String,
    pub after: String,
}

/// A figure of both runs.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Which; those of latency end in `_ms`.
    pub name: &'static str,
    /// In the first run; none where it has none.
    pub before: Option<f64>,
    /// In the second run.
    pub after: Option<f64>,
    /// The least that it may really have grown by.
    pub change_low: Option<f64>,
    /// The most that it may really have grown by.
    pub change_high: Option<f64>,
    /// What that means.
    pub verdict: Verdict,
}

/// A figure that either run has only once.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Once {
    pub name: String,
    pub before: Option<f64>,
    pub after: Option<f64>,
}

/// What a difference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Better by more than chance.
    Better,
    /// Worse by more than chance.
    Worse,
    /// Some figures better, some worse.
    Mixed,
    /// No difference that is more than chance, or than the tolerance.
    Same,
    /// There is too little to judge by.
    TooFew,
}

/// What the second run has changed.
pub fn compare(before: &Report, after: &Report, tolerance_percent: f64) -> Comparison {
    let mut figures = vec![availability(before, after)];
    figures.extend(latencies(before, after, tolerance_percent));
    let has = |verdict| figures.iter().any(|figure| figure.verdict == verdict);
    let verdict = match (has(Verdict::Better), has(Verdict::Worse)) {
        (true, true) => Verdict::Mixed,
        (true, false) => Verdict::Better,
        (false, true) => Verdict::Worse,
        (false, false) if has(Verdict::Same) => Verdict::Same,
        (false, false) => Verdict::TooFew,
    };
    Comparison {
        schema: SCHEMA,
        sure_percent: SURE_PERCENT,
        tolerance_percent,
        unlike: beside::unlike(before, after),
        figures,
        seen_once: beside::seen_once(before, after),
        verdict,
    }
}

impl Comparison {
    /// Whether anything is worse by more than chance.
    pub fn is_worse(&self) -> bool {
        matches!(self.verdict, Verdict::Worse | Verdict::Mixed)
    }
}

/// From both estimates, and from how little counts as a difference.
fn figure(
    name: &'static str,
    values: [Option<f64>; 2],
    estimates: [Option<Estimate>; 2],
    least: f64,
    more_is_better: bool,
) -> Figure {
    let [before, after] = values;
    let [Some(one), Some(other)] = estimates else {
        return Figure { name, before, after, change_low: None, change_high: None, verdict: Verdict::TooFew };
    };
    let change = difference(one, other);
    let small = (other.value - one.value).abs() < least;
    let verdict = match (change.low > 0.0, change.high < 0.0) {
        (true, _) | (_, true) if small => Verdict::Same,
        (more, less) if more || less => {
            if more == more_is_better {
                Verdict::Better
            } else {
                Verdict::Worse
            }
        }
        _ => Verdict::Same,
    };
    Figure { name, before, after, change_low: Some(change.low), change_high: Some(change.high), verdict }
}

/// In percent.
fn availability(before: &Report, after: &Report) -> Figure {
    let runs = [before, after];
    let stretches = runs.map(|report| {
        batches(&report.timeline, |bucket| Share {
            hits: bucket.succeeded,
            of: bucket.succeeded + bucket.failures(),
        })
    });
    let together = hang_together(&stretches);
    let estimate = |report: &Report| {
        let share = wilson(report.availability_percent / 100.0, whole(report.intended) / together?);
        let interval = Interval { low: share.low * 100.0, high: share.high * 100.0 };
        Some(Estimate { value: report.availability_percent, interval })
    };
    let values = runs.map(|report| Some(report.availability_percent));
    figure("availability_percent", values, runs.map(estimate), 0.0, true)
}

fn latencies(before: &Report, after: &Report, tolerance_percent: f64) -> Vec<Figure> {
    const QUANTILES: [(&str, f64); 4] =
        [("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("p999_ms", 0.999)];
    let histograms = [before, after].map(|report| report.latency_histogram.histogram().ok());
    let [Some(one), Some(other)] = histograms else { return Vec::new() };
    let of = |name, at: f64| {
        let runs = [(before, &one), (after, &other)];
        let values = runs.map(|(_, histogram)| (!histogram.is_empty()).then(|| value(histogram, at)));
        let stretches = runs.map(|(report, histogram)| {
            let middle = value(histogram, at);
            batches(&report.timeline, |bucket| below(bucket, middle))
        });
        let together = hang_together(&stretches);
        let estimates = runs.map(|(_, histogram)| quantile(histogram, at, together?));
        let least = values[0].unwrap_or_default() * tolerance_percent / 100.0;
        figure(name, values, estimates, least, false)
    };
    QUANTILES.into_iter().map(|(name, at)| of(name, at)).collect()
}

/// How much the requests of two runs hang together; none where one cannot be cut.
fn hang_together(runs: &[Option<Vec<Share>>; 2]) -> Option<f64> {
    let [Some(one), Some(other)] = runs else { return None };
    Some(togetherness(one).max(togetherness(other)))
}

/// A quantile with its interval; none where too few requests are beyond it.
fn quantile(histogram: &Histogram<u64>, at: f64, together: f64) -> Option<Estimate> {
    let all = whole(histogram.len());
    let worth = all / together;
    if all * (1.0 - at) < BEYOND || worth * (1.0 - at) < BEYOND_WORTH {
        return None;
    }
    let ranks = wilson(at, worth);
    let interval = Interval { low: value(histogram, ranks.low), high: value(histogram, ranks.high) };
    Some(Estimate { value: value(histogram, at), interval })
}

#[allow(clippy::cast_precision_loss)]
fn whole(count: u64) -> f64 {
    count as f64
}

/// How many of a bucket's successes took no longer than this, to within a cell.
fn below(bucket: &Bucket, ms: f64) -> Share {
    // The cell that it is in counts as below, or a bucket in which all took the same would have none.
    let mut share = Share::default();
    let mut inside = true;
    for (upto, count) in &bucket.latency {
        share.of += count;
        share.hits += if inside { *count } else { 0 };
        inside &= *upto < ms;
    }
    share
}

fn value(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    ms(histogram.value_at_quantile(quantile))
}
