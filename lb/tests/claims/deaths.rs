//! Claims 1 to 3: a backend that dies, vanishes or stands still costs no GET, whether or not its manager
//! says so.

use std::time::Duration;

use crate::balancer::{Balancer, eventually};
use crate::load::{Ask, load};
use crate::stage::{Machine, balance, in_namespaces, use_machines};

const RATE: u32 = 250;
const FAULT_AFTER: Duration = Duration::from_millis(800);
const LENGTH: Duration = Duration::from_millis(3_000);

/// Three machines under load; the second comes to harm.
async fn one_of_three(harm: impl FnOnce(&mut Machine), then: impl AsyncFnOnce(&Balancer, &mut [Machine])) {
    let mut machines = Machine::start_all(3).await;
    let balancer = balance(&machines).await;
    let gets = load(balancer.clients(), Ask::Get("/random/number"), RATE, LENGTH);
    tokio::time::sleep(FAULT_AFTER).await;
    harm(&mut machines[1]);
    then(&balancer, &mut machines).await;
    gets.ends_well().await;
}

/// No news from a manager: the balancer finds out.
async fn is_found_out(balancer: &Balancer, machines: &mut [Machine]) {
    let took = machines[1].is_ejected(balancer, true).await;
    println!("ejected after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    // Who was asked when it died leaves it a moment later.
    eventually("connections to it are closed", async || (machines[1].sockets() == 0).then_some(())).await;
}

/// Its manager takes it out of the set.
async fn is_taken_out(balancer: &Balancer, machines: &mut [Machine]) {
    let left: Vec<_> = [0, 2].map(|index: usize| machines[index].upstream()).into();
    balancer.use_upstreams(&left).await;
}

/// Its manager hears no heartbeat.
async fn is_suspected(balancer: &Balancer, machines: &mut [Machine]) {
    let set = [machines[0].upstream(), machines[1].suspect(), machines[2].upstream()];
    balancer.use_upstreams(&set).await;
}

#[test]
fn a_killed_backend_costs_no_get() {
    in_namespaces("deaths::a_killed_backend_costs_no_get", one_of_three(Machine::kill, is_found_out));
}

#[test]
fn a_killed_backend_costs_no_get_when_its_manager_says_so() {
    in_namespaces(
        "deaths::a_killed_backend_costs_no_get_when_its_manager_says_so",
        one_of_three(Machine::kill, is_taken_out),
    );
}

#[test]
fn a_destroyed_backend_costs_no_get_and_its_connections_are_not_used_for_its_successor() {
    in_namespaces(
        "deaths::a_destroyed_backend_costs_no_get_and_its_connections_are_not_used_for_its_successor",
        one_of_three(Machine::destroy, async |balancer: &Balancer, machines: &mut [Machine]| {
            is_found_out(balancer, machines).await;
            machines[1].rebuild().await;
            use_machines(balancer, machines).await;
            let record = machines[1].record(balancer).await.expect("a record");
            assert_eq!(record["failures"], 0, "{record}");
        }),
    );
}

#[test]
fn a_destroyed_backend_costs_no_get_when_its_manager_says_so() {
    in_namespaces(
        "deaths::a_destroyed_backend_costs_no_get_when_its_manager_says_so",
        one_of_three(Machine::destroy, is_taken_out),
    );
}

#[test]
fn a_paused_machine_costs_no_get() {
    in_namespaces(
        "deaths::a_paused_machine_costs_no_get",
        one_of_three(|machine| machine.pause(), is_found_out),
    );
}

#[test]
fn a_process_that_stands_still_costs_no_get_and_is_used_again_when_it_goes_on() {
    in_namespaces(
        "deaths::a_process_that_stands_still_costs_no_get_and_is_used_again_when_it_goes_on",
        one_of_three(
            |machine| machine.stop(),
            async |balancer: &Balancer, machines: &mut [Machine]| {
                is_found_out(balancer, machines).await;
                machines[1].go_on();
                machines[1].is_ejected(balancer, false).await;
            },
        ),
    );
}

#[test]
fn a_process_that_stands_still_costs_no_get_when_its_manager_suspects_it() {
    in_namespaces(
        "deaths::a_process_that_stands_still_costs_no_get_when_its_manager_suspects_it",
        one_of_three(|machine| machine.stop(), is_suspected),
    );
}

#[test]
fn a_machine_whose_packets_are_dropped_costs_no_get() {
    in_namespaces(
        "deaths::a_machine_whose_packets_are_dropped_costs_no_get",
        one_of_three(
            |machine| machine.drop_packets(100),
            async |balancer: &Balancer, machines: &mut [Machine]| {
                is_found_out(balancer, machines).await;
                machines[1].let_packets_through();
                machines[1].is_ejected(balancer, false).await;
            },
        ),
    );
}
