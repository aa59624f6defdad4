//! Claim 4: what is in flight at an upstream goes elsewhere the moment its manager says it is dead, without
//! waiting for any deadline.

use std::time::{Duration, Instant};

use crate::balancer::eventually;
use crate::client::get;
use crate::stage::{Machine, balance, in_namespaces};

/// Two hundred GETs hang on a machine that stands still and is the only one; `news` is what comes then.
async fn all_are_answered_elsewhere(news: impl FnOnce(&[Machine]) -> Vec<serde_json::Value>) {
    let machines = Machine::start_all(3).await;
    let balancer = balance(&machines[..1]).await;
    let clients = balancer.clients();
    machines[0].stop();
    let hanging: Vec<_> = (0..200)
        .map(|_| tokio::spawn(async move { get(clients, "/random/number").await.status() }))
        .collect();
    eventually("all hang on it", async || {
        (machines[0].record(&balancer).await?["in_flight"] == 200).then_some(())
    })
    .await;
    balancer.use_upstreams(&news(&machines)).await;
    let told = Instant::now();
    for request in hanging {
        assert_eq!(request.await.expect("no panic"), 200);
    }
    let took = told.elapsed();
    println!("all answered {took:?} after the news");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn two_hundred_requests_leave_a_machine_that_is_dead() {
    in_namespaces(
        "in_flight::two_hundred_requests_leave_a_machine_that_is_dead",
        all_are_answered_elsewhere(|machines| machines[1..].iter().map(Machine::upstream).collect()),
    );
}

#[test]
fn two_hundred_requests_leave_a_machine_that_is_suspected() {
    in_namespaces(
        "in_flight::two_hundred_requests_leave_a_machine_that_is_suspected",
        all_are_answered_elsewhere(|machines| {
            vec![machines[0].suspect(), machines[1].upstream(), machines[2].upstream()]
        }),
    );
}
