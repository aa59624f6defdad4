//! The same for people.

use std::fmt::Write as _;

use comfy_table::Table;

use crate::report::Report;
use crate::report::text::{align, table};

impl Report {
    /// The lines of the report that say what is made of the counts.
    pub fn verdict_lines(&self) -> String {
        let mut lines = String::new();
        // Writing to a string does not fail.
        let mut line = |name: &str, text: String| _ = writeln!(lines, "{name:<14}  {text}");
        let [(p50, p99), (tail, max)] = [
            (self.uncorrected_ms.p50, self.uncorrected_ms.p99),
            (self.uncorrected_ms.p9999, self.uncorrected_ms.max),
        ];
        if let (Some(p50), Some(p99), Some(tail), Some(max)) = (p50, p99, tail, max) {
            let text =
                format!("{p50:.1} ms (p50), {p99:.1} ms (p99), {tail:.1} ms (p99.99), {max:.1} ms (max)");
            line("Uncorrected", format!("{text}: from when it was sent"));
        }
        let throughput = &self.throughput;
        line("Throughput", format!("{:.1} succeeded/s", throughput.succeeded_per_s));
        if throughput.degraded_ms > 0.0 {
            let (ms, threshold) = (throughput.degraded_ms, throughput.success_threshold_percent);
            line("Degraded", format!("{ms:.0} ms with less than {threshold} % successes"));
        }
        let budget = &self.budget;
        if let (Some(slo), Some(used)) = (budget.slo_percent, budget.used_percent) {
            let month = budget.longest_outage_month_percent.unwrap_or(0.0);
            let text = format!(
                "{used:.1} % of what {slo} % allows of this run; its longest outage is {month:.3} % of a month's"
            );
            line("Error budget", text);
        }
        if let Some(mttr) = self.recovery.mttr_ms {
            let longest = self.recovery.longest_ms.unwrap_or(mttr);
            line("Repair", format!("{mttr:.0} ms on average (MTTR), {longest:.0} ms at most"));
        }
        line("Seed", self.load.seed.to_string());
        lines
    }

    /// Each goal with the figure that it was held against.
    pub(crate) fn goal_table(&self) -> Table {
        let mut table = table(&["GOAL", "IT WAS", "VERDICT"]);
        for threshold in &self.thresholds {
            let verdict = match threshold.met {
                Some(true) => "met",
                Some(false) => "missed",
                None => "not judged",
            };
            table.add_row(vec![threshold.goal.clone(), threshold.found(), verdict.to_owned()]);
        }
        align(table, 3)
    }

    /// Requests by target, as users of JMeter know them.
    pub(crate) fn sample_table(&self) -> Table {
        let mut table = table(&[
            "TARGET",
            "SAMPLES",
            "AVERAGE ms",
            "MIN",
            "MAX",
            "STD. DEV.",
            "ERROR %",
            "PER s",
            "RECEIVED KiB/s",
            "SENT",
        ]);
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        for row in &self.samples {
            let mut cells = vec![row.label.clone(), row.samples.to_string()];
            let times = [row.average_ms, row.min_ms, row.max_ms, row.deviation_ms];
            cells.extend(times.map(|ms| format!("{ms:.1}")));
            cells.extend([format!("{:.3}", row.error_percent), format!("{:.1}", row.throughput)]);
            cells.extend([row.received_kb_per_s, row.sent_kb_per_s].map(rate));
            table.add_row(cells);
        }
        align(table, 1)
    }
}
