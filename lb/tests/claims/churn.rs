//! Claim 9: sets may be swapped as fast as they come.

use std::time::{Duration, Instant};

use crate::balancer::eventually;
use crate::load::{Ask, load};
use crate::stage::{Machine, balance, in_namespaces};

#[test]
fn swaps_without_pause_cost_no_request_and_leave_no_sockets() {
    in_namespaces("churn::swaps_without_pause_cost_no_request_and_leave_no_sockets", async {
        let machines = Machine::start_all(3).await;
        let balancer = balance(&machines).await;
        let length = Duration::from_secs(4);
        let gets = load(balancer.clients(), Ask::Get("/random/number"), 150, length);
        let slow = load(balancer.clients(), Ask::Get("/stress?seconds=0.3"), 20, length);
        let begun = Instant::now();
        let mut swaps = 0;
        while begun.elapsed() < length {
            let out = swaps % 4;
            let set: Vec<_> =
                (0..3).filter(|index| *index != out).map(|index| machines[index].upstream()).collect();
            balancer.use_upstreams(&set).await;
            swaps += 1;
        }
        println!("{} swaps a second", swaps as f64 / begun.elapsed().as_secs_f64());
        assert!(swaps > 100, "{swaps}");
        gets.ends_well().await;
        slow.ends_well().await;
        balancer.use_upstreams(&[machines[0].upstream()]).await;
        for gone in &machines[1..] {
            eventually("no socket to it is left", async || (gone.sockets() == 0).then_some(())).await;
        }
    });
}
