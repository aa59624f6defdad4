//! The proxy's own answers, told apart.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::backend::{Backend, Reply, nobody};
use crate::balancer::{Balancer, SOON};
use crate::client::{Message, Reader, get, post};

fn assert_problem(answer: &Message, status: u16) {
    assert_eq!(answer.status(), status, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(problem["status"], status);
    assert_eq!(answer.headers.contains_key("retry-after"), status == 503, "{answer:?}");
}

#[tokio::test]
async fn without_a_route_404() {
    let balancer = Balancer::start().await;
    assert_problem(&get(balancer.clients(), "/").await, 404);
    assert_problem(&post(balancer.clients(), "/", "x").await, 404);
}

#[tokio::test]
async fn without_an_upstream_503() {
    let balancer = Balancer::start().await;
    balancer.use_policy(json!({"hold_ms": 0})).await;
    balancer.use_upstreams(&[]).await;
    assert_problem(&get(balancer.clients(), "/").await, 503);
    assert_problem(&post(balancer.clients(), "/", "x").await, 503);
}

#[tokio::test]
async fn when_all_upstreams_are_dead_503_at_once_and_service_again_when_one_is_back() {
    let balancer = Balancer::start().await;
    let dead = [nobody().await, nobody().await, nobody().await];
    let set: Vec<_> = dead
        .iter()
        .map(|dead| json!({"id": format!("d-{}", dead.port()), "address": dead.ip(), "port": dead.port()}))
        .collect();
    balancer.use_policy(json!({"hold_ms": 0})).await;
    balancer.use_upstreams(&set).await;
    for _ in 0..10 {
        let started = Instant::now();
        assert_problem(&get(balancer.clients(), "/").await, 503);
        assert_problem(&post(balancer.clients(), "/", "x").await, 503);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    let _back = Backend::start_at(dead[1], |_| Reply::Bytes(crate::backend::ok("back"))).await;
    let end = Instant::now() + SOON;
    while get(balancer.clients(), "/").await.status() != 200 {
        assert!(Instant::now() < end);
    }
}

#[tokio::test]
async fn when_an_upstream_answers_nonsense_502() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|_| Reply::Last(b"nonsense\r\n\r\n".to_vec())).await;
    balancer.use_backends(&[&backend]).await;
    assert_problem(&get(balancer.clients(), "/").await, 502);
    assert_problem(&post(balancer.clients(), "/", "x").await, 502);
}

#[tokio::test]
async fn when_no_answer_comes_504() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|_| Reply::Nothing).await;
    balancer.use_policy(json!({"request_timeout_ms": 300})).await;
    balancer.use_backends(&[&backend]).await;
    assert_problem(&get(balancer.clients(), "/").await, 504);
    assert_problem(&post(balancer.clients(), "/", "x").await, 504);
}

#[tokio::test]
async fn a_large_head_431_and_a_large_body_413() {
    let balancer = Balancer::start_with("header_bytes = 4096\nbody_bytes = 100000").await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    let clients = balancer.clients();
    let fits = format!("GET / HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n", "x".repeat(3_000));
    assert_eq!(Reader::connect(clients).await.ask(&fits).await.status(), 200);
    for length in [5_000, 100_000] {
        let large = format!("GET / HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n", "x".repeat(length));
        assert_problem(&Reader::connect(clients).await.ask(&large).await, 431);
    }
    let body = "x".repeat(200_000);
    assert_problem(&post(clients, "/", &body).await, 413);
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n{body}\r\n0\r\n\r\n"
    );
    assert_problem(&Reader::connect(clients).await.ask(&chunked).await, 413);
    assert_eq!(get(clients, "/").await.status(), 200);
}

#[tokio::test]
async fn a_head_that_drips_408_and_an_idle_connection_is_closed() {
    let balancer = Balancer::start_with("header_timeout_ms = 300\nidle_timeout_ms = 400").await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    let mut dripping = Reader::connect(balancer.clients()).await;
    dripping.send("GET / HTTP/1.1\r\n").await;
    let started = Instant::now();
    let answer = loop {
        tokio::select! {
            answer = dripping.head() => break answer.expect("a head"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        dripping.send("X: y\r\n").await;
    };
    assert_eq!(answer.status(), 408);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let mut idle = Reader::connect(balancer.clients()).await;
    assert!(idle.closed_within(SOON).await);
}

#[tokio::test]
async fn too_many_connections_are_closed_at_once() {
    let balancer = Balancer::start_with("connections = 10").await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        let mut client = Reader::connect(balancer.clients()).await;
        // The connections that the start left behind may still be counted.
        if client.closed_within(Duration::from_millis(20)).await {
            continue;
        }
        held.push(client);
    }
    assert!(Reader::connect(balancer.clients()).await.closed_within(SOON).await);
    drop(held);
    crate::balancer::eventually("room again", async || {
        let mut client = Reader::connect(balancer.clients()).await;
        let sent =
            tokio::io::AsyncWriteExt::write_all(&mut client.tcp, b"GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
        sent.ok()?;
        client.answer_to("GET").await.map(|answer| assert_eq!(answer.status(), 200))
    })
    .await;
}
