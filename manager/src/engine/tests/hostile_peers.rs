//! Whatever a peer says, the engine neither panics nor keeps more than it should, nor lets it spoil the set
//! that the own balancer is given. `HOLDFAST_FUZZ_CASES` says how many things are said.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use wire::snapshot::{HostSnapshot, SnapshotAck};
use wire::{MAX_COUNT, Problem};

use crate::engine::testing::{World, config};
use crate::engine::{Engine, Outcome, Time};

#[path = "../../../../wire/tests/support/hostile.rs"]
mod hostile;

use hostile::{any_json, mutation, runner};

const NOW: Time = Duration::from_secs(60);
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 10, 2));
const USUAL_CASES: u32 = 3_000;

/// What host `b` really tells.
fn honest() -> Value {
    let world = World::two_hosts(2);
    let engine = world.hosts[1].engine.as_ref().expect("it runs");
    serde_json::to_value(engine.host_snapshot(world.now)).expect("JSON")
}

/// A manager that has heard `honest`.
fn manager(honest: &Value) -> Engine {
    let mut engine = Engine::new(config(2), None, Time::ZERO);
    tell(&mut engine, honest).expect("a snapshot").expect("taken");
    engine
}

/// What the API makes of `body`: nothing if it is no snapshot at all.
fn tell(engine: &mut Engine, body: &Value) -> Option<Result<SnapshotAck, Problem>> {
    let bytes = serde_json::to_vec(body).expect("JSON");
    let snapshot: HostSnapshot = serde_json::from_slice(&bytes).ok()?;
    Some(engine.receive(NOW, PEER, snapshot))
}

/// What the balancer asks of every set (`lb/src/proxy/state/check.rs`).
fn the_set_can_be_taken(engine: &Engine) {
    let pools = engine.clone().pools(NOW).to_wire();
    assert_eq!(pools, engine.pools_from_scratch());
    let mut ids = BTreeSet::new();
    for (pool, upstreams) in &pools {
        assert!((1..=200).contains(&pool.as_str().len()), "{pool}");
        for upstream in upstreams {
            assert!(ids.insert(&upstream.id), "{} twice", upstream.id);
            assert!((1..=200).contains(&upstream.id.as_str().len()) && upstream.port != 0, "{upstream:?}");
            assert!(!upstream.address.is_unspecified() && !upstream.address.is_multicast(), "{upstream:?}");
        }
    }
}

/// Tells `body`, and looks whether the engine is as it should be after it.
fn said(honest: &Value, body: &Value) {
    let mut engine = manager(honest);
    let before = engine.snapshot(NOW);
    let answer = tell(&mut engine, body);
    match &answer {
        None => assert_eq!(engine.snapshot(NOW), before),
        Some(Err(problem)) => {
            assert!(matches!(problem.status, 400 | 409), "{problem:?}");
            assert_eq!(engine.snapshot(NOW), before, "a refusal changes nothing: {problem:?}");
        }
        Some(Ok(ack)) => assert!(ack.epoch <= MAX_COUNT && ack.version <= MAX_COUNT),
    }
    the_set_can_be_taken(&engine);
    serde_json::to_vec(&engine.cluster(NOW)).expect("JSON");
    engine.plan(NOW);
    engine.plan(NOW + Duration::from_secs(10));
}

#[test]
fn an_honest_snapshot_with_anything_changed_does_no_harm() {
    let honest = honest();
    runner(USUAL_CASES)
        .run(&vec(mutation(), 1..6), |mutations| {
            let mut body = honest.clone();
            mutations.iter().for_each(|mutation| mutation.apply(&mut body));
            said(&honest, &body);
            Ok(())
        })
        .expect("harmless");
}

#[test]
fn anything_at_all_does_no_harm() {
    let honest = honest();
    runner(USUAL_CASES)
        .run(&any_json(), |body| {
            said(&honest, &body);
            Ok(())
        })
        .expect("harmless");
}

#[test]
fn any_answer_of_a_peer_leaves_an_epoch_to_go_on_with() {
    let number = || prop_oneof![any::<u64>(), Just(u64::MAX), Just(MAX_COUNT), Just(MAX_COUNT - 1), 0..4u64];
    let answer = prop_oneof![
        number().prop_map(Outcome::Stale),
        (number(), number(), number()).prop_map(|(epoch, version, applied)| Outcome::Told(SnapshotAck {
            epoch,
            version,
            applied
        })),
    ];
    let honest = honest();
    runner(USUAL_CASES)
        .run(&vec(answer, 1..4), |answers| {
            let mut engine = manager(&honest);
            for answer in answers {
                let told = engine.telling(NOW);
                engine.tell_finished(NOW, PEER, &told, answer);
                prop_assert!(engine.host_snapshot(NOW).epoch <= MAX_COUNT);
            }
            engine.plan(NOW);
            Ok(())
        })
        .expect("harmless");
}

#[test]
fn each_limit_is_named() {
    let honest = honest();
    let endpoint = |n: usize| json!({"id": format!("b-x-{n}"), "service": "x", "address": "10.0.0.1", "port": 1, "state": "ready"});
    let endpoints: Vec<Value> = (0..10_001).map(endpoint).collect();
    for (field, value, parameter) in [
        ("host", json!("b".repeat(201)), "host"),
        ("host", json!(""), "host"),
        ("epoch", json!(u64::MAX), "epoch"),
        ("version", json!(MAX_COUNT + 1), "version"),
        ("endpoints", json!(endpoints), "endpoints"),
        ("endpoints", json!([endpoint(1), endpoint(1)]), "endpoints[1].id"),
        ("address_pool", json!(vec!["10.0.0.1"; 1_001]), "address_pool"),
        ("warnings", json!(vec![""; 1_001]), "warnings"),
        ("warnings", json!(["x".repeat(4_097)]), "warnings[0]"),
        ("driver", json!("x".repeat(4_097)), "driver"),
    ] {
        let mut body = honest.clone();
        body[field] = value;
        let problem = tell(&mut manager(&honest), &body).expect("a snapshot").expect_err("refused");
        assert_eq!((problem.status, problem.parameter.as_deref()), (400, Some(parameter)), "{problem:?}");
    }
    for (part, value) in [("port", json!(0)), ("address", json!("224.0.0.1")), ("service", json!("a\nb"))] {
        let mut body = honest.clone();
        body["endpoints"] = json!([endpoint(1)]);
        body["endpoints"][0][part] = value;
        let problem = tell(&mut manager(&honest), &body).expect("a snapshot").expect_err("refused");
        assert_eq!(problem.parameter, Some(format!("endpoints[0].{part}")), "{problem:?}");
    }
}

#[test]
fn the_longest_message_of_a_hypervisor_is_no_reason_to_be_refused() {
    let mut world = World::two_hosts(1);
    let engine = world.engine(1);
    let machine = engine.machines.values_mut().next().expect("one");
    machine.reason = "ü".repeat(10_000);
    let told = engine.host_snapshot(NOW);
    let mut other = Engine::new(config(1), None, Time::ZERO);
    other.receive(NOW, PEER, told).expect("taken");
}
