//! What people tell a balancer about single machines.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::balancer::{Balancer, eventually};
use crate::client::get;

/// The entry of `backend` as the machine `name`.
fn machine(backend: &Backend, name: &str) -> Value {
    let mut upstream = backend.upstream();
    upstream["id"] = name.into();
    upstream
}

async fn ask(balancer: &Balancer, times: usize) {
    for _ in 0..times {
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    }
}

#[tokio::test]
async fn a_machine_is_drained_until_that_is_taken_back_whatever_comes() {
    let mut balancer = Balancer::start().await;
    let [one, two] = [Backend::healthy().await, Backend::healthy().await];
    balancer.use_upstreams(&[machine(&one, "a-s-1.1"), machine(&two, "a-s-2.1")]).await;
    assert_eq!(balancer.put("/overrides/a-s-1", &json!({"mode": "drain"})).await.0, 200);
    ask(&balancer, 20).await;
    assert_eq!(one.seen().len(), 0);
    // A new incarnation is the same machine, and so it is after a restart.
    balancer.use_upstreams(&[machine(&one, "a-s-1.2"), machine(&two, "a-s-2.1")]).await;
    ask(&balancer, 20).await;
    balancer.kill_and_restart().await;
    ask(&balancer, 20).await;
    assert_eq!(one.seen().len(), 0);
    let status = balancer.get_json("/status").await;
    let records = status["pools"]["p"]["upstreams"].as_array().expect("upstreams");
    let record = records.iter().find(|record| record["id"] == "a-s-1.2").expect("record");
    assert_eq!(record["override"], json!({"mode": "drain"}));
    assert_eq!(balancer.get_json("/overrides").await, json!({"a-s-1": {"mode": "drain"}}));
    assert_eq!(balancer.delete("/overrides/a-s-1").await, 200);
    ask(&balancer, 40).await;
    assert!(!one.seen().is_empty());
    assert_eq!(balancer.delete("/overrides/a-s-1").await, 404);
}

#[tokio::test]
async fn in_maintenance_a_machine_is_left_alone_even_when_it_is_the_last() {
    let balancer = Balancer::start().await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    ask(&balancer, 3).await;
    assert!(backend.open() > 0);
    let path = format!("/overrides/{}", backend.id());
    assert_eq!(balancer.put(&path, &json!({"mode": "maintenance"})).await.0, 200);
    eventually("no connection is kept", async || (backend.open() == 0).then_some(())).await;
    let refused = get(balancer.clients(), "/").await;
    assert_eq!(refused.status(), 503);
    assert_eq!(backend.seen().len(), 3);
    // Drained, it would still be better than nothing.
    assert_eq!(balancer.put(&path, &json!({"mode": "drain"})).await.0, 200);
    ask(&balancer, 1).await;
}

#[tokio::test]
async fn a_weight_changes_the_share_at_once() {
    let balancer = Balancer::start().await;
    let [one, two] = [Backend::healthy().await, Backend::healthy().await];
    balancer.use_policy(json!({"balance": {"algorithm": "round_robin", "slow_start_ms": 0}})).await;
    balancer.use_backends(&[&one, &two]).await;
    assert_eq!(balancer.put(&format!("/overrides/{}", one.id()), &json!({"weight": 3})).await.0, 200);
    ask(&balancer, 40).await;
    assert_eq!((one.seen().len(), two.seen().len()), (30, 10));
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let balancer = Balancer::start().await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    let path = format!("/overrides/{}", backend.id());
    for (body, parameter) in [
        (json!({}), "weight"),
        (json!({"weight": 0}), "weight"),
        (json!({"mode": "off"}), "mode"),
        (json!({"drain": true}), "drain"),
    ] {
        let (status, problem) = balancer.put(&path, &body).await;
        assert_eq!((status, &problem["parameter"]), (400, &json!(parameter)), "{problem}");
    }
    assert_eq!(balancer.put("/overrides/nobody", &json!({"weight": 2})).await.0, 404);
    assert_eq!(balancer.get_json("/overrides").await, json!({}));
    let foreign = reqwest::Client::builder()
        .local_address("127.0.0.2".parse::<std::net::IpAddr>().expect("address"))
        .build()
        .expect("client");
    let answer =
        foreign.put(balancer.change(&path)).json(&json!({"weight": 2})).send().await.expect("answer");
    assert_eq!(answer.status(), 403);
}
