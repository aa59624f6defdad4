//! Axes: where the marks are and what they say.

/// A mark: where it is, as a share of the axis, and what it says.
pub(super) type Mark = (f64, String);

/// A linear axis from 0 to a round number that is not below `most`, with up to `marks` marks above 0.
pub(super) fn linear(most: f64, marks: f64) -> (f64, Vec<Mark>) {
    let step = round_step(most.max(f64::MIN_POSITIVE) / marks);
    let end = (most / step).ceil().max(1.0) * step;
    (
        end,
        (0..)
            .map(|n| f64::from(n) * step)
            .take_while(|at| *at <= end * 1.001)
            .map(|at| (at / end, short(at)))
            .collect(),
    )
}

/// The next of 1, 2, 5, 10, 20, …
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= least * 0.999)
        .unwrap_or(10.0 * power)
}

/// A number with no more digits than it needs.
fn short(value: f64) -> String {
    super::figure::grouped(&format!("{}", (value * 1000.0).round() / 1000.0))
}

/// Marks of a time axis of `total_ms`: round times, about `marks` of them.
pub(super) fn time(total_ms: f64, marks: f64) -> Vec<Mark> {
    const STEPS: [f64; 19] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0,
        7200.0, 21600.0, 86400.0,
    ];
    let total = total_ms / 1000.0;
    let step =
        STEPS.into_iter().find(|step| total / step <= marks).unwrap_or_else(|| round_step(total / marks));
    let at = (0..).map(|n| f64::from(n) * step).take_while(|at| *at < total * 0.97);
    at.map(|at| (at / total, clock(at, step))).collect()
}

fn clock(seconds: f64, step: f64) -> String {
    if step < 60.0 {
        format!("{} s", short(seconds))
    } else if step < 3600.0 {
        format!("{} min", short(seconds / 60.0))
    } else {
        format!("{} h", short(seconds / 3600.0))
    }
}

/// A logarithmic axis of milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Log {
    from: f64,
    to: f64,
}

impl Log {
    /// One that has `from` and `to` on it.
    pub(super) fn new(from: f64, to: f64) -> Self {
        let from = from.max(0.001);
        // At least a factor of four, so that there is a mark on it.
        Log { from: from.log10(), to: to.max(from * 4.0).log10() }
    }

    /// Where a value is, as a share of the axis.
    pub(super) fn share(self, value: f64) -> f64 {
        ((value.max(1e-6).log10() - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    /// Marks at 1, 2 and 5 times powers of ten, or where those are many at powers of ten only.
    pub(super) fn marks(self) -> Vec<Mark> {
        let factors: &[f64] = if self.to - self.from > 1.8 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = (-3..=7).map(|power| 10_f64.powi(power));
        let values = powers.flat_map(|power| factors.iter().map(move |factor| factor * power));
        values
            .filter(|value| (self.from - 1e-9..=self.to + 1e-9).contains(&value.log10()))
            .map(|value| {
                (
                    self.share(value),
                    if value < 1000.0 {
                        format!("{} ms", short(value))
                    } else {
                        format!("{} s", short(value / 1000.0))
                    },
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(marks: &[Mark]) -> Vec<&str> {
        marks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn marks_are_round_numbers() {
        let (end, marks) = linear(510.0, 3.0);
        assert_eq!((end, says(&marks)), (600.0, vec!["0", "200", "400", "600"]));
        assert_eq!(linear(0.0, 3.0).1.len(), 2);
        assert_eq!(linear(3.0, 3.0).0, 3.0);
        assert_eq!(says(&time(30_000.0, 8.0)), ["0 s", "5 s", "10 s", "15 s", "20 s", "25 s"]);
        assert_eq!(says(&time(600_000.0, 6.0)), ["0 min", "2 min", "4 min", "6 min", "8 min"]);
        assert_eq!(says(&Log::new(0.3, 2000.0).marks()), ["1 ms", "10 ms", "100 ms", "1 s"]);
        assert_eq!(says(&Log::new(0.3, 4.0).marks()), ["0.5 ms", "1 ms", "2 ms"]);
        assert!(Log::new(5.0, 5.0).marks().len() > 1);
    }
}
