//! Claims 7 and 10: errors are not multiplied, and who answers with errors quickly gets no load for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::load::{Ask, load};
use crate::stage::{Machine, balance, in_namespaces, use_machines};

/// How many requests the balancer has sent to `machine`.
async fn requests_to(balancer: &Balancer, machine: &Machine) -> u64 {
    let record = machine.record(balancer).await.expect("a record");
    record["requests"].as_u64().expect("a number")
}

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
        // Every tenth request is answered, so that none is ejected, and on no kept connection, on which the next one
        // would be free: every retry has to be paid for.
        let last = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let breaking = || {
            let asked = AtomicUsize::new(0);
            Backend::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) % 10 {
                9 => Reply::Bytes(last.to_vec()),
                _ => Reply::Reset,
            })
        };
        let backends = [breaking().await, breaking().await, breaking().await];
        let balancer = Balancer::start().await;
        let policy = serde_json::json!({"eject_after": 100, "hold_ms": 0, "outlier": {"failure_ratio": 0.0}});
        balancer.use_policy(policy).await;
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

/// The third of three machines is up and down in turns, each time so long; no GET fails.
async fn in_turns(
    count: u32,
    each: Duration,
    down: impl AsyncFn(&mut Machine),
    up: impl AsyncFn(&mut Machine),
) {
    let mut machines = Machine::start_all(3).await;
    let balancer = balance(&machines).await;
    let gets = load(balancer.clients(), Ask::Get("/random/number"), 200, each * (2 * count + 1));
    for _ in 0..count {
        tokio::time::sleep(each).await;
        down(&mut machines[2]).await;
        tokio::time::sleep(each).await;
        up(&mut machines[2]).await;
    }
    gets.ends_well().await;
    machines[2].is_ejected(&balancer, false).await;
}

#[test]
fn a_backend_that_comes_and_goes_costs_no_get() {
    in_namespaces("errors::a_backend_that_comes_and_goes_costs_no_get", async {
        let down = async |machine: &mut Machine| machine.kill();
        in_turns(3, Duration::from_millis(500), down, Machine::restart).await;
    });
}

#[test]
fn a_backend_that_is_down_every_other_three_seconds_costs_no_get() {
    in_namespaces("errors::a_backend_that_is_down_every_other_three_seconds_costs_no_get", async {
        let down = async |machine: &mut Machine| machine.kill();
        in_turns(2, Duration::from_secs(3), down, Machine::restart).await;
    });
}

#[test]
fn a_backend_that_stands_still_every_other_three_seconds_costs_no_get() {
    in_namespaces("errors::a_backend_that_stands_still_every_other_three_seconds_costs_no_get", async {
        let down = async |machine: &mut Machine| machine.stop();
        in_turns(2, Duration::from_secs(3), down, async |machine| machine.go_on()).await;
    });
}

#[test]
fn a_backend_that_is_back_comes_to_its_share_bit_by_bit() {
    in_namespaces("errors::a_backend_that_is_back_comes_to_its_share_bit_by_bit", async {
        let mut machines = Machine::start_all(3).await;
        let balancer = Balancer::start().await;
        // The default takes ten seconds to the same end. In turns, because on a busy machine it would be that
        // what decides who is quick.
        let balance = serde_json::json!({"algorithm": "round_robin", "slow_start_ms": 4_000});
        balancer.use_policy(serde_json::json!({"balance": balance})).await;
        use_machines(&balancer, &machines).await;
        let gets = load(balancer.clients(), Ask::Get("/random/number"), 300, Duration::from_secs(14));
        tokio::time::sleep(Duration::from_millis(500)).await;
        machines[2].kill();
        machines[2].is_ejected(&balancer, true).await;
        // Until those beside it are new no more: it is measured by them.
        tokio::time::sleep(Duration::from_secs(4)).await;
        machines[2].restart().await;
        eventually("it has passed its trial", async || {
            let record = machines[2].record(&balancer).await?;
            (record["ejected"] == false && record["on_trial"] == false).then_some(())
        })
        .await;
        // Its part, in percent, of what is sent in a second, each second from its return on.
        let mut parts = Vec::new();
        for _ in 0..6 {
            let before = (requests_to(&balancer, &machines[2]).await, requests_sent(&balancer).await);
            tokio::time::sleep(Duration::from_secs(1)).await;
            let after = (requests_to(&balancer, &machines[2]).await, requests_sent(&balancer).await);
            parts.push((after.0 - before.0) * 100 / (after.1 - before.1).max(1));
        }
        println!("{parts:?} percent");
        gets.ends_well().await;
        // A tenth of a third is what it begins with, a third is what it comes to.
        assert!((1..=15).contains(&parts[0]), "{parts:?}");
        assert!(parts[0] < parts[2] && parts[2] < parts[5], "{parts:?}");
        assert!((25..=45).contains(&parts[5]), "{parts:?}");
    });
}
