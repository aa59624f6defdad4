//! Claim 11: a backend that is slow or loses packets, but lives, slows hardly anyone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::Balancer;
use crate::load::{Ask, load, quantile};
use crate::stage::{Machine, balance, in_namespaces};

const LENGTH: Duration = Duration::from_secs(3);

/// What is not slowed may take so long on a busy machine; the slow take half a second more.
const BUSY: Duration = Duration::from_millis(150);

#[test]
fn one_slow_backend_of_three_slows_hardly_anyone() {
    in_namespaces("grey::one_slow_backend_of_three_slows_hardly_anyone", async {
        let extra = Arc::new(AtomicU64::new(0));
        let delay = extra.clone();
        let slow = Backend::start(move |_| {
            let wait = Duration::from_millis(2 + delay.load(Ordering::SeqCst));
            Reply::Parts(vec![(wait, ok("x"))])
        })
        .await;
        let quick = || Backend::start(|_| Reply::Parts(vec![(Duration::from_millis(2), ok("x"))]));
        let others = [quick().await, quick().await];
        let backends = [&slow, &others[0], &others[1]];
        let balancer = Balancer::start().await;
        balancer.use_backends(&backends).await;
        let base = load(balancer.clients(), Ask::Get("/"), 300, LENGTH).ends_well().await;
        let executed = || backends.iter().map(|backend| backend.seen().len()).sum::<usize>();
        let before = executed();
        extra.store(500, Ordering::SeqCst);
        let grey = load(balancer.clients(), Ask::Get("/"), 300, LENGTH).ends_well().await;
        let (base, slowed) = (quantile(&base, 0.99), quantile(&grey, 0.99));
        assert!(slowed <= (base * 13 / 10).max(BUSY), "{base:?} before, {slowed:?} now");
        let executed = executed() - before;
        // A twentieth, and what had been saved.
        assert!(executed <= grey.len() * 105 / 100 + 20, "{executed} for {}", grey.len());
        assert_eq!(balancer.record(&slow).await["ejections"], 0, "slowness is not death");
    });
}

#[test]
fn a_backend_that_loses_packets_slows_hardly_anyone() {
    in_namespaces("grey::a_backend_that_loses_packets_slows_hardly_anyone", async {
        let machines = Machine::start_all(3).await;
        let balancer = balance(&machines).await;
        let base = load(balancer.clients(), Ask::Get("/random/number"), 300, Duration::from_secs(1))
            .ends_well()
            .await;
        machines[1].drop_packets(5);
        let lossy = load(balancer.clients(), Ask::Get("/random/number"), 300, LENGTH).ends_well().await;
        let (base, slowed) = (quantile(&base, 0.99), quantile(&lossy, 0.99));
        assert!(slowed <= (base * 13 / 10).max(BUSY), "{base:?} before, {slowed:?} now");
    });
}
