//! When each request is due: at a constant rate or along ramps, evenly or by chance.
//!
//! ```text
//!  rate ┤      ╱‾‾‾‾‾         the area under the line up to a moment is how many slots are due by then:
//!       ┤   ╱‾              slot x is due when the area is x
//!       └──┴──┴─────── time
//! ```
//!
//! Evenly, the areas are 0, 1, 2, …; by chance (`poisson`) they are sums of exponential steps of mean 1, which makes
//! arrivals that know nothing of each other, at any rate. Each worker goes through the whole schedule and takes
//! what is its own, so that the same seed means the same moments however many there are.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The highest rate, in requests per second.
pub const MAX_RATE: f64 = 1_000_000.0;
/// The most stages of one run.
pub const MAX_STAGES: usize = 1000;

/// A stretch of time in which the rate goes evenly to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// How long it is.
    pub length: Duration,
    /// The rate at its end, in requests per second.
    pub rate: f64,
}

/// Stages as they are written: `1m:100,2m:2000`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stages(pub Vec<Stage>);

impl FromStr for Stages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected TIME:RATE,TIME:RATE,…, such as 1m:100,2m:2000";
        let stages = text
            .split(',')
            .map(|stage| {
                let (length, rate) =
                    stage.trim().split_once(':').ok_or_else(|| format!("`{stage}`: {EXPECTED}"))?;
                let length = humantime::parse_duration(length).ok().filter(|length| !length.is_zero());
                let length = length.ok_or_else(|| format!("`{stage}`: no time above 0; {EXPECTED}"))?;
                let rate = rate.parse().ok().filter(|rate| (0.0..=MAX_RATE).contains(rate));
                let rate = rate.ok_or_else(|| format!("`{stage}`: no rate up to {MAX_RATE}; {EXPECTED}"))?;
                Ok(Stage { length, rate })
            })
            .collect::<Result<Vec<_>, String>>()?;
        if stages.len() > MAX_STAGES {
            return Err(format!("{} stages; {MAX_STAGES} is the most", stages.len()));
        }
        if stages.iter().all(|stage| stage.rate <= 0.0) {
            return Err(format!("no stage has a rate above 0; {EXPECTED}"));
        }
        Ok(Stages(stages))
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = |stage: &Stage| format!("{}:{}", humantime::format_duration(stage.length), stage.rate);
        f.write_str(&self.0.iter().map(stage).collect::<Vec<_>>().join(","))
    }
}

/// The rate along a run. After the last stage it stays what it was at its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pieces: Vec<Piece>,
    last_rate: f64,
}

/// A stage in seconds, and what lies before it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    begin: f64,
    length: f64,
    from: f64,
    to: f64,
    /// How many slots are due before it.
    before: f64,
}

impl Profile {
    /// Always the same rate.
    pub fn constant(rate: f64) -> Self {
        Profile { pieces: Vec::new(), last_rate: rate }
    }

    /// Ramps that begin at `from`.
    pub fn ramps(from: f64, stages: &Stages) -> Self {
        let (mut begin, mut before, mut last_rate) = (0.0, 0.0, from);
        let pieces = stages
            .0
            .iter()
            .map(|stage| {
                let length = stage.length.as_secs_f64();
                let piece = Piece { begin, length, from: last_rate, to: stage.rate, before };
                begin += length;
                before += piece.slots();
                last_rate = stage.rate;
                piece
            })
            .collect();
        Profile { pieces, last_rate }
    }

    /// The highest rate there is.
    pub fn peak(&self) -> f64 {
        let rates = self.pieces.iter().flat_map(|piece| [piece.from, piece.to]);
        rates.chain([self.last_rate]).fold(0.0, f64::max)
    }

    /// The rate on average up to `seconds` after the start, to a thousandth.
    pub fn mean_until(&self, seconds: f64) -> f64 {
        if self.pieces.is_empty() || seconds <= 0.0 {
            return self.last_rate;
        }
        (self.slots_until(seconds) / seconds * 1000.0).round() / 1000.0
    }

    fn slots_until(&self, seconds: f64) -> f64 {
        match self.pieces.iter().find(|piece| seconds < piece.begin + piece.length) {
            Some(piece) => {
                let into = seconds - piece.begin;
                piece.before + into * (piece.from + (piece.to - piece.from) * into / piece.length / 2.0)
            }
            None => {
                let (begin, before) = self.end_of_ramps();
                before + (seconds - begin) * self.last_rate
            }
        }
    }

    fn end_of_ramps(&self) -> (f64, f64) {
        let last = self.pieces.last();
        last.map_or((0.0, 0.0), |last| (last.begin + last.length, last.before + last.slots()))
    }

    /// When the area is `slots`, in microseconds since the start; none if it never is.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn due_us(&self, slots: f64) -> Option<u64> {
        let seconds = match self.pieces.iter().find(|piece| slots < piece.before + piece.slots()) {
            Some(piece) => piece.begin + piece.after(slots - piece.before),
            None if self.last_rate > 0.0 => {
                let (begin, before) = self.end_of_ramps();
                begin + (slots - before) / self.last_rate
            }
            None => return None,
        };
        Some((seconds * 1e6) as u64)
    }
}

impl Piece {
    fn slots(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.length
    }

    /// How long after its begin so many slots are due: the root of `slots = from * t + slope * t² / 2`, written
    /// so that nothing cancels out, whether the rate rises, falls or stays.
    fn after(&self, slots: f64) -> f64 {
        let slope = (self.to - self.from) / self.length;
        let root = (self.from * self.from + 2.0 * slope * slots).max(0.0).sqrt();
        let sum = self.from + root;
        if sum > 0.0 { 2.0 * slots / sum } else { 0.0 }
    }
}

/// How the moments lie along the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// As evenly as the rate allows.
    Even,
    /// By chance, as clients come that know nothing of each other; the same for the same seed.
    Poisson(u64),
}

/// The moments that requests are due, in order, in microseconds since the run's start.
pub struct Schedule {
    profile: Profile,
    slots: f64,
    /// By what the steps are drawn, if by chance.
    chance: Option<StdRng>,
}

impl Schedule {
    /// The moments of such a load.
    pub fn new(profile: Profile, arrivals: Arrivals) -> Self {
        match arrivals {
            Arrivals::Even => Schedule { profile, slots: 0.0, chance: None },
            Arrivals::Poisson(seed) => {
                let mut chance = StdRng::seed_from_u64(seed);
                Schedule { profile, slots: step(&mut chance), chance: Some(chance) }
            }
        }
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let due_us = self.profile.due_us(self.slots)?;
        self.slots += self.chance.as_mut().map_or(1.0, step);
        Some(due_us)
    }
}

fn step(chance: &mut StdRng) -> f64 {
    // In (0, 1]: the logarithm of 0 is none.
    -(1.0 - chance.random::<f64>()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(schedule: Schedule, end_us: u64) -> Vec<u64> {
        schedule.take_while(|due| *due < end_us).collect()
    }

    #[test]
    fn a_constant_rate_is_exact() {
        let due = until(Schedule::new(Profile::constant(1000.0), Arrivals::Even), 100_000);
        assert_eq!(due, (0..100).map(|slot| slot * 1000).collect::<Vec<_>>());
    }

    #[test]
    fn ramps_send_the_area_under_the_line() {
        let stages: Stages = "10s:100, 10s:100, 20s:0, 10s:50".parse().unwrap();
        let profile = Profile::ramps(0.0, &stages);
        assert_eq!(profile.peak(), 100.0);
        let due = until(Schedule::new(profile.clone(), Arrivals::Even), 60_000_000);
        let within = |from: u64, to: u64| {
            due.iter().filter(|due| (from * 1_000_000..to * 1_000_000).contains(due)).count()
        };
        assert_eq!([within(0, 10), within(10, 20), within(20, 40), within(40, 50)], [500, 1000, 1000, 250]);
        assert_eq!(within(0, 5), 125, "a quarter of them in the first half of a ramp");
        assert_eq!(within(50, 60), 500, "the last rate goes on");
        assert!(due.is_sorted());
        assert!((profile.mean_until(20.0) - 75.0).abs() < 1e-9);
        assert!((profile.mean_until(60.0) - 3250.0 / 60.0).abs() < 1e-3);
        assert_eq!(Profile::constant(500.0).mean_until(30.1), 500.0);
        let down = Stages(vec![Stage { length: Duration::from_secs(1), rate: 0.0 }]);
        assert_eq!(Schedule::new(Profile::ramps(10.0, &down), Arrivals::Even).count(), 5, "and then never");
    }

    #[test]
    fn arrivals_by_chance_are_the_same_for_the_same_seed_and_as_many_as_they_should() {
        let due =
            |seed| until(Schedule::new(Profile::constant(1000.0), Arrivals::Poisson(seed)), 100_000_000);
        let (one, same, other) = (due(7), due(7), due(8));
        assert_eq!(one, same);
        assert_ne!(one, other);
        // The standard deviation of the count is its root: 316.
        assert!((98_500..101_500).contains(&one.len()), "{}", one.len());
        // Of the gaps, 1 - 1/e are shorter than the mean; of even ones none or all would be.
        let short = one.windows(2).filter(|pair| pair[1] - pair[0] < 1000).count();
        assert!((0.62..0.645).contains(&(short as f64 / one.len() as f64)), "{short}");
    }

    #[test]
    fn what_is_no_stage_is_refused_with_what_is() {
        for wrong in ["", "1m", "1m:", "1m:x", "0s:5", "1m:-5", "1m:100,", "1m:0", "1m:inf", "5:5"] {
            let error = wrong.parse::<Stages>().unwrap_err();
            assert!(error.contains("such as 1m:100,2m:2000"), "{wrong}: {error}");
        }
        let text = "1m:100,2m:2000";
        assert_eq!(text.parse::<Stages>().unwrap().to_string(), text);
    }
}
