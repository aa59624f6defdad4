//! What a terminal shows while a run is under way: the last minute or so, second by second.
//!
//! ```text
//!  14.2 s  ━━━━━━━━━━━━━━━━━━────────────────────  15.8 s left
//!   500/s  answered  ████████▁▁█████  99.412 %, 29 failed
//!  3.1 ms  latency   ▁▁▂▁▁▂▁▅█▆▁▁▁▂▁  99 in 100 of the last second
//!          faults            ▲──      1: kill stateless
//! ```

use console::{Style, truncate_str};

use super::strip::level;
use crate::count::timeline::{Bucket, Timeline, cell_end_us};

/// Each character of a line stands for so long, or for one bucket where those are longer.
const STEP_US: u64 = 1_000_000;
/// What is left and right of the lines.
const BESIDE: usize = 58;
const MOST_STEPS: usize = 120;
const LEAST_STEPS: usize = 10;

/// What became of one step.
#[derive(Clone, Debug, Default)]
struct Step {
    succeeded: u64,
    failed: u64,
    p99_ms: Option<f64>,
}

/// A fault, as far as it is known. In microseconds since the run's start.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) at_us: u64,
    pub(super) recovered_us: Option<u64>,
}

/// Everything that is shown.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    now_us: u64,
    duration_us: Option<u64>,
    step_us: u64,
    /// The first step that is shown.
    first: u64,
    steps: Vec<Step>,
    succeeded: u64,
    failed: u64,
}

impl Scene {
    /// Takes from a run under way what a terminal of so many columns shows.
    pub(super) fn of(
        timeline: &Timeline,
        totals: (u64, u64),
        now_us: u64,
        duration_us: Option<u64>,
        columns: usize,
    ) -> Self {
        let width_us = timeline.width_us();
        let step_us = STEP_US.max(width_us);
        let shown = columns.saturating_sub(BESIDE).clamp(LEAST_STEPS, MOST_STEPS) as u64;
        let last = now_us / step_us;
        let first = (last + 1).saturating_sub(shown);
        let buckets = timeline.buckets();
        let size = step_us / width_us;
        let at = |index: u64| usize::try_from(index).unwrap_or(usize::MAX).min(buckets.len());
        let steps =
            (first..=last).map(|step| Step::of(&buckets[at(step * size)..at((step + 1) * size)])).collect();
        let (succeeded, failed) = totals;
        Scene { now_us, duration_us, step_us, first, steps, succeeded, failed }
    }

    /// The lines, none of them wider than so many columns.
    pub(super) fn lines(&self, marks: &[Mark], columns: usize) -> Vec<String> {
        let mut lines = vec![self.clock(columns), self.answered(), self.latency()];
        lines.extend(self.faults(marks));
        lines.iter().map(|line| truncate_str(line, columns.saturating_sub(1), "").into_owned()).collect()
    }

    fn clock(&self, columns: usize) -> String {
        let now = seconds(self.now_us);
        let Some(duration_us) = self.duration_us else {
            return format!("{now:7.1} s  until all users are through");
        };
        let end = seconds(duration_us);
        let left = if self.now_us < duration_us {
            format!("{:.1} s left", end - now)
        } else {
            "finishing".to_owned()
        };
        let width = columns.saturating_sub(34).clamp(LEAST_STEPS, MOST_STEPS);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let done = ((now / end.max(1e-6)).min(1.0) * width as f64) as usize;
        let (done, rest) = ("━".repeat(done), "─".repeat(width - done));
        format!("{now:7.1} s  {}{}  {left}", style().cyan().apply_to(done), style().dim().apply_to(rest))
    }

    /// How many of each step's were answered: full is all of them.
    fn answered(&self) -> String {
        let line: String = self
            .steps
            .iter()
            .map(|step| {
                let all = step.succeeded + step.failed;
                if all == 0 {
                    return " ".to_owned();
                }
                let style = if step.failed == 0 { style().green() } else { style().red() };
                style.apply_to(level(share(step.succeeded, all))).to_string()
            })
            .collect();
        // The step that is not over would say too little.
        let rate = self
            .steps
            .iter()
            .rev()
            .nth(1)
            .map_or(0.0, |step| share(step.succeeded + step.failed, 1) / seconds(self.step_us));
        let all = self.succeeded + self.failed;
        let percent = if all == 0 { 0.0 } else { share(self.succeeded, all) * 100.0 };
        let failed = format!("{} failed", self.failed);
        let failed =
            if self.failed == 0 { style().dim().apply_to(failed) } else { style().red().apply_to(failed) };
        format!("{rate:7.0}/s  answered  {line}  {percent:.3} %, {failed}")
    }

    /// What 99 in 100 of each step took, on a logarithmic scale of what is shown.
    fn latency(&self) -> String {
        let known = || self.steps.iter().filter_map(|step| step.p99_ms);
        let (least, most) = (known().fold(f64::MAX, f64::min), known().fold(0.0, f64::max));
        // So that small differences do not look like much.
        let most = most.max(least * 4.0);
        let line: String = self
            .steps
            .iter()
            .map(|step| match step.p99_ms {
                Some(p99) => level((p99 / least).ln() / (most / least).ln()),
                None => ' ',
            })
            .collect();
        let last = self.steps.iter().rev().skip(1).chain(self.steps.last()).find_map(|step| step.p99_ms);
        let last = last.map_or("-".to_owned(), short_ms);
        format!("{last:>9}  latency   {}  99 in 100 are below", style().blue().apply_to(line))
    }

    fn faults(&self, marks: &[Mark]) -> Option<String> {
        let newest = marks.last()?;
        let step = |us: u64| us / self.step_us;
        let line: String = (self.first..self.first + self.steps.len() as u64)
            .map(|at| {
                let begun = marks.iter().any(|mark| step(mark.at_us) == at);
                let lasts = |mark: &Mark| {
                    step(mark.at_us) < at && at <= step(mark.recovered_us.unwrap_or(self.now_us))
                };
                if begun {
                    '▲'
                } else if marks.iter().any(lasts) {
                    '─'
                } else {
                    ' '
                }
            })
            .collect();
        let over = if newest.recovered_us.is_some() { "" } else { " …" };
        Some(format!(
            "           faults    {}  {}: {}{over}",
            style().yellow().apply_to(line),
            marks.len(),
            newest.name
        ))
    }
}

impl Step {
    fn of(buckets: &[Bucket]) -> Self {
        let (mut step, mut cells) = (Step::default(), Vec::new());
        for bucket in buckets {
            step.succeeded += bucket.succeeded;
            step.failed += bucket.failed.values().sum::<u64>();
            cells.resize(cells.len().max(bucket.cells.len()), 0_u64);
            for (sum, count) in cells.iter_mut().zip(&bucket.cells) {
                *sum += u64::from(*count);
            }
        }
        let (beyond, mut seen) = (step.succeeded / 100, 0);
        // From the slowest down, until more than one in a hundred were seen.
        let cell = cells.iter().enumerate().rev().find(|(_, count)| {
            seen += **count;
            seen > beyond
        });
        step.p99_ms = cell.map(|(cell, _)| cell_end_us(cell) / 1000.0);
        step
    }
}

#[allow(clippy::cast_precision_loss)]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[allow(clippy::cast_precision_loss)]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn short_ms(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// Colours as whoever reads standard error wants them.
fn style() -> Style {
    Style::new().for_stderr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::{Connection, Failure, Outcome};

    fn scene(seconds: u64, columns: usize) -> Scene {
        let mut timeline = Timeline::default();
        for slot in 0..seconds * 100 {
            let due_us = slot * 10_000;
            let second = slot / 100;
            let slow = if second == 7 { 200_000 } else { 2000 };
            let result = if second == 5 { Err(Failure::Refused) } else { Ok(()) };
            let (started_us, finished_us) = (due_us, due_us + slow);
            timeline.record(&Outcome {
                connection: Connection::Kept,
                due_us,
                started_us,
                finished_us,
                result,
            });
        }
        Scene::of(&timeline, (900, 100), seconds * 1_000_000 - 1, Some(30_000_000), columns)
    }

    #[test]
    fn the_last_seconds_are_drawn_with_what_went_wrong() {
        console::set_colors_enabled_stderr(false);
        let mark =
            |at: u64, recovered_us| Mark { name: "kill a".to_owned(), at_us: at * 1_000_000, recovered_us };
        let lines = scene(10, 100).lines(&[mark(2, Some(2_100_000)), mark(5, Some(7_000_000))], 100);
        assert!(lines[0].contains("10.0 s  ━") && lines[0].ends_with("20.0 s left"), "{lines:#?}");
        assert_eq!(lines[1], "    100/s  answered  █████▁████  90.000 %, 100 failed");
        assert_eq!(lines[2], "   2.3 ms  latency   ▁▁▁▁▁ ▁█▁▁  99 in 100 are below");
        assert_eq!(lines[3], "           faults      ▲  ▲──    2: kill a");
        assert!(scene(10, 100).lines(&[mark(8, None)], 100)[3].ends_with("▲─  1: kill a …"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for columns in [20, 40, 80, 300] {
            for line in scene(200, columns).lines(&[], columns) {
                assert!(console::measure_text_width(&line) < columns, "{columns}: {line}");
            }
        }
    }
}
