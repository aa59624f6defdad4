//! A machine is built anew because somebody asked for it.

use wire::cluster::Phase;

use crate::engine::Command;
use crate::engine::testing::{Kind, World};

#[test]
fn it_is_drained_everywhere_stopped_and_rebuilt_at_its_address() {
    let mut world = World::two_hosts(2);
    let before = world.machine("a-stateless-1").expect("known");
    world.replace(0, "a-stateless-1").expect("it runs");
    while world.hosts[0].builds().is_empty() {
        world.run_ms(1);
    }
    let draining = "192.168.10.11 Draining".to_owned();
    assert!(world.upstreams(0).contains(&draining) && world.upstreams(1).contains(&draining));
    world.run_ms(2_000);
    assert_eq!(
        world.hosts[0].builds(),
        ["stop a-stateless-1", "fence a-stateless-1", "create a-stateless-1 at 192.168.10.11"]
    );
    let after = world.machine("a-stateless-1").expect("known");
    assert!(after.incarnation > before.incarnation && after.phase == Phase::Ready);
    assert_eq!((after.restarts, after.crash_looping), (1, false));
    assert_eq!(world.missing(), Vec::<String>::new());
}

#[test]
fn a_balancer_is_stopped_when_another_holds_the_vip_and_its_successor_has_the_current_set() {
    let mut world = World::two_hosts(2);
    assert_eq!(world.vip_holder(), Some("a-lb".into()));
    world.replace(0, "a-lb").expect("it runs");
    let stopping = |world: &World| world.hosts[0].builds() == ["stop a-lb"];
    while !stopping(&world) {
        world.run_ms(1);
    }
    assert_eq!(world.vip_holder(), Some("b-lb".into()));
    world.kill("b-stateless-1");
    world.run_ms(3_000);
    assert_eq!(world.hosts[0].builds(), ["stop a-lb", "fence a-lb", "create a-lb at 192.168.10.10"]);
    assert_eq!(world.hosts[0].count(|command| matches!(command, Command::Resign { .. })), 0);
    assert_eq!(world.vip_holder(), Some("b-lb".into()));
    assert_eq!(world.upstreams(0), world.upstreams(1));
    assert_eq!(world.missing(), Vec::<String>::new());
}

#[test]
fn a_standby_is_not_asked_to_hand_over() {
    let mut world = World::two_hosts(1);
    world.replace(1, "b-lb").expect("it runs");
    world.run_ms(2_000);
    assert_eq!(world.hosts[1].builds(), ["stop b-lb", "fence b-lb", "create b-lb at 192.168.10.20"]);
    assert_eq!(world.hosts[1].count(|command| matches!(command, Command::HandOver { .. })), 0);
}

#[test]
fn a_balancer_that_nobody_can_take_over_from_is_replaced_all_the_same() {
    let mut world = World::one_host(1);
    world.replace(0, "a-lb").expect("it runs");
    world.run_ms(2_000);
    assert_eq!(world.phase("a-lb"), Phase::Ready);
    assert_eq!(world.hosts[0].count(|command| matches!(command, Command::HandOver { .. })), 1);
}

#[test]
fn for_a_balancer_that_does_not_stop_it_is_said_that_it_let_go() {
    let mut world = World::two_hosts(1);
    world.hosts[0].failing.extend([(Kind::Stop, 1), (Kind::HandOver, 1)]);
    world.replace(0, "a-lb").expect("it runs");
    world.run_ms(2_000);
    assert_eq!(world.hosts[0].count(|command| matches!(command, Command::Resign { .. })), 1);
    assert_eq!(world.missing(), Vec::<String>::new());
}

#[test]
fn one_that_is_being_replaced_can_be_deleted() {
    let mut world = World::one_host(2);
    world.replace(0, "a-stateless-1").expect("it runs");
    world.delete(0, "a-stateless-1").expect("it is there");
    world.run_ms(6_000);
    assert_eq!(world.machine("a-stateless-1"), None);
    assert_eq!(world.hosts[0].builds(), ["stop a-stateless-1", "fence a-stateless-1"]);
}

#[test]
fn one_that_hangs_can_be_replaced() {
    let mut world = World::two_hosts(2);
    world.freeze("a-stateless-1");
    world.until("a-stateless-1", Phase::Suspect);
    world.replace(0, "a-stateless-1").expect("it may run");
    world.run_ms(20_000);
    assert_eq!(world.phase("a-stateless-1"), Phase::Ready);
}

#[test]
fn what_cannot_be_replaced_is_refused_with_the_reason() {
    let mut world = World::one_host(2);
    let refused = |world: &mut World, id: &str| world.replace(0, id).expect_err("must be refused");
    assert_eq!(refused(&mut world, "a-stateless-9").status, 404);
    world.replace(0, "a-stateless-1").expect("it runs");
    let twice = refused(&mut world, "a-stateless-1");
    assert!(twice.status == 409 && twice.detail.contains("already"), "{}", twice.detail);
    world.delete(0, "a-stateless-2").expect("it is there");
    assert_eq!(refused(&mut world, "a-stateless-2").status, 409);
    world.kill("a-lb");
    world.run_ms(2);
    let dead = refused(&mut world, "a-lb");
    assert!(dead.status == 409 && dead.detail.contains("anyway"), "{}", dead.detail);
}
