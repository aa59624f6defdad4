//! Turns faults that come again and again into single ones, with the same moments for the same seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::spec::{FaultSpec, When};

/// The most faults of one run.
pub const MAX_FAULTS: usize = 10_000;
/// Random moments are not those of the arrivals that are drawn by the same seed.
const STREAM: u64 = 0x6661_756c_7473;

/// The single faults of a run that sends for `duration`, in the order in which they are injected. Those that come
/// again and again, or whatever else is in force, are between the others, by their time; without such the order is as
/// written.
///
/// # Errors
///
/// When there would be more than [`MAX_FAULTS`].
pub fn single(specs: Vec<FaultSpec>, duration: Duration, seed: u64) -> Result<Vec<FaultSpec>, String> {
    let by_time = specs.iter().any(|spec| spec.repeats() || spec.overlap);
    let mut planned: Vec<(Duration, FaultSpec)> = Vec::new();
    for (number, spec) in (0..).zip(specs) {
        match spec.when {
            When::FromStart(at) => planned.push((at, spec)),
            When::AfterRecovery(after) => {
                // Behind the one before it, wherever that comes to lie.
                let at = planned.last().map_or(Duration::ZERO, |(at, _)| *at) + after;
                planned.push((at, spec));
            }
            When::Every(_) | When::Random(_) => {
                let mut chance = StdRng::seed_from_u64(seed ^ STREAM ^ number);
                let mut at = Duration::ZERO;
                loop {
                    at += match spec.when {
                        When::Random(mean) => mean.mul_f64(-(1.0 - chance.random::<f64>()).ln()),
                        When::Every(apart) | When::FromStart(apart) | When::AfterRecovery(apart) => apart,
                    };
                    if at >= duration || planned.len() > MAX_FAULTS {
                        break;
                    }
                    planned.push((at, FaultSpec { when: When::FromStart(at), ..spec.clone() }));
                }
            }
        }
    }
    if planned.len() > MAX_FAULTS {
        return Err(format!("more than {MAX_FAULTS} faults in one run: let them be further apart"));
    }
    if by_time {
        planned.sort_by_key(|(at, _)| *at);
    }
    Ok(planned.into_iter().map(|(_, spec)| spec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(specs: &[&str], seed: u64) -> Vec<String> {
        let specs = specs.iter().map(|spec| spec.parse().unwrap()).collect();
        let single = single(specs, Duration::from_secs(60), seed).unwrap();
        single.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn faults_come_again_until_the_run_ends() {
        let every = planned(&["kill a @30s", "freeze b @+1s", "thaw c @every 25s"], 1);
        assert_eq!(every, ["thaw c @25s", "kill a @30s", "freeze b @+1s", "thaw c @50s"]);
        assert_eq!(planned(&["kill a @30s", "kill b @5s"], 1), ["kill a @30s", "kill b @5s"], "as written");
    }

    #[test]
    fn random_moments_are_the_seeds() {
        let one = planned(&["kill a @random 2s"], 1);
        assert_eq!(one, planned(&["kill a @random 2s"], 1));
        assert_ne!(one, planned(&["kill a @random 2s"], 2));
        assert!((15..50).contains(&one.len()), "{}", one.len());
        let apart = "kill a @every 1ms".parse().unwrap();
        assert!(single(vec![apart], Duration::from_secs(60), 1).unwrap_err().contains("further apart"));
    }
}
