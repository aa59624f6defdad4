//! Processor time of events, and what is written of it.

use std::collections::BTreeMap;
use std::time::Duration;

use manager::engine::Plan;
use nix::time::{ClockId, clock_gettime};

use super::stage::Stage;

/// The processor time of this thread: what others on the machine do does not count.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every kernel has it");
    Duration::new(time.tv_sec().unsigned_abs(), u32::try_from(time.tv_nsec()).expect("below a second"))
}

/// What one event took: telling the engine, and planning after it.
#[derive(Clone, Copy)]
struct Took {
    told: Duration,
    planned: Duration,
}

/// All samples, by what happened.
#[derive(Default)]
pub(crate) struct Samples(BTreeMap<&'static str, Vec<Took>>);

impl Samples {
    /// Measures one event: `tell` it, then plan.
    pub(crate) fn measure<T>(
        &mut self,
        kind: &'static str,
        stage: &mut Stage,
        tell: impl FnOnce(&mut Stage) -> T,
    ) -> (T, Plan) {
        let began = cpu();
        let answer = tell(stage);
        let told = cpu();
        let plan = stage.engine.plan(stage.now);
        let planned = cpu();
        let _notices = stage.engine.take_notices();
        self.0.entry(kind).or_default().push(Took { told: told - began, planned: planned - told });
        (answer, plan)
    }

    /// The figures: for each kind of event and metric, its value in microseconds.
    pub(crate) fn figures(mut self) -> Vec<(&'static str, &'static str, f64)> {
        let mut figures = Vec::new();
        for (kind, samples) in &mut self.0 {
            let mut put = |metric, value| figures.push((*kind, metric, value));
            let whole = |took: &Took| took.told + took.planned;
            let total: Duration = samples.iter().map(whole).sum();
            put("events_per_s", samples.len() as f64 / total.as_secs_f64().max(1e-9));
            samples.sort_by_key(|took| took.planned);
            put("plan_median_us", micros(samples[samples.len() / 2].planned));
            put("plan_p99_us", micros(samples[(samples.len() - 1) * 99 / 100].planned));
            put("plan_max_us", micros(samples[samples.len() - 1].planned));
            samples.sort_by_key(whole);
            put("event_median_us", micros(whole(&samples[samples.len() / 2])));
            put("event_p99_us", micros(whole(&samples[(samples.len() - 1) * 99 / 100])));
        }
        figures
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
