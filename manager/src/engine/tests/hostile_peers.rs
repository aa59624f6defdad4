//! Whatever a peer says, the engine neither panics nor keeps more than it should, nor lets it spoil the set
//! that the own balancer is given. `HOLDFAST_FUZZ_CASES` says how many things are said.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use wire::pools::MOST_ILL;
use wire::snapshot::{HostChanges, HostSnapshot, SnapshotAck};
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
    let mut told = serde_json::to_value(engine.host_snapshot(world.now)).expect("JSON");
    told["checks"] = json!({"stateless": ["a-stateless-1.1", "b-stateless-2.1"]});
    told
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
fn honest_changes_with_anything_changed_do_no_harm() {
    let honest = honest();
    let mut rest = honest.clone();
    (rest["endpoints"], rest["machines"]) = (json!([]), json!([]));
    let version = honest["version"].as_u64().expect("a number");
    let changes = json!({
        "host": "b", "epoch": honest["epoch"], "base": version, "version": version + 1, "rest": rest,
        "endpoints": [honest["endpoints"][0]], "endpoints_gone": [honest["endpoints"][1]["id"]],
        "machines": [honest["machines"][1]], "machines_gone": [honest["machines"][0]["id"]],
    });
    let mut taken = false;
    let case = |mutations: &[_]| {
        let mut body = changes.clone();
        mutations.iter().for_each(|mutation: &hostile::Mutation| mutation.apply(&mut body));
        let bytes = serde_json::to_vec(&body).expect("JSON");
        let Ok(changes) = serde_json::from_slice::<HostChanges>(&bytes) else { return false };
        let mut engine = manager(&honest);
        let before = engine.snapshot(NOW);
        let answer = engine.receive_changes(NOW, PEER, changes);
        if let Err(problem) = &answer {
            assert!(matches!(problem.status, 400 | 409), "{problem:?}");
            assert_eq!(engine.snapshot(NOW), before, "a refusal changes nothing: {problem:?}");
        }
        the_set_can_be_taken(&engine);
        engine.plan(NOW);
        answer.is_ok_and(|ack| ack.version == version + 1)
    };
    taken |= case(&[]);
    assert!(taken, "unchanged they are taken");
    runner(USUAL_CASES)
        .run(&vec(mutation(), 1..6), |mutations| {
            case(&mutations);
            Ok(())
        })
        .expect("harmless");
}

#[test]
fn packets_of_anything_do_no_harm() {
    let honest = honest();
    let packets = vec(vec(any::<u8>(), 0..200), 0..4);
    runner(USUAL_CASES)
        .run(&packets, |packets| {
            let mut engine = manager(&honest);
            engine.circle_from = Some(1);
            let mut packets: Vec<Bytes> = packets.into_iter().map(Bytes::from).collect();
            // What it says itself, from somebody else, and with something behind it.
            engine.turn_circle(NOW);
            for action in engine.plan(NOW).actions {
                if let crate::engine::Command::Gossip { packets: own, .. } = action.command {
                    packets.extend(own.iter().cloned());
                    packets.extend(own.iter().map(|packet| [packet.as_ref(), &[7]].concat().into()));
                }
            }
            let answer = engine.gossip(NOW, PEER, &packets).expect("a peer");
            assert!(answer.len() <= crate::engine::MAX_PACKETS);
            assert_eq!(engine.peer_addresses(), [PEER], "nobody is admitted by it");
            engine.plan(NOW + Duration::from_secs(1));
            Ok(())
        })
        .expect("harmless");
    let mut engine = manager(&honest);
    let many = vec![Bytes::new(); crate::engine::MAX_PACKETS + 1];
    let refused = engine.gossip(NOW, PEER, &many).expect_err("too many");
    assert_eq!((refused.status, refused.parameter.as_deref()), (400, Some("packets")));
    let large = [Bytes::from(std::vec![0; crate::engine::MAX_PACKET.get() + 1])];
    let refused = engine.gossip(NOW, PEER, &large).expect_err("too large");
    assert_eq!((refused.status, refused.parameter.as_deref()), (400, Some("packets[0]")));
    let stranger = engine.gossip(NOW, IpAddr::from([127, 0, 0, 1]), &[]).expect_err("a stranger");
    assert_eq!(stranger.status, 403);
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
            applied,
            own: Some((version, epoch)),
        })),
    ];
    let honest = honest();
    runner(USUAL_CASES)
        .run(&vec((any::<bool>(), answer), 1..4), |answers| {
            let mut engine = manager(&honest);
            for (as_changes, answer) in answers {
                let told = engine.telling(NOW);
                engine.tell_finished(NOW, PEER, &told, as_changes, answer);
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
    let ids = |count: usize| -> Vec<String> { (0..count).map(|n| format!("b-x-{n}")).collect() };
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
        ("checks", json!({"x": ids(MOST_ILL), "y": ids(1)}), "checks"),
        ("checks", json!({"": ids(1)}), "checks"),
        ("checks", json!({"x": [""]}), "checks.x"),
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
