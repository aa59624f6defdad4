//! Upstreams that answer, but badly: they attract no load, and come back when they are well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::get;

fn failed() -> Vec<u8> {
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_vec()
}

/// Answers 500 at once while the switch is on.
async fn switched(on: &Arc<AtomicBool>) -> Backend {
    let on = on.clone();
    Backend::start(move |_| Reply::Bytes(if on.load(Ordering::SeqCst) { failed() } else { ok("well") })).await
}

#[tokio::test]
async fn whoever_fails_fast_attracts_no_load() {
    for algorithm in ["peak_ewma", "round_robin", "least_requests", "maglev"] {
        let balancer = Balancer::start().await;
        let sink = switched(&Arc::new(AtomicBool::new(true))).await;
        let well = [Backend::healthy().await, Backend::healthy().await];
        let balance = json!({"algorithm": algorithm, "hash_key": {"header": "x"}});
        balancer.use_policy(json!({"balance": balance})).await;
        balancer.use_backends(&[&well[0], &sink, &well[1]]).await;
        for _ in 0..60 {
            get(balancer.clients(), "/").await;
        }
        let before = sink.seen().len();
        for _ in 0..600 {
            get(balancer.clients(), "/").await;
        }
        let share = sink.seen().len() - before;
        assert!(share < 6, "{algorithm}: {share} of 600");
        assert!(sink.seen().len() < 30, "{algorithm}: {}", sink.seen().len());
    }
}

#[tokio::test]
async fn one_good_answer_brings_it_back_and_a_bad_one_does_not() {
    let balancer = Balancer::start().await;
    let failing = Arc::new(AtomicBool::new(true));
    let sick = switched(&failing).await;
    let well = Backend::healthy().await;
    let policy = json!({
        "eject_min_ms": 100, "eject_max_ms": 200, "balance": {"algorithm": "round_robin"},
    });
    balancer.use_policy(policy).await;
    balancer.use_backends(&[&sick, &well]).await;
    let ask = async || get(balancer.clients(), "/").await.status();
    eventually("it is ejected", async || {
        ask().await;
        (balancer.record(&sick).await["ejections"] == 1).then_some(())
    })
    .await;
    assert_eq!(balancer.record(&sick).await["ejected_for_answers"], true);
    let (mut bad, before) = (0, sick.seen().len());
    // Its probes are answered well all the time: only the real request tells.
    eventually("it is tried and ejected again", async || {
        bad += usize::from(ask().await == 500);
        (balancer.record(&sick).await["ejections"] == 3).then_some(())
    })
    .await;
    assert_eq!((bad, sick.seen().len() - before), (0, 2), "each trial is one request, and no client sees it");
    failing.store(false, Ordering::SeqCst);
    eventually("it is back", async || {
        assert_eq!(ask().await, 200);
        let record = balancer.record(&sick).await;
        (record["ejected"] == false && record["on_trial"] == false).then_some(())
    })
    .await;
    let ramp = balancer.record(&sick).await["ramp"].as_f64().expect("a number");
    assert!(ramp < 1.0, "it begins with a part of its share: {ramp}");
    let before = sick.seen().len();
    eventually("it has requests again", async || {
        ask().await;
        (sick.seen().len() > before).then_some(())
    })
    .await;
}

/// Answers two of three requests with 500.
async fn flaky() -> Backend {
    let count = AtomicUsize::new(0);
    Backend::start(move |_| {
        let fails = !count.fetch_add(1, Ordering::SeqCst).is_multiple_of(3);
        Reply::Bytes(if fails { failed() } else { ok("well") })
    })
    .await
}

#[tokio::test]
async fn whoever_fails_more_often_than_its_peers_is_ejected_even_without_a_run() {
    let policy = json!({"balance": {"algorithm": "round_robin"}, "outlier": {"consecutive_5xx": 5}});
    let balancer = Balancer::start().await;
    let (sick, well) = (flaky().await, [Backend::healthy().await, Backend::healthy().await]);
    balancer.use_policy(policy.clone()).await;
    balancer.use_backends(&[&well[0], &sick, &well[1]]).await;
    eventually("it is ejected", async || {
        get(balancer.clients(), "/").await;
        (balancer.record(&sick).await["ejections"] == 1).then_some(())
    })
    .await;
    assert!(sick.seen().len() >= 20, "not on the first impression: {}", sick.seen().len());
    assert_eq!(balancer.record(&well[0]).await["ejections"], 0);

    let balancer = Balancer::start().await;
    let all = [flaky().await, flaky().await, flaky().await];
    balancer.use_policy(policy).await;
    balancer.use_backends(&[&all[0], &all[1], &all[2]]).await;
    for _ in 0..150 {
        get(balancer.clients(), "/").await;
    }
    for backend in &all {
        assert_eq!(balancer.record(backend).await["ejections"], 0, "they all do");
    }
}

#[tokio::test]
async fn when_all_fail_nobody_is_ejected() {
    let balancer = Balancer::start().await;
    let on = Arc::new(AtomicBool::new(true));
    let backends = [switched(&on).await, switched(&on).await, switched(&on).await];
    balancer.use_policy(json!({"balance": {"algorithm": "round_robin"}})).await;
    balancer.use_backends(&[&backends[0], &backends[1], &backends[2]]).await;
    for _ in 0..60 {
        assert_eq!(get(balancer.clients(), "/").await.status(), 500, "the answer itself is passed on");
    }
    for backend in &backends {
        assert_eq!(balancer.record(backend).await["ejections"], 0);
        assert!(backend.seen().len() > 10);
    }
}
