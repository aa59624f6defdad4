//! Changes to the upstream set that is held, and sets that say nearly the same as the one before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use wire::changes::{Digest, UpstreamChanges};
use wire::upstreams::UpstreamSet;

use crate::backend::Backend;
use crate::balancer::{Balancer, eventually};
use crate::client::{Reader, get};

fn set(generation: u64, upstreams: &[Value]) -> UpstreamSet {
    let text = json!({"generation": generation, "pools": {"p": upstreams}});
    serde_json::from_value(text).expect("a set")
}

fn upstream(number: usize) -> Value {
    json!({"id": format!("m{number}.1"), "address": "127.0.0.9", "port": 1000 + number})
}

fn changes(old: &UpstreamSet, new: &UpstreamSet) -> Value {
    let changes = UpstreamChanges::between(old, Digest::of(old), new).expect("the same pools");
    serde_json::to_value(changes).expect("JSON")
}

async fn held(balancer: &Balancer) -> UpstreamSet {
    serde_json::from_value(balancer.get_json("/upstreams").await).expect("a set")
}

#[tokio::test]
async fn changes_make_the_set_that_they_name_and_outlive_a_kill() {
    let mut balancer = Balancer::start().await;
    let many: Vec<_> = (0..200).map(upstream).collect();
    let mut present = set(1, &many);
    assert_eq!(balancer.put("/upstreams", &json!(present)).await.0, 200);
    for generation in 2..=9 {
        let kept = many.iter().enumerate().filter(|(number, _)| number % 9 != generation);
        let mut upstreams: Vec<_> = kept.map(|(_, upstream)| upstream.clone()).collect();
        upstreams[generation]["state"] = json!("suspect");
        upstreams[generation * 3]["weight"] = json!(5);
        upstreams[generation * 7]["id"] = json!(format!("m{}.2", generation * 7));
        let next = set(generation as u64 * 10, &upstreams);
        let body = changes(&present, &next);
        assert_eq!(balancer.patch("/upstreams", &body).await.0, 200, "{body}");
        assert_eq!(balancer.patch("/upstreams", &body).await.0, 200, "the same again");
        assert_eq!(Digest::of(&held(&balancer).await), Digest::of(&next));
        present = next;
    }
    balancer.kill_and_restart().await;
    let after = held(&balancer).await;
    assert_eq!((after.generation, Digest::of(&after)), (90, Digest::of(&present)));
    let last = set(91, &many);
    assert_eq!(balancer.patch("/upstreams", &changes(&present, &last)).await.0, 200, "it goes on from there");
    let stored = balancer.state_dir().join("upstreams.changes");
    assert!(stored.exists());
    eventually("all of it is stored as one", async || (!stored.exists()).then_some(())).await;
    balancer.kill_and_restart().await;
    assert_eq!(held(&balancer).await, last);
}

#[tokio::test]
async fn changes_to_another_set_than_the_one_held_change_nothing() {
    let balancer = Balancer::start().await;
    let (first, second) = (set(4, &[upstream(1), upstream(2)]), set(5, &[upstream(1), upstream(3)]));
    let body = changes(&first, &second);
    assert_eq!(balancer.patch("/upstreams", &body).await.0, 409, "none was pushed");
    let other = set(4, &[upstream(1), upstream(2), upstream(8)]);
    assert_eq!(balancer.put("/upstreams", &json!(other)).await.0, 200);
    assert_eq!(balancer.patch("/upstreams", &body).await.0, 409, "of the same generation, but another");
    let ahead = set(6, &[upstream(1), upstream(2)]);
    assert_eq!(balancer.put("/upstreams", &json!(ahead)).await.0, 200);
    let (status, problem) = balancer.patch("/upstreams", &body).await;
    assert_eq!((status, &problem["held"]), (409, &json!(6)), "it is older");
    let mut late = changes(&first, &second);
    late["generation"] = json!(7);
    let (status, problem) = balancer.patch("/upstreams", &late).await;
    assert_eq!((status, &problem["held"]), (409, &json!(6)), "it is of one that is not held");
    assert_eq!(held(&balancer).await, ahead);

    let digest = Digest::of(&ahead);
    let body = |pool: &str, changes: Value| json!({"base": 6, "generation": 7, "digest": digest, "pools": {pool: changes}});
    let nameless = json!({"id": "", "address": "127.0.0.9", "port": 1});
    for (body, parameter) in [
        (body("p", json!({"remove": ["m9.1"]})), "pools.p.remove[0]"),
        (body("p", json!({"remove": ["m1.1", "m1.1"]})), "pools.p.remove[1]"),
        (body("p", json!({"put": [upstream(3), upstream(3)]})), "pools.p.put[1].id"),
        (body("p", json!({"put": [upstream(1)], "remove": ["m1.1"]})), "pools.p.put[0].id"),
        (body("p", json!({"put": [nameless]})), "pools.p.put[0].id"),
        (body("q", json!({"put": [upstream(3)]})), "pools.q"),
        (body("p", json!({"put": [], "later": 1})), "pools.p.later"),
    ] {
        let (status, problem) = balancer.patch("/upstreams", &body).await;
        assert_eq!((status, &problem["parameter"]), (400, &json!(parameter)), "{problem}");
    }
    let (status, problem) = balancer.patch("/upstreams", &body("p", json!({"put": [upstream(3)]}))).await;
    assert_eq!(status, 409, "it is not what was meant: {problem}");
    assert_eq!(held(&balancer).await, ahead);
}

#[tokio::test]
async fn a_set_that_says_nearly_the_same_is_taken_as_if_it_were_read_anew() {
    let balancer = Balancer::start().await;
    let many: Vec<_> = (0..100).map(upstream).collect();
    assert_eq!(balancer.put("/upstreams", &json!(set(1, &many))).await.0, 200);
    for generation in 2..10_u64 {
        let mut upstreams = many.clone();
        upstreams.rotate_left(generation as usize);
        upstreams[0]["id"] = json!(format!("new.{generation}"));
        upstreams.remove(40);
        let next = set(generation, &upstreams);
        assert_eq!(balancer.put("/upstreams", &json!(next)).await.0, 200);
        assert_eq!(Digest::of(&held(&balancer).await), Digest::of(&next));
        assert_eq!(balancer.put("/upstreams", &json!(next)).await.0, 200, "the same again");
        let mut other = next.clone();
        other.pools.values_mut().for_each(|pool| pool[7].weight = 9);
        assert_eq!(balancer.put("/upstreams", &json!(other)).await.0, 409, "another one of that generation");
        let mut twice = upstreams.clone();
        twice[3] = json!({"id": "m50.1", "address": "127.0.0.9", "port": 1});
        let (status, problem) =
            balancer.put("/upstreams", &json!({"generation": generation + 1, "pools": {"p": twice}})).await;
        let parameter = problem["parameter"].as_str().expect("a parameter");
        assert!(
            status == 400 && parameter.starts_with("pools.p[") && parameter.ends_with("].id"),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn changing_upstreams_under_load_loses_nothing_and_records_stay() {
    let balancer = Balancer::start().await;
    let backends = [Backend::healthy().await, Backend::healthy().await, Backend::healthy().await];
    let upstreams: Vec<_> = backends.iter().map(Backend::upstream).collect();
    let mut present = set(1, &upstreams);
    assert_eq!(balancer.put("/upstreams", &json!(present)).await.0, 200);
    let done = Arc::new(AtomicBool::new(false));
    let clients = balancer.clients();
    let load: Vec<_> = (0..4)
        .map(|_| {
            let done = done.clone();
            tokio::spawn(async move {
                let mut kept = Reader::connect(clients).await;
                while !done.load(Ordering::SeqCst) {
                    assert_eq!(kept.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await.status(), 200);
                    assert_eq!(get(clients, "/").await.status(), 200);
                }
            })
        })
        .collect();
    for generation in 2..80_u64 {
        let out = 1 + generation as usize % 2;
        let there = upstreams.iter().enumerate().filter(|(number, _)| *number != out);
        let there: Vec<_> = there.map(|(_, upstream)| upstream.clone()).collect();
        let next = set(generation, &there);
        assert_eq!(balancer.patch("/upstreams", &changes(&present, &next)).await.0, 200);
        present = next;
    }
    done.store(true, Ordering::SeqCst);
    for worker in load {
        worker.await.expect("every request answered");
    }
    let record = balancer.record(&backends[0]).await;
    let seen = backends[0].seen().iter().filter(|request| request.start.starts_with("GET / ")).count();
    assert_eq!(record["requests"], json!(seen), "it is the same record: {record}");
}
