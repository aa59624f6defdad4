//! A comparison for people.

use std::fmt::{self, Display};

use comfy_table::{CellAlignment, Table};

use super::{Comparison, Figure, Verdict};
use crate::report::text::{align, table};

const MORE_NEEDED: &str =
    "\nFailures come in bursts, and there were too few of them to tell: more faults, or a longer run, can.";

impl Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for unlike in &self.unlike {
            writeln!(f, "Not the same in both: {}: {} -> {}", unlike.what, unlike.before, unlike.after)?;
        }
        if !self.unlike.is_empty() {
            writeln!(f)?;
        }
        writeln!(f, "{}\n", self.judged())?;
        writeln!(f, "Seen once in each run, and so not judged:\n{}\n", self.once())?;
        f.write_str(&self.conclusion())
    }
}

impl Comparison {
    fn judged(&self) -> Table {
        let sure = format!("{} % SURE", self.sure_percent);
        let mut table = table(&["", "BEFORE", "AFTER", "CHANGE", &sure, ""]);
        for figure in &self.figures {
            let digits = if figure.name.ends_with("percent") { 4 } else { 2 };
            let number =
                |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
            let change =
                figure.before.zip(figure.after).map(|(before, after)| change(before, after, digits, figure));
            let between = figure.change_low.zip(figure.change_high);
            table.add_row(vec![
                label(figure.name).to_owned(),
                number(figure.before),
                number(figure.after),
                change.unwrap_or_else(|| "-".to_owned()),
                between.map_or("-".to_owned(), |(low, high)| format!("{low:+.digits$} to {high:+.digits$}")),
                said(figure.verdict).to_owned(),
            ]);
        }
        let mut table = align(table, 1);
        if let Some(column) = table.column_mut(5) {
            column.set_cell_alignment(CellAlignment::Left);
        }
        table
    }

    fn once(&self) -> Table {
        let mut table = table(&["", "BEFORE", "AFTER"]);
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
        for once in &self.seen_once {
            table.add_row(vec![once.name.clone(), number(once.before), number(once.after)]);
        }
        align(table, 1)
    }

    /// Whether more requests failed in one of the runs, be it by chance.
    fn failures_differ(&self) -> bool {
        let of = |figure: &Figure| figure.name == "availability_percent" && figure.before != figure.after;
        self.figures.iter().any(of)
    }

    fn conclusion(&self) -> String {
        let those = |verdict| {
            let figures = self.figures.iter().filter(|figure| figure.verdict == verdict);
            figures.map(|figure| label(figure.name)).collect::<Vec<_>>().join(", ")
        };
        match self.verdict {
            Verdict::Better => format!("Better: {}.", those(Verdict::Better)),
            Verdict::Worse => format!("Worse: {}.", those(Verdict::Worse)),
            Verdict::Mixed => {
                format!("Worse: {}. Better: {}.", those(Verdict::Worse), those(Verdict::Better))
            }
            Verdict::Same => {
                let tolerance = self.tolerance_percent;
                let bursts = if self.failures_differ() { MORE_NEEDED } else { "" };
                format!("No difference that is more than chance, or than {tolerance} % of a latency.{bursts}")
            }
            Verdict::TooFew => "Too few requests, or too short a run, to say anything.".to_owned(),
        }
    }
}

fn change(before: f64, after: f64, digits: usize, figure: &Figure) -> String {
    let change = after - before;
    if figure.name.ends_with("percent") || before <= 0.0 {
        format!("{change:+.digits$}")
    } else {
        format!("{change:+.digits$} ({:+.0} %)", change / before * 100.0)
    }
}

fn label(name: &str) -> &str {
    match name {
        "availability_percent" => "Availability %",
        "p50_ms" => "p50 ms",
        "p90_ms" => "p90 ms",
        "p99_ms" => "p99 ms",
        "p999_ms" => "p99.9 ms",
        name => name,
    }
}

fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Mixed => "mixed",
        Verdict::Same => "no more than chance",
        Verdict::TooFew => "too few to say",
    }
}
