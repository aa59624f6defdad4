//! Whatever is sent to the admin interface, the proxy goes on, a refusal changes nothing, and memory stays
//! bounded. `HOLDFAST_FUZZ_CASES` says how many things are sent.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::balancer::Balancer;
use crate::client::get;

#[path = "../../../wire/tests/support/hostile.rs"]
mod support;

pub(crate) use support::runner;
use support::{any_json, mutation};

const USUAL_CASES: u32 = 4_000;

/// What the process may have more after all of it than before, in KiB: the documents it holds are refused
/// far below this, and freed memory is not all given back.
const MAX_GROWTH_KIB: u64 = 64 << 10;

/// Where changes go, and an honest one.
fn documents() -> Vec<(&'static str, Value)> {
    let upstream = |n: u8| {
        json!({"id": format!("s-{n}.1"), "address": "127.0.0.9", "port": 8080 + u16::from(n), "weight": 1,
            "zone": "a", "backup": false, "state": "ready"})
    };
    vec![
        (
            "/upstreams",
            json!({"generation": 2, "pools": {"p": [upstream(1), upstream(2)], "q": [upstream(3)]}}),
        ),
        (
            "/config",
            json!({"generation": 2, "routes": [{"name": "r", "hosts": ["a.example"], "path": "/x", "pool": "p"}],
                "pools": {"p": {"connect_timeout_ms": 100, "max_tries": 2, "retry_budget_ratio": 0.1,
                    "eject_min_ms": 10, "eject_max_ms": 20, "check": {"ask": {"http": {"path": "/"}}}}}}),
        ),
        ("/vip", json!({"vrid": 50, "priority": 100, "action": "take_over"})),
    ]
}

/// Sends `body` and looks whether all is as it should be after it.
async fn sent(balancer: &Balancer, path: &str, body: &Value) {
    let before = balancer.get_json(path).await;
    let (status, answer) = balancer.put(path, body).await;
    assert!(matches!(status, 200 | 400 | 409 | 413), "{status} {answer}");
    if status != 200 {
        assert!(answer["detail"].is_string(), "{answer}");
    }
    // There is no [[vip]] here that an order could change.
    if status != 200 || path == "/vip" {
        assert_eq!(balancer.get_json(path).await, before, "a refusal changes nothing: {answer}");
    }
}

#[test]
fn whatever_is_sent_to_the_admin_interface_does_no_harm() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let balancer = runtime.block_on(Balancer::start());
    let documents = documents();
    // What it takes to have talked at all is not counted.
    for (path, honest) in &documents {
        runtime.block_on(sent(&balancer, path, honest));
    }
    let generation = Cell::new(2);
    let memory_before = balancer.memory_kib();
    let changed = vec(mutation(), 1..6).prop_map(Ok);
    let hostile = prop_oneof![3 => changed, 1 => any_json().prop_map(Err)];
    runner(USUAL_CASES)
        .run(&(0..documents.len(), hostile), |(which, how)| {
            let (path, honest) = &documents[which];
            let mut body = honest.clone();
            generation.set(generation.get() + 1);
            match how {
                Ok(mutations) => mutations.iter().for_each(|mutation| mutation.apply(&mut body)),
                Err(anything) => body = anything,
            }
            // One far ahead would make all that follow it too old to be looked at.
            if let Some(said) = body
                .get_mut("generation")
                .filter(|said| said.as_u64().is_some_and(|said| said <= wire::MAX_COUNT))
            {
                *said = json!(generation.get());
            }
            runtime.block_on(sent(&balancer, path, &body));
            Ok(())
        })
        .expect("harmless");
    let growth = balancer.memory_kib().saturating_sub(memory_before);
    assert!(growth < MAX_GROWTH_KIB, "{growth} KiB more than before");
    runtime.block_on(still_serves(&balancer));
}

/// It still takes and does what it is told.
async fn still_serves(balancer: &Balancer) {
    let backend = Backend::healthy().await;
    let mut config = json!({"routes": [{"name": "all", "pool": "p"}]});
    let mut set = json!({"pools": {"p": [backend.upstream()]}});
    for (path, document) in [("/config", &mut config), ("/upstreams", &mut set)] {
        let held = balancer.get_json(path).await["generation"].as_u64().expect("a number");
        document["generation"] = json!(held + 1);
        assert_eq!(balancer.put(path, document).await.0, 200);
    }
    assert_eq!(get(balancer.clients(), "/").await.text(), "hello");
}

#[tokio::test]
async fn a_generation_that_nothing_could_follow_is_refused() {
    let balancer = Balancer::start().await;
    for (path, rest) in [("/upstreams", json!({"pools": {}})), ("/config", json!({"routes": []}))] {
        let mut body = rest;
        body["generation"] = json!(wire::MAX_COUNT + 1);
        let (status, problem) = balancer.put(path, &body).await;
        assert_eq!((status, &problem["parameter"]), (400, &json!("generation")), "{problem}");
        body["generation"] = json!(wire::MAX_COUNT);
        assert_eq!(balancer.put(path, &body).await.0, 200);
    }
}
