//! People ask for machines more and less.

use std::time::Duration;

use wire::cluster::Phase;

use crate::engine::testing::{Kind, World, config};

#[test]
fn a_deleted_machine_is_drained_everywhere_before_it_is_stopped() {
    let mut world = World::two_hosts(2);
    world.delete(0, "a-stateless-1").expect("it is there");
    while world.hosts[0].builds().is_empty() {
        world.run_ms(1);
    }
    let draining = "192.168.10.11 Draining".to_owned();
    assert!(world.upstreams(0).contains(&draining) && world.upstreams(1).contains(&draining));
    world.run_ms(1_000);
    assert_eq!(world.hosts[0].builds(), ["stop a-stateless-1", "fence a-stateless-1"]);
    assert_eq!(world.machine("a-stateless-1"), None);
}

#[test]
fn it_waits_until_the_peers_balancer_has_applied_it() {
    let mut world = World::two_hosts(2);
    world.hosts[1].delays.insert(Kind::Push, Duration::from_millis(1_000));
    world.delete(0, "a-stateless-1").expect("it is there");
    world.run_ms(950);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
    world.run_ms(150);
    assert_eq!(world.hosts[0].builds(), ["stop a-stateless-1"]);
}

#[test]
fn it_waits_for_a_balancer_that_only_seems_to_be_away() {
    let mut world = World::two_hosts(2);
    world.freeze("b-lb");
    world.until("b-lb", Phase::Suspect);
    world.delete(0, "a-stateless-1").expect("it is there");
    world.run_ms(1_000);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
}

#[test]
fn that_holds_for_the_hosts_own_balancer_too() {
    let mut world = World::one_host(2);
    world.freeze("a-lb");
    world.until("a-lb", Phase::Suspect);
    world.delete(0, "a-stateless-1").expect("it is there");
    world.run_ms(1_000);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
}

#[test]
fn it_does_not_wait_for_ever() {
    let mut world = World::two_hosts(2);
    world.hosts[1].failing.insert(Kind::Push, 1_000);
    world.delete(0, "a-stateless-1").expect("it is there");
    world.run_ms(4_000);
    assert_eq!(world.machine("a-stateless-1"), None);
}

#[test]
fn one_that_is_just_being_made_can_be_deleted() {
    let mut world = World::of([config(2)]);
    world.hosts[0].delays.insert(Kind::Create, Duration::from_secs(10));
    world.run_ms(500);
    assert_eq!(world.phase("a-stateless-1"), Phase::Booting);
    world.delete(0, "a-stateless-1").expect("it is there");
    world.run_ms(15_000);
    assert_eq!(world.machine("a-stateless-1"), None);
}

#[test]
fn one_deleted_before_the_hypervisor_was_asked_is_taken_away() {
    let mut world = World::one_host(2);
    world.kill_manager(0);
    world.start_manager(0);
    world.delete(0, "a-stateless-1").expect("it is there");
    world.run_ms(6_000);
    assert_eq!(world.machine("a-stateless-1"), None);
    assert_eq!(world.hosts[0].builds(), ["stop a-stateless-1", "fence a-stateless-1"]);
}

#[test]
fn a_deletion_outlives_the_manager() {
    let mut world = World::one_host(2);
    world.delete(0, "a-stateless-1").expect("it is there");
    world.run_ms(50);
    world.kill_manager(0);
    world.start_manager(0);
    world.run_ms(10_000);
    assert_eq!(world.machine("a-stateless-1"), None);
}

#[test]
fn more_can_be_had_until_the_pool_is_used_up() {
    let mut world = World::one_host(2);
    let mut got = Vec::new();
    let refusal = loop {
        match world.create(0, "stateless") {
            Ok(slot) => got.push(slot.address.to_string()),
            Err(problem) => break problem,
        }
    };
    assert_eq!(got, ["192.168.10.13", "192.168.10.14", "192.168.10.15", "192.168.10.16"]);
    assert_eq!((refusal.status, refusal.detail.contains("all 7 addresses")), (409, true));
    world.run_ms(1_000);
    assert_eq!(world.phase("a-stateless-6"), Phase::Ready);
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    let mut world = World::one_host(2);
    let unknown = world.create(0, "mail").expect_err("unknown");
    assert_eq!((unknown.status, unknown.parameter.as_deref()), (404, Some("service")));
    assert!(unknown.detail.contains("there is: stateless"), "{}", unknown.detail);
    assert_eq!(world.delete(0, "a-stateless-9").expect_err("unknown").status, 404);
    assert_eq!(world.delete(0, "a-lb").expect_err("the balancer").status, 409);
    world.delete(0, "a-stateless-1").expect("it is there");
    assert_eq!(world.delete(0, "a-stateless-1").expect_err("twice").status, 409);
}
