//! The host's balancer: what it is given, and what is said for it when it dies.

use std::time::Duration;

use wire::cluster::Phase;
use wire::upstreams::UpstreamSet;

use crate::engine::Command;
use crate::engine::testing::{Kind, World};

#[test]
fn it_learns_of_a_death_and_of_the_replacement() {
    let mut world = World::two_hosts(1);
    world.kill("b-stateless-1");
    world.run_ms(20);
    assert_eq!(world.upstreams(0), ["192.168.10.11 Ready"]);
    world.run_ms(1_000);
    assert_eq!(world.upstreams(0), ["192.168.10.11 Ready", "192.168.10.21 Ready"]);
}

#[test]
fn what_a_push_without_an_answer_may_have_changed_is_told_again() {
    let mut world = World::two_hosts(1);
    // Done each time, but never answered.
    world.hosts[0].failing.insert(Kind::Push, 1_000);
    world.freeze("a-stateless-1");
    world.until("a-stateless-1", Phase::Suspect);
    world.run_ms(300);
    world.thaw("a-stateless-1");
    world.hosts[0].delays.insert(Kind::Push, Duration::from_secs(60));
    world.until("a-stateless-1", Phase::Ready);
    // All is as it was when a push was last answered.
    world.hosts[0].failing.clear();
    world.hosts[0].delays.clear();
    world.run_ms(5_000);
    assert_eq!(world.upstreams(0), ["192.168.10.11 Ready", "192.168.10.21 Ready"]);
}

#[test]
fn after_a_refusal_it_goes_on_above_what_is_held() {
    let mut world = World::two_hosts(1);
    let lb = world.hosts[0].guests.get_mut(&"a-lb".into()).expect("it is there");
    lb.set.generation = 1_000;
    lb.config.generation = 1_000;
    world.kill("b-stateless-1");
    world.run_ms(1_000);
    assert_eq!(world.upstreams(0), ["192.168.10.11 Ready", "192.168.10.21 Ready"]);
    assert!(world.hosts[0].guests[&"a-lb".into()].set.generation > 1_000);
}

#[test]
fn a_rebuilt_one_starts_with_the_current_set() {
    let mut world = World::two_hosts(2);
    let UpstreamSet { generation, pools } = world.hosts[0].guests[&"a-lb".into()].set.clone();
    world.kill("a-lb");
    world.run_ms(15);
    let seed = world.hosts[0].started.iter().find_map(|(_, command)| match command {
        Command::Create(spec) => spec.seed.upstreams.clone(),
        _ => None,
    });
    let seed = seed.expect("it is being rebuilt");
    assert!(seed.generation > generation);
    assert_eq!(seed.pools, pools);
}

#[test]
fn the_wire_is_told_only_of_one_that_may_have_held_the_vip() {
    let mut world = World::two_hosts(1);
    assert_eq!(world.vip_holder(), Some("a-lb".into()));
    let resigned = |world: &World, host: usize| {
        world.hosts[host].count(|command| matches!(command, Command::Resign { .. }))
    };
    world.kill("b-lb");
    world.run_ms(1_000);
    assert_eq!(resigned(&world, 1), 0);
    world.kill("a-lb");
    world.run_ms(1_000);
    assert_eq!(resigned(&world, 0), 1);
    assert_eq!(world.vip_holder(), Some("b-lb".into()));
}

#[test]
fn a_question_to_a_dead_one_does_not_hold_up_its_successor() {
    let mut world = World::two_hosts(1);
    world.hosts[0].delays.insert(Kind::ReadLb, Duration::from_millis(1_900));
    world.run_ms(1_000);
    world.hosts[0].delays.clear();
    world.kill("a-lb");
    world.kill("b-stateless-1");
    world.run_ms(500);
    assert_eq!(world.upstreams(0), ["192.168.10.11 Ready", "192.168.10.21 Ready"]);
}

#[test]
fn a_push_that_fails_is_repeated() {
    let mut world = World::two_hosts(1);
    world.hosts[0].failing.insert(Kind::Push, 3);
    world.kill("a-stateless-1");
    world.run_ms(1_000);
    assert_eq!(world.upstreams(0), ["192.168.10.11 Ready", "192.168.10.21 Ready"]);
}

#[test]
fn waiting_for_its_answer_is_no_reason_to_wake_up() {
    let mut world = World::two_hosts(1);
    world.hosts[0].delays.insert(Kind::ReadLb, Duration::from_millis(1_900));
    // The world refuses a manager that wakes up again and again for nothing.
    world.run_ms(10_000);
}
