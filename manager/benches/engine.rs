//! The engine's hot functions: `cargo bench -p manager --bench engine`.

// What the macros make has no words of its own; a bench that cannot go on says so and ends.
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use manager::engine::Event;

#[path = "events/stage.rs"]
#[allow(dead_code)] // some of it is for the other bench
mod stage;

use stage::{PEER, Stage};

const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// A heartbeat, and a plan after it.
fn plan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    for size in SIZES {
        let mut stage = Stage::new(size);
        let mut number = 0;
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                let (machine, incarnation) = stage.machine(number);
                number += 1;
                stage.engine.observe(stage.now, Event::Beat { machine, incarnation });
                black_box(stage.engine.plan(stage.now));
            });
        });
    }
    group.finish();
}

/// A peer's snapshot with one endpoint that is another one, and the plan that follows.
fn merge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot merge");
    for size in SIZES {
        let mut stage = Stage::new(size);
        let mut told = stage::snapshot(size);
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_batched(
                || {
                    let count = told.endpoints.len();
                    let next = usize::try_from(told.version).unwrap_or_default() % count;
                    told.endpoints[next].port ^= 1;
                    told.version += 1;
                    told.clone()
                },
                |snapshot| {
                    let _ack = stage.engine.receive(stage.now, PEER, snapshot);
                    black_box(stage.engine.plan(stage.now))
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, plan, merge);
criterion_main!(benches);
