//! The report for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use comfy_table::{CellAlignment, Table, presets};

use super::strip::strip;
use super::{Half, Quantiles, Report};
use crate::count::Failure;

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.duration_ms / 1000.0;
        writeln!(f, "{}   {} requests/s for {seconds:.1} s", self.url, self.rate)?;
        writeln!(f, "{}", self.machines())?;
        writeln!(f, "{}\n", self.load())?;
        writeln!(f, "Availability    {}", self.availability())?;
        let (outage, unanswered) = (self.longest_outage_ms, self.longest_unanswered_ms);
        writeln!(f, "Longest outage  {outage:.1} ms; without any answer {unanswered:.1} ms")?;
        if self.failed > 0 {
            writeln!(f, "Failures        {}", by_kind(&self.failed_by_kind))?;
        }
        let (p99, max) = (millis(self.lateness_ms.p99), millis(self.lateness_ms.max));
        writeln!(f, "Sent late by    {p99} ms (p99), {max} ms (max)")?;
        if let Some(strip) = strip(self) {
            writeln!(f, "{strip}")?;
        }
        f.write_str(&self.verdict_lines())?;
        writeln!(f, "\n{}", self.sample_table())?;
        if !self.thresholds.is_empty() {
            writeln!(f, "\n{}", self.goal_table())?;
        }
        if !self.faults.is_empty() {
            writeln!(f, "\n{}", self.fault_table())?;
        }
        writeln!(f)?;
        for reason in &self.invalid_reasons {
            writeln!(f, "INVALID: {reason}")?;
        }
        for reason in &self.missed_reasons {
            writeln!(f, "MISSED: {reason}")?;
        }
        f.write_str(match self {
            Report { interrupted: true, .. } => "Interrupted: this is what ran until then.",
            Report { valid: false, .. } => "The run is invalid: its figures say nothing about the service.",
            Report { met: false, .. } => "The goal was missed.",
            Report { min_availability_percent: Some(_), .. } => "The goal was met.",
            Report { thresholds, .. } if !thresholds.is_empty() => "All goals were met.",
            _ => "Done.",
        })
    }
}

impl Report {
    fn load(&self) -> Table {
        let mut table =
            table(&["CONNECTIONS", "SENT", "SUCCEEDED", "FAILED", "P50 ms", "P90", "P99", "P99.9", "MAX"]);
        let mut row = |name: &str, sent, succeeded, failed, latency: &Quantiles| {
            let Quantiles { p50, p90, p99, p999, max, mean: _ } = *latency;
            let mut cells = vec![name.to_owned()];
            cells.extend([sent, succeeded, failed].map(|count: u64| count.to_string()));
            cells.extend([p50, p90, p99, p999, max].map(millis));
            table.add_row(cells);
        };
        for (name, half) in [("fresh", &self.connections.fresh), ("kept", &self.connections.kept)] {
            let Half { sent, succeeded, failed, failed_by_kind: _, latency_ms } = half;
            row(name, *sent, *succeeded, *failed, latency_ms);
        }
        row("all", self.sent, self.succeeded, self.failed, &self.latency_ms);
        align(table, 1)
    }

    /// What makes the machines: said once where all hosts have the same.
    fn machines(&self) -> String {
        let kinds: BTreeSet<&String> = self.drivers.values().collect();
        match (kinds.first(), kinds.len()) {
            (None, _) => String::new(),
            (Some(kind), 1) => format!("Machines: {kind}\n"),
            _ => {
                let hosts: Vec<String> =
                    self.drivers.iter().map(|(host, kind)| format!("{host}: {kind}")).collect();
                format!("Machines: {}\n", hosts.join("; "))
            }
        }
    }

    fn availability(&self) -> String {
        let (figure, share) =
            (self.availability_figure(), format!("{} of {} intended", self.succeeded, self.intended));
        match self.budget.nines {
            None => format!("{figure} %  ({share})"),
            Some(nines) => format!("{figure} %  ({share}; {nines:.1} nines)"),
        }
    }

    /// The availability in percent, with as many digits as one request makes a difference in.
    pub(super) fn availability_figure(&self) -> String {
        if self.failed == 0 {
            return self.availability_percent.to_string();
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let digits = (self.intended as f64).log10().ceil() as usize;
        format!("{:.digits$}", self.availability_percent)
    }

    fn fault_table(&self) -> Table {
        let mut table = table(&[
            "",
            "FAULT",
            "VICTIM",
            "ADDRESS",
            "AT s",
            "OUTAGE ms",
            "UNANSWERED ms",
            "SLOWEST ms",
            "FAILED",
            "WELL AFTER ms",
            "BY KIND",
        ]);
        for (index, fault) in self.faults.iter().enumerate() {
            let address = match (fault.address_before, fault.address_after) {
                (Some(before), Some(after)) if before == after => format!("{before} (same)"),
                (Some(before), Some(after)) => format!("{before} -> {after}"),
                (Some(before), None) => before.to_string(),
                (None, after) => after.map_or("-".to_owned(), |after| after.to_string()),
            };
            table.add_row(vec![
                (index + 1).to_string(),
                fault.named(),
                fault.victim.clone().unwrap_or_else(|| "-".to_owned()),
                address,
                format!("{:.3}", fault.at_ms / 1000.0),
                format!("{:.1}", fault.outage_ms),
                format!("{:.1}", fault.unanswered_ms),
                millis(fault.slowest_ms),
                fault.failed.to_string(),
                fault.recovered_after_ms.map_or("not".to_owned(), |after| format!("{after:.0}")),
                by_kind(&fault.failed_by_kind),
            ]);
        }
        let mut table = align(table, 4);
        if let Some(column) = table.column_mut(10) {
            column.set_cell_alignment(CellAlignment::Left);
        }
        table
    }
}

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// Puts the numbers, from column `first` on, to the right, with space between the columns only.
pub(crate) fn align(mut table: Table, first: usize) -> Table {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { 0 } else { 2 }, 0));
        if index >= first {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn millis(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.1}"))
}

pub(super) fn by_kind(failures: &BTreeMap<Failure, u64>) -> String {
    failures.iter().map(|(kind, count)| format!("{} {count}", kind.name())).collect::<Vec<_>>().join(", ")
}
