//! Comparisons of runs that are made up, so that it is known what differs.

use super::{Comparison, Verdict, compare};
use crate::count::{Connection, Failure, Ledger, Outcome};
use crate::faults::FaultLog;
use crate::report::environment::Environment;
use crate::report::{Facts, Report};
use crate::verdict::Judged;

/// Pseudo-random numbers (xorshift64*), for the same runs each time.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A service as it is met by requests: slow and failing in stretches, as real ones are.
#[derive(Clone, Copy)]
struct Service {
    /// What half of the requests take at most, in microseconds.
    median_us: f64,
    /// How likely a stretch of failures begins with a request.
    bursts: f64,
    /// How long such a stretch is, in requests.
    burst: u64,
}

const SERVICE: Service = Service { median_us: 5000.0, bursts: 0.0003, burst: 12 };
const RATE: u64 = 100;
const SECONDS: u64 = 60;

fn run(service: Service, seed: u64) -> Report {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut ledger = Ledger::new().unwrap();
    // How slow the service is just now; forgets itself within about 50 requests.
    let (mut mood, mut failing) = (0.0, 0);
    for slot in 0..RATE * SECONDS {
        mood = mood * 0.98 + (chance.next() - 0.5) * 0.1;
        let noise = (0..4).map(|_| chance.next() - 0.5).sum::<f64>();
        let latency_us = service.median_us * (mood + noise * 0.5).exp();
        if failing == 0 && chance.next() < service.bursts {
            failing = service.burst;
        }
        let result = if failing > 0 { Err(Failure::Http503) } else { Ok(()) };
        failing = failing.saturating_sub(1);
        let due_us = slot * 1_000_000 / RATE;
        let finished_us = due_us + latency_us as u64;
        ledger.record(Outcome {
            connection: Connection::Kept,
            due_us,
            started_us: due_us,
            finished_us,
            result,
        });
    }
    let facts = Facts {
        url: "http://127.0.0.1/".to_owned(),
        drivers: [].into(),
        started_unix_ms: 0,
        rate: RATE as f64,
        duration_us: SECONDS * 1_000_000,
        interrupted: false,
        min_availability_percent: None,
        environment: Environment::default(),
        judged: Judged::default(),
    };
    Report::new(facts, ledger, FaultLog::default())
}

fn verdict_of(comparison: &Comparison, name: &str) -> Verdict {
    comparison.figures.iter().find(|figure| figure.name == name).unwrap().verdict
}

#[test]
fn runs_of_one_service_are_rarely_told_apart() {
    let (mut judged, mut differ) = (0, Vec::new());
    for pair in 0..150 {
        let comparison = compare(&run(SERVICE, 2 * pair), &run(SERVICE, 2 * pair + 1), 0.0);
        for figure in &comparison.figures {
            judged += u32::from(figure.verdict != Verdict::TooFew);
            if matches!(figure.verdict, Verdict::Better | Verdict::Worse) {
                differ.push((pair, figure.name));
            }
        }
    }
    // One in a hundred is what 99 % sure means; what is chance here is fixed by the seeds.
    assert!(judged >= 500, "{judged}");
    assert!(differ.len() * 100 <= judged as usize * 3, "{} of {judged}: {differ:?}", differ.len());
}

#[test]
fn what_is_worse_is_found() {
    for seed in 0..10 {
        let before = run(SERVICE, 100 + seed);
        let slower = run(Service { median_us: 6500.0, ..SERVICE }, 200 + seed);
        let comparison = compare(&before, &slower, 5.0);
        for name in ["p50_ms", "p90_ms", "p99_ms"] {
            assert_eq!(verdict_of(&comparison, name), Verdict::Worse, "{seed} {name}: {comparison}");
        }
        assert_eq!(comparison.verdict, Verdict::Worse);
        assert!(comparison.is_worse() && comparison.to_string().ends_with("Worse: p50 ms, p90 ms, p99 ms."));
        assert_eq!(compare(&slower, &before, 5.0).verdict, Verdict::Better);
        assert!(!compare(&slower, &before, 5.0).is_worse());

        let failing = run(Service { bursts: 0.006, ..SERVICE }, 300 + seed);
        let comparison = compare(&before, &failing, 5.0);
        assert_eq!(verdict_of(&comparison, "availability_percent"), Verdict::Worse, "{comparison}");
        assert_eq!(verdict_of(&comparison, "p50_ms"), Verdict::Same, "{comparison}");
    }
}

#[test]
fn a_run_is_no_different_from_itself_and_an_outage_from_none_is() {
    let calm = run(Service { bursts: 0.0, ..SERVICE }, 1);
    let comparison = compare(&calm, &calm, 5.0);
    assert_eq!(comparison.verdict, Verdict::Same);
    assert!(comparison.to_string().contains("No difference that is more than chance"), "{comparison}");
    assert_eq!(comparison.unlike, []);
    // One request that failed is chance; a second without any answer is not.
    let one = run(Service { bursts: 0.000_1, burst: 1, ..SERVICE }, 8);
    assert!((1..=3).contains(&one.failed), "{}", one.failed);
    assert_eq!(verdict_of(&compare(&calm, &one, 5.0), "availability_percent"), Verdict::Same);
    // A burst is one event, however long: the next run may have it as well. Many of them are more.
    let comparison = compare(&calm, &run(Service { bursts: 0.000_2, burst: RATE, ..SERVICE }, 9), 5.0);
    assert_eq!(verdict_of(&comparison, "availability_percent"), Verdict::Same, "{comparison}");
    assert!(comparison.to_string().contains("too few of them to tell"), "{comparison}");
    let outages = run(Service { bursts: 0.003, burst: RATE, ..SERVICE }, 9);
    assert_eq!(verdict_of(&compare(&calm, &outages, 5.0), "availability_percent"), Verdict::Worse);
}

#[test]
fn what_is_too_little_is_not_judged_and_what_is_unlike_is_said() {
    let (before, mut after) = (run(SERVICE, 1), run(SERVICE, 2));
    assert_eq!(verdict_of(&compare(&before, &after, 5.0), "p999_ms"), Verdict::TooFew);
    after.rate = 200.0;
    after.environment.kernel = "Linux 7".to_owned();
    let comparison = compare(&before, &after, 5.0);
    let whats: Vec<_> = comparison.unlike.iter().map(|unlike| unlike.what).collect();
    assert_eq!(whats, ["requests/s", "kernel"]);
    assert!(comparison.to_string().contains("Not the same in both: requests/s: 100 -> 200"), "{comparison}");
    after.timeline.buckets.truncate(19);
    let comparison = compare(&before, &after, 5.0);
    assert_eq!(comparison.verdict, Verdict::TooFew);
    assert!(comparison.to_string().contains("too short a run"), "{comparison}");
}
