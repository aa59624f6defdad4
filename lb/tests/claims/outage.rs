//! Claim 8: while there is no upstream at all, requests wait for one, as many and as long as is allowed.

use std::time::Duration;

use serde_json::json;

use crate::balancer::eventually;
use crate::client::{get, post};
use crate::load::{Ask, load_with_limit};
use crate::stage::{Machine, balance, in_namespaces, use_machines};

const PATIENT: Duration = Duration::from_secs(8);

#[test]
fn two_seconds_without_any_backend_cost_no_request() {
    in_namespaces("outage::two_seconds_without_any_backend_cost_no_request", async {
        let mut machines = Machine::start_all(3).await;
        let balancer = balance(&machines).await;
        let length = Duration::from_secs(4);
        let gets = load_with_limit(balancer.clients(), Ask::Get("/random/number"), 150, length, PATIENT);
        tokio::time::sleep(Duration::from_millis(800)).await;
        machines.iter_mut().for_each(Machine::destroy);
        tokio::time::sleep(Duration::from_secs(2)).await;
        for machine in &mut machines {
            machine.rebuild().await;
        }
        use_machines(&balancer, &machines).await;
        gets.ends_well().await;
    });
}

#[test]
fn backends_that_come_back_by_themselves_are_found_and_posts_wait_too() {
    in_namespaces("outage::backends_that_come_back_by_themselves_are_found_and_posts_wait_too", async {
        let mut machines = Machine::start_all(2).await;
        let balancer = balance(&machines).await;
        machines.iter_mut().for_each(Machine::kill);
        let clients = balancer.clients();
        let waiting = [
            tokio::spawn(async move { get(clients, "/random/number").await.status() }),
            tokio::spawn(async move { post(clients, "/count", "1").await.status() }),
        ];
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(waiting.iter().all(|request| !request.is_finished()));
        machines[1].restart().await;
        for request in waiting {
            assert_eq!(request.await.expect("no panic"), 200);
        }
        assert_eq!(machines[1].executed().await, ["1"]);
    });
}

/// It is never ejected, for nobody could take its place.
#[test]
fn the_only_backend_is_found_when_it_comes_back() {
    in_namespaces("outage::the_only_backend_is_found_when_it_comes_back", async {
        let mut machines = Machine::start_all(1).await;
        let balancer = balance(&machines).await;
        machines[0].kill();
        let clients = balancer.clients();
        let waiting = tokio::spawn(async move { get(clients, "/random/number").await.status() });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        machines[0].restart().await;
        assert_eq!(waiting.await.expect("no panic"), 200);
    });
}

#[test]
fn a_full_queue_and_a_long_wait_end_with_503_and_retry_after() {
    in_namespaces("outage::a_full_queue_and_a_long_wait_end_with_503_and_retry_after", async {
        let mut machines = Machine::start_all(2).await;
        let balancer = balance(&machines).await;
        balancer.use_policy(json!({"hold_ms": 1_500, "hold_requests": 5})).await;
        machines.iter_mut().for_each(Machine::kill);
        let clients = balancer.clients();
        let ask = || tokio::spawn(async move { get(clients, "/random/number").await });
        let first: Vec<_> = (0..5).map(|_| ask()).collect();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(first.iter().all(|request| !request.is_finished()));
        // There is no room for these.
        let more = ask();
        eventually("the sixth is refused", async || more.is_finished().then_some(())).await;
        assert!(first.iter().all(|request| !request.is_finished()));
        for request in first.into_iter().chain([more]) {
            let answer = request.await.expect("no panic");
            assert_eq!(answer.status(), 503);
            assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        }
    });
}
