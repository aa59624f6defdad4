//! Goals: `availability>=99.99`, `p99<50ms`, `outage<150ms`. They are read before the first request, so that a
//! misspelt one cannot pass silently.

use std::fmt;
use std::str::FromStr;

/// A goal.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    /// What is measured.
    pub measured: Measured,
    /// How it is to compare.
    pub comparison: Comparison,
    /// With what, in the figure's unit: milliseconds, percent, or a count.
    pub limit: f64,
    text: String,
}

/// What a goal can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Measured {
    Availability,
    Nines,
    /// The share of the error budget that was used; it may be more than all of it.
    Budget,
    Failed,
    Errors,
    /// Successful requests per second.
    Throughput,
    P50,
    P90,
    P95,
    P99,
    P999,
    P9999,
    Mean,
    Max,
    /// The same as p99, from when a request was really sent.
    RawP99,
    Outage,
    Unanswered,
    Degraded,
    /// Time to repair, on average over the faults.
    Mttr,
    /// Time to repair of the slowest fault.
    Recovery,
    LateP99,
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Time,
    Percent,
    Number,
}

/// How a figure is to compare with its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
}

const NAMES: [(&str, Measured, Unit); 21] = [
    ("availability", Measured::Availability, Unit::Percent),
    ("nines", Measured::Nines, Unit::Number),
    ("budget", Measured::Budget, Unit::Percent),
    ("failed", Measured::Failed, Unit::Number),
    ("errors", Measured::Errors, Unit::Percent),
    ("throughput", Measured::Throughput, Unit::Number),
    ("p50", Measured::P50, Unit::Time),
    ("p90", Measured::P90, Unit::Time),
    ("p95", Measured::P95, Unit::Time),
    ("p99", Measured::P99, Unit::Time),
    ("p99.9", Measured::P999, Unit::Time),
    ("p99.99", Measured::P9999, Unit::Time),
    ("mean", Measured::Mean, Unit::Time),
    ("max", Measured::Max, Unit::Time),
    ("raw-p99", Measured::RawP99, Unit::Time),
    ("outage", Measured::Outage, Unit::Time),
    ("unanswered", Measured::Unanswered, Unit::Time),
    ("degraded", Measured::Degraded, Unit::Time),
    ("mttr", Measured::Mttr, Unit::Time),
    ("recovery", Measured::Recovery, Unit::Time),
    ("late-p99", Measured::LateP99, Unit::Time),
];

const COMPARISONS: [(&str, Comparison); 4] = [
    // The longer ones first: each begins with a shorter one.
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Less),
    (">", Comparison::More),
];

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>']).ok_or_else(|| {
            format!("`{text}` has no <, <=, > or >=: expected a goal such as availability>=99.99 or p99<50ms")
        })?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let found =
            COMPARISONS.iter().find_map(|(sign, comparison)| Some((*comparison, rest.strip_prefix(sign)?)));
        let (comparison, value) = found.ok_or("expected <, <=, > or >=")?;
        let known = NAMES.iter().find(|(known, ..)| *known == name);
        let &(_, measured, unit) = known.ok_or_else(|| {
            let names = || NAMES.iter().map(|(name, ..)| *name);
            let question = kit::guess::question(name, names());
            let all = names().collect::<Vec<_>>().join(", ");
            format!("`{name}` is nothing that is measured{question}; expected one of {all}")
        })?;
        let limit = limit(value.trim(), unit)?;
        Ok(Requirement { measured, comparison, limit, text: text.trim().to_owned() })
    }
}

fn limit(text: &str, unit: Unit) -> Result<f64, String> {
    let number = |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    match unit {
        Unit::Time => humantime::parse_duration(text)
            .map(|time| time.as_secs_f64() * 1000.0)
            .map_err(|_| format!("`{text}` is no time such as 50ms or 2s")),
        Unit::Percent => number(text.trim_end_matches('%').trim_end())
            .ok_or_else(|| format!("`{text}` is no percentage such as 99.99")),
        Unit::Number => number(text).ok_or_else(|| format!("`{text}` is no number such as 500")),
    }
}

impl Requirement {
    /// Whether a figure meets it.
    pub fn is_met(&self, figure: f64) -> bool {
        match self.comparison {
            Comparison::Less => figure < self.limit,
            Comparison::AtMost => figure <= self.limit,
            Comparison::More => figure > self.limit,
            Comparison::AtLeast => figure >= self.limit,
        }
    }

    /// Whether it says something about faults.
    pub fn needs_faults(&self) -> bool {
        matches!(self.measured, Measured::Mttr | Measured::Recovery)
    }

    /// A figure of this kind, as people write it.
    pub fn written(&self, figure: f64) -> String {
        match NAMES.iter().find(|(_, measured, _)| *measured == self.measured).map(|(_, _, unit)| *unit) {
            Some(Unit::Time) => format!("{figure:.1} ms"),
            Some(Unit::Percent) => format!("{figure} %"),
            Some(Unit::Number) | None => format!("{figure:.1}"),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_what_is_written() {
        for (text, measured, limit, met, missed) in [
            ("availability>=99.99", Measured::Availability, 99.99, 99.99, 99.98),
            ("p99 < 50ms", Measured::P99, 50.0, 49.9, 50.0),
            ("p99.9<=1s 500ms", Measured::P999, 1500.0, 1500.0, 1500.1),
            ("errors<1%", Measured::Errors, 1.0, 0.9, 1.0),
            ("throughput>1000", Measured::Throughput, 1000.0, 1000.1, 1000.0),
        ] {
            let goal: Requirement = text.parse().unwrap();
            assert_eq!((goal.measured, goal.limit, goal.to_string().as_str()), (measured, limit, text));
            assert!(goal.is_met(met) && !goal.is_met(missed), "{text}");
        }
        let names: std::collections::BTreeSet<_> = NAMES.iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), NAMES.len());
    }

    #[test]
    fn what_is_no_goal_is_refused() {
        for (text, reason) in [
            ("p99", "such as availability>=99.99"),
            ("outgae<1s", "did you mean `outage`?"),
            ("p98<1s", "expected one of availability"),
            ("p99<50", "no time such as 50ms"),
            ("availability>=often", "no percentage"),
            ("failed<-1", "no number"),
            ("<5", "nothing that is measured"),
        ] {
            let error = text.parse::<Requirement>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
