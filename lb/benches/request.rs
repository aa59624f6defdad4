//! What every request goes through, and what a swap costs: `cargo bench -p lb --bench request`.

// What the macros make has no words of its own; a bench that cannot go on says so and ends.
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;
use std::time::Instant;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use lb::proxy::measured::Scene;

const UPSTREAMS: [usize; 3] = [2, 100, 10_000];
const ROUTES: [usize; 3] = [1, 10, 100];

fn scene(routes: usize, upstreams: usize) -> Scene {
    Scene::new(routes, upstreams).expect("a request")
}

/// The choice of an upstream. The bench is in order only if there is one.
fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for upstreams in UPSTREAMS {
        let scene = scene(1, upstreams);
        let now = Instant::now();
        assert!(scene.pick(now), "nobody is picked of {upstreams}");
        group.bench_function(BenchmarkId::from_parameter(upstreams), |bencher| {
            bencher.iter(|| black_box(&scene).pick(now));
        });
    }
    group.finish();
}

/// The last of so many routes matches.
fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route match");
    for routes in ROUTES {
        let scene = scene(routes, 2);
        assert!(scene.find(), "none of {routes} routes matches");
        group.bench_function(BenchmarkId::from_parameter(routes), |bencher| {
            bencher.iter(|| black_box(&scene).find());
        });
    }
    group.finish();
}

/// A browser's request becomes ours.
fn rewrite(criterion: &mut Criterion) {
    let scene = scene(1, 2);
    assert!(scene.rewrite(&mut scene.request()));
    criterion.bench_function("header rewrite", |bencher| {
        bencher.iter_batched_ref(|| scene.request(), |request| scene.rewrite(request), BatchSize::SmallInput);
    });
}

/// A set comes in which one upstream is another one.
fn swap(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("swap");
    group.sample_size(10);
    for upstreams in UPSTREAMS {
        let mut scene = scene(1, upstreams);
        let mut generation = 1;
        group.bench_function(BenchmarkId::from_parameter(upstreams), |bencher| {
            bencher.iter(|| {
                generation += 1;
                scene.swap(generation);
                black_box(&scene);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pick, find, rewrite, swap);
criterion_main!(benches);
