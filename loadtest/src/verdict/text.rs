//! The same for people.

use std::fmt::Write as _;

use crate::report::Report;

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
}
