//! The suite: many seeds, over all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::reached::Reached;
use super::run::{Report, run};
use super::world::Options;

/// Without a number, so many seeds are run: enough for a debug build in a few seconds.
const FEW: u64 = 24;

/// Each state that must be survived is to be reached so often in each thousand seeds.
const REACHED: u64 = 10;

/// Of a failed run, so many lines of what happened are printed.
const LINES: usize = 150;

/// All of many runs together.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    faults: u64,
    events: u64,
    reached: Reached,
    lasted: Duration,
    recovered: Vec<Duration>,
    asked: u64,
    answered: u64,
    failed: Vec<Report>,
}

impl Sum {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.faults += report.faults;
        self.events += report.events;
        self.reached += report.reached;
        self.lasted += report.lasted;
        self.recovered.push(report.recovered);
        self.asked += report.asked;
        self.answered += report.answered;
        if report.violation.is_some() {
            self.failed.push(report);
        }
    }
}

/// Runs the seeds `from` to `from + count - 1` on all cores.
fn run_all(from: u64, count: u64) -> Sum {
    let (next, sum) = (AtomicU64::new(from), Mutex::new(Sum::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let report = run(Options::of(seed));
                    sum.lock().expect("no thread panics").add(report);
                }
            });
        }
    });
    sum.into_inner().expect("no thread panics")
}

/// A failed seed once more, with what happened.
fn tell(seed: u64) -> String {
    let report = run(Options { traced: true, ..Options::of(seed) });
    let from = report.trace.len().saturating_sub(LINES);
    let violation = report.violation.map_or_else(|| "all is well".to_owned(), |found| found.to_string());
    format!("{}\nseed {seed}: {violation}\nagain: SIM_SEED={seed}\n", report.trace[from..].join("\n"))
}

pub(super) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is to be a number, and is `{text}`")))
}

#[test]
fn every_promise_is_kept_under_faults() {
    if let Some(seed) = number("SIM_SEED") {
        let report = run(Options { traced: true, ..Options::of(seed) });
        println!("{}", report.trace.join("\n"));
        println!(
            "seed {seed}: {} faults, {} events; reached: {}",
            report.faults, report.events, report.reached
        );
        let found = report.violation.map(|violation| violation.to_string());
        assert_eq!(found, None, "seed {seed}");
        return;
    }
    let count = number("SIM_SEEDS").unwrap_or(FEW);
    let from = number("SIM_FROM").unwrap_or(1);
    let began = Instant::now();
    let mut sum = run_all(from, count);
    let took = began.elapsed();
    sum.recovered.sort();
    let recovered = |percent: usize| sum.recovered[(sum.recovered.len() - 1) * percent / 100];
    println!(
        "seeds {}, faults {} ({:.1} each), events {} ({:.0} a second), simulated {:.1} h in {:.1} s",
        sum.seeds,
        sum.faults,
        sum.faults as f64 / sum.seeds as f64,
        sum.events,
        sum.events as f64 / took.as_secs_f64(),
        sum.lasted.as_secs_f64() / 3600.0,
        took.as_secs_f64(),
    );
    println!("reached: {}", sum.reached);
    println!(
        "all well after the last fault: median {:.1} s, 99 % {:.1} s, longest {:.1} s; clients served {:.2} %",
        recovered(50).as_secs_f64(),
        recovered(99).as_secs_f64(),
        recovered(100).as_secs_f64(),
        100.0 * sum.answered as f64 / sum.asked.max(1) as f64,
    );
    sum.failed.sort_by_key(|report| report.seed);
    for report in sum.failed.iter().take(30) {
        if let Some(violation) = &report.violation {
            println!("seed {} FAILED: {violation}", report.seed);
        }
    }
    if let Some(first) = sum.failed.first() {
        println!("{}", tell(first.seed));
    }
    assert!(sum.failed.is_empty(), "{} of {} seeds failed", sum.failed.len(), sum.seeds);
    for (name, times) in sum.reached.named() {
        assert!(times >= REACHED * (count / 1_000), "{name}: reached only {times} times");
    }
}
