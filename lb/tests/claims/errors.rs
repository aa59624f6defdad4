//! Claims 7 and 10: errors are not multiplied, and who answers with errors quickly gets no load for it.

use std::time::Duration;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::Balancer;
use crate::load::{Ask, load};
use crate::stage::{Machine, balance, in_namespaces};

async fn requests_sent(balancer: &Balancer) -> u64 {
    let status = balancer.get_json("/status").await;
    let upstreams = status["pools"]["p"]["upstreams"].as_array().expect("upstreams").clone();
    upstreams.iter().map(|upstream| upstream["requests"].as_u64().expect("a number")).sum()
}

#[test]
fn an_outage_is_not_amplified() {
    in_namespaces("errors::an_outage_is_not_amplified", async {
        let machines = Machine::start_all(3).await;
        let balancer = balance(&machines).await;
        let shots =
            load(balancer.clients(), Ask::Get("/status/503"), 250, Duration::from_secs(2)).end().await;
        assert!(shots.iter().all(|shot| shot.result == Ok(503)), "{shots:?}");
        let sent = requests_sent(&balancer).await;
        assert!(sent <= 500 * 12 / 10 + 20, "{sent} of 500");
    });
}

#[test]
fn broken_connections_are_retried_within_the_budget() {
    in_namespaces("errors::broken_connections_are_retried_within_the_budget", async {
        let backends = [
            Backend::start(|_| Reply::Reset).await,
            Backend::start(|_| Reply::Reset).await,
            Backend::start(|_| Reply::Reset).await,
        ];
        let balancer = Balancer::start().await;
        // None is ejected, so that every retry has to be paid for.
        balancer.use_policy(serde_json::json!({"eject_after": 100, "hold_ms": 0})).await;
        balancer.use_backends(&[&backends[0], &backends[1], &backends[2]]).await;
        let shots = load(balancer.clients(), Ask::Get("/"), 500, Duration::from_secs(4)).end().await;
        let sent: usize = backends.iter().map(|backend| backend.seen().len()).sum();
        println!("{} requests, {sent} sent", shots.len());
        // A share of a fifth, ten a second, and what had been saved before.
        assert!(sent <= shots.len() * 12 / 10 + 10 * 10 + 100, "{sent} of {}", shots.len());
    });
}

#[test]
fn who_fails_at_once_gets_hardly_any_load() {
    in_namespaces("errors::who_fails_at_once_gets_hardly_any_load", async {
        let failing = Backend::start(|_| {
            Reply::Bytes(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_vec())
        })
        .await;
        // The others have something to do, so that the failing one looks idle.
        let working = || Backend::start(|_| Reply::Parts(vec![(Duration::from_millis(10), ok("well"))]));
        let others = [working().await, working().await];
        let balancer = Balancer::start().await;
        balancer.use_backends(&[&failing, &others[0], &others[1]]).await;
        load(balancer.clients(), Ask::Get("/"), 250, Duration::from_secs(1)).end().await;
        let before = failing.seen().len();
        let shots = load(balancer.clients(), Ask::Get("/"), 250, Duration::from_secs(3)).end().await;
        let after = failing.seen().len() - before;
        println!("{before} in the first second, {after} of {} later", shots.len());
        assert!(before < 50, "{before}");
        assert!(after * 100 <= shots.len(), "{after} of {}", shots.len());
    });
}

#[test]
fn a_backend_that_comes_and_goes_costs_no_get() {
    in_namespaces("errors::a_backend_that_comes_and_goes_costs_no_get", async {
        let mut machines = Machine::start_all(3).await;
        let balancer = balance(&machines).await;
        let gets = load(balancer.clients(), Ask::Get("/random/number"), 200, Duration::from_secs(5));
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            machines[2].kill();
            tokio::time::sleep(Duration::from_millis(500)).await;
            machines[2].restart().await;
        }
        gets.ends_well().await;
        machines[2].is_ejected(&balancer, false).await;
    });
}
