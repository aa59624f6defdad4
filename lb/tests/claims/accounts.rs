//! Claim 12, as far as it is told by figures: every attempt is counted, and the counters add up to what the
//! backends have seen.

use std::time::Duration;

use crate::balancer::Balancer;
use crate::load::{Ask, load};
use crate::stage::{Machine, balance, in_namespaces};

/// The sum of all series of a metric.
async fn sum(balancer: &Balancer, name: &str) -> u64 {
    let text = balancer.get("/metrics").await.text().await.expect("text");
    let values = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    values
        .map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a value"))
        .sum()
}

#[test]
fn attempts_are_requests_plus_retries() {
    in_namespaces("accounts::attempts_are_requests_plus_retries", async {
        let mut machines = Machine::start_all(3).await;
        let balancer = balance(&machines).await;
        let gets = load(balancer.clients(), Ask::Get("/random/number"), 200, Duration::from_secs(3));
        let posts = load(balancer.clients(), Ask::Post("/count"), 100, Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(600)).await;
        machines[0].stop();
        tokio::time::sleep(Duration::from_millis(600)).await;
        machines[1].kill();
        // So long that someone finds nobody there.
        tokio::time::sleep(Duration::from_millis(400)).await;
        machines[1].restart().await;
        machines[0].go_on();
        gets.ends_well().await;
        posts.end().await;
        let requests = sum(&balancer, "lb_requests_total").await;
        let retries = sum(&balancer, "lb_retries_total").await;
        let attempts = sum(&balancer, "lb_upstream_requests_total").await;
        println!("{requests} requests, {retries} retries, {attempts} attempts");
        assert_eq!(attempts, requests + retries);
        assert!(retries > 0);
    });
}
