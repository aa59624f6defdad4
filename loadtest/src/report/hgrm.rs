//! The percentile distribution that HdrHistogram's own tools write and plot (`.hgrm`), in milliseconds.

use std::io::{self, Write};

use hdrhistogram::Histogram;

use super::Report;

/// Lines for each halving of the distance to 100 %; what HdrHistogram's tools take too.
const TICKS_PER_HALF: u32 = 5;
/// The file's values are milliseconds.
const US_PER_MS: f64 = 1000.0;

/// Writes the distribution of a report's latencies.
///
/// # Errors
///
/// What writing says.
pub fn write(report: &Report, mut to: impl Write) -> io::Result<()> {
    let histogram = report.latency_histogram.histogram().map_err(io::Error::other)?;
    to.write_all(text(&histogram).as_bytes())
}

#[allow(clippy::cast_precision_loss)]
fn text(histogram: &Histogram<u64>) -> String {
    let in_ms = |us: f64| us / US_PER_MS;
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut seen = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        seen += step.count_since_last_iteration();
        let (value, quantile) = (in_ms(step.value_iterated_to() as f64), step.quantile_iterated_to());
        text += &if quantile < 1.0 {
            format!("{value:12.3} {quantile:2.12} {seen:10} {:14.2}\n", 1.0 / (1.0 - quantile))
        } else {
            format!("{value:12.3} {quantile:2.12} {seen:10}\n")
        };
    }
    let (mean, deviation) = (in_ms(histogram.mean()), in_ms(histogram.stdev()));
    // Twice as many cells as one power of ten of digits needs, rounded up to a power of two.
    let cells = (2 * 10_u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    text += &format!("#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n");
    text += &format!(
        "#[Max     = {:12.3}, Total count    = {:12}]\n",
        in_ms(histogram.max() as f64),
        histogram.len()
    );
    text += &format!("#[Buckets = {:12}, SubBuckets     = {cells:12}]\n", histogram.buckets());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::histogram;

    #[test]
    fn the_distribution_is_written_as_other_tools_read_it() {
        let mut values = histogram().unwrap();
        for latency in 1..=1000 {
            values.saturating_record(latency * 1000);
        }
        let text = text(&values);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        assert!(lines[1].is_empty());
        assert_eq!(lines[2][1..], ["0.000000000000", "1", "1.00"], "{text}");
        let half = lines.iter().find(|line| line.get(1) == Some(&"0.500000000000")).unwrap();
        assert_eq!(half[2..], ["500", "2.00"]);
        let value: f64 = half[0].parse().unwrap();
        assert!((value - 500.0).abs() < 0.5, "{value}");
        let last = &lines[lines.len() - 4];
        assert_eq!(last[1..], ["1.000000000000", "1000"]);
        assert!(
            text.contains("#[Mean    =      500.") && text.contains("Total count    =         1000]"),
            "{text}"
        );
        assert!(text.ends_with("SubBuckets     =         2048]\n"), "{text}");
    }

    #[test]
    fn nothing_that_succeeded_is_a_distribution_of_nothing() {
        assert!(text(&histogram().unwrap()).contains("Total count    =            0]"));
    }
}
