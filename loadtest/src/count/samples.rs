//! Sums over all requests, those that failed among them, as JMeter's table has them: of each target, and of all.

/// The sums of one target. Times in microseconds, from sent to answered or failed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// How many were sent.
    pub count: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The shortest.
    pub min_us: u64,
    /// The longest.
    pub max_us: u64,
    mean_us: f64,
    /// The sum of the squares of what they differ from the mean (Welford's way, which does not cancel out).
    spread: f64,
}

impl Samples {
    /// Takes one that was sent.
    #[allow(clippy::cast_precision_loss)]
    pub fn record(&mut self, elapsed_us: u64, failed: bool) {
        self.min_us = if self.count == 0 { elapsed_us } else { self.min_us.min(elapsed_us) };
        self.max_us = self.max_us.max(elapsed_us);
        self.count += 1;
        self.failed += u64::from(failed);
        let difference = elapsed_us as f64 - self.mean_us;
        self.mean_us += difference / self.count as f64;
        self.spread += difference * (elapsed_us as f64 - self.mean_us);
    }

    /// What they took on average.
    pub fn mean_us(&self) -> f64 {
        self.mean_us
    }

    /// The standard deviation of what they took, over all of them as JMeter has it.
    #[allow(clippy::cast_precision_loss)]
    pub fn deviation_us(&self) -> f64 {
        if self.count == 0 { 0.0 } else { (self.spread / self.count as f64).sqrt() }
    }

    /// These and others together (Chan's way).
    #[allow(clippy::cast_precision_loss)]
    pub fn with(&self, other: &Samples) -> Samples {
        if self.count == 0 {
            return other.clone();
        }
        if other.count == 0 {
            return self.clone();
        }
        let count = self.count + other.count;
        let difference = other.mean_us - self.mean_us;
        let share = other.count as f64 / count as f64;
        Samples {
            count,
            failed: self.failed + other.failed,
            min_us: self.min_us.min(other.min_us),
            max_us: self.max_us.max(other.max_us),
            mean_us: self.mean_us + difference * share,
            spread: self.spread + other.spread + difference * difference * self.count as f64 * share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_the_textbook_together_or_apart() {
        let [mut all, mut one, mut other] = [const { None::<Samples> }; 3].map(Option::unwrap_or_default);
        for (number, elapsed) in [2_u64, 4, 4, 4, 5, 5, 7, 9].into_iter().enumerate() {
            all.record(elapsed, number == 0);
            if number % 3 == 0 { &mut one } else { &mut other }.record(elapsed, number == 0);
        }
        for samples in [all, one.with(&other), Samples::default().with(&one).with(&other)] {
            assert_eq!((samples.count, samples.failed, samples.min_us, samples.max_us), (8, 1, 2, 9));
            assert!((samples.mean_us() - 5.0).abs() < 1e-9, "{samples:?}");
            assert!((samples.deviation_us() - 2.0).abs() < 1e-9, "{samples:?}");
        }
    }
}
