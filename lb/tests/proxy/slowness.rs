//! Slowness is not death, and death is noticed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::{Reader, get, post};

/// Answers `/stress` after two seconds and all else at once.
async fn stressable() -> Backend {
    Backend::start(|request| match request.path() {
        "/stress" => Reply::Parts(vec![(Duration::from_secs(2), ok("slow"))]),
        _ => Reply::Bytes(ok("fast")),
    })
    .await
}

async fn fifty_slow_requests(beside: u32) {
    let balancer = Balancer::start().await;
    let backends = [stressable().await, stressable().await, stressable().await];
    balancer.use_backends(&backends.iter().collect::<Vec<_>>()).await;
    let clients = balancer.clients();
    let slow: Vec<_> =
        (0..50).map(|_| tokio::spawn(async move { get(clients, "/stress").await.status() })).collect();
    let mut fast = Vec::new();
    for _ in 0..beside {
        fast.push(tokio::spawn(async move { get(clients, "/fast").await.status() }));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for request in slow.into_iter().chain(fast) {
        assert_eq!(request.await.expect("no panic"), 200);
    }
    let executed: usize = backends
        .iter()
        .map(|backend| backend.seen().iter().filter(|request| request.path() == "/stress").count())
        .sum();
    assert_eq!(executed, 50);
    for backend in &backends {
        assert_eq!(balancer.record(backend).await["ejections"], 0);
    }
}

#[tokio::test]
async fn slow_requests_alone_eject_nobody_and_are_executed_once() {
    fifty_slow_requests(0).await;
}

#[tokio::test]
async fn slow_requests_beside_fast_ones_eject_nobody_and_are_executed_once() {
    fifty_slow_requests(400).await;
}

#[tokio::test]
async fn a_path_that_was_fast_and_is_slow_now_is_executed_once() {
    let balancer = Balancer::start().await;
    let backends = [slow_in_time().await, slow_in_time().await];
    balancer.use_backends(&[&backends[0], &backends[1]]).await;
    let clients = balancer.clients();
    for _ in 0..20 {
        assert_eq!(get(clients, "/mixed").await.status(), 200);
    }
    let slow: Vec<_> =
        (0..10).map(|_| tokio::spawn(async move { get(clients, "/mixed").await.status() })).collect();
    for request in slow {
        assert_eq!(request.await.expect("no panic"), 200);
    }
    let executed: usize = backends.iter().map(|backend| backend.seen().len()).sum();
    assert_eq!(executed, 30);
}

/// Answers the first twelve requests at once and later ones after one and a half seconds.
async fn slow_in_time() -> Backend {
    let count = AtomicU32::new(0);
    Backend::start(move |_| {
        let wait = if count.fetch_add(1, Ordering::SeqCst) < 12 { 0 } else { 1_500 };
        Reply::Parts(vec![(Duration::from_millis(wait), ok("x"))])
    })
    .await
}

#[tokio::test]
async fn a_slow_request_stays_at_an_upstream_that_drains_and_leaves_the_set() {
    let balancer = Balancer::start().await;
    let [leaving, other] = [stressable().await, stressable().await];
    balancer.use_policy(json!({"first_byte_cold_ms": 300})).await;
    // Second choice only, but a choice.
    let mut second = other.upstream();
    second["state"] = "suspect".into();
    balancer.use_upstreams(&[leaving.upstream(), second]).await;
    let clients = balancer.clients();
    let slow = tokio::spawn(async move { get(clients, "/stress").await.text() });
    eventually("the request arrives", async || (!leaving.seen().is_empty()).then_some(())).await;
    let mut draining = leaving.upstream();
    draining["state"] = "draining".into();
    balancer.use_upstreams(&[draining, other.upstream()]).await;
    balancer.use_backends(&[&other]).await;
    assert_eq!(slow.await.expect("no panic"), "slow");
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn a_frozen_upstream_costs_a_moment_and_is_used_again_when_it_thaws() {
    let balancer = Balancer::start().await;
    let backends = [Backend::healthy().await, Backend::healthy().await, Backend::healthy().await];
    balancer.use_backends(&backends.iter().collect::<Vec<_>>()).await;
    let clients = balancer.clients();
    let load = tokio::spawn(async move {
        let mut requests = Vec::new();
        for _ in 0..600 {
            requests.push(tokio::spawn(async move {
                let started = Instant::now();
                (get(clients, "/").await.status(), started.elapsed())
            }));
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        requests
    });
    eventually("the path is known", async || (backends[0].seen().len() > 20).then_some(())).await;
    backends[0].freeze(true);
    balancer.is_ejected(&backends[0], true).await;
    let mut worst = Duration::ZERO;
    for request in load.await.expect("no panic") {
        let (status, took) = request.await.expect("no panic");
        assert_eq!(status, 200);
        worst = worst.max(took);
    }
    println!("worst request: {worst:?}");
    assert!(worst < Duration::from_millis(1_500), "{worst:?}");
    assert_eq!(balancer.record(&backends[0]).await["in_flight"], 0);
    backends[0].freeze(false);
    balancer.is_ejected(&backends[0], false).await;
}

#[tokio::test]
async fn an_upstream_whose_connections_nobody_accepts_is_left() {
    let balancer = Balancer::start().await;
    let healthy = Backend::healthy().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("address");
    balancer.use_policy(json!({"first_byte_cold_ms": 200, "check": {"timeout_ms": 200}})).await;
    let deaf = json!({"id": "deaf", "address": address.ip(), "port": address.port()});
    balancer.use_upstreams(&[deaf, healthy.upstream()]).await;
    for _ in 0..20 {
        let started = Instant::now();
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_post_to_a_frozen_upstream_is_sent_once_and_too_slow() {
    let balancer = Balancer::start().await;
    let frozen = Backend::start(|_| Reply::Nothing).await;
    let other = Backend::start(|_| Reply::Nothing).await;
    balancer.use_policy(json!({"request_timeout_ms": 700})).await;
    balancer.use_backends(&[&frozen, &other]).await;
    let answer = post(balancer.clients(), "/", "once").await;
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(frozen.seen().len() + other.seen().len(), 1);
    balancer.counts("lb_requests_total{class=\"5xx\",pool=\"p\",route=\"all\"} 1").await;
}

#[tokio::test]
async fn a_post_that_takes_long_is_answered_by_an_upstream_that_is_out_of_use_for_other_answers() {
    let balancer = Balancer::start().await;
    let failing = Backend::start(|request| match request.path() {
        "/long" => Reply::Parts(vec![(Duration::from_secs(4), ok("at last"))]),
        _ => Reply::Bytes(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_vec()),
    })
    .await;
    let well = Backend::healthy().await;
    // In turns, or it would not be asked often enough after its first failure.
    let policy =
        json!({"first_byte_cold_ms": 300, "eject_min_ms": 20_000, "balance": {"algorithm": "round_robin"}});
    balancer.use_policy(policy).await;
    balancer.use_backends(&[&failing]).await;
    let clients = balancer.clients();
    let streamed = "POST /long HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    let long = [
        tokio::spawn(async move { post(clients, "/long", "x").await.status() }),
        tokio::spawn(async move { Reader::connect(clients).await.ask(streamed).await.status() }),
    ];
    eventually("both have arrived", async || (failing.seen().len() == 2).then_some(())).await;
    balancer.use_backends(&[&failing, &well]).await;
    eventually("it is ejected", async || {
        get(clients, "/").await;
        (balancer.record(&failing).await["ejected"] == true).then_some(())
    })
    .await;
    assert!(long.iter().all(|request| !request.is_finished()));
    for request in long {
        assert_eq!(request.await.expect("no panic"), 200);
    }
    assert_eq!(balancer.record(&failing).await["ejected"], true);
}
