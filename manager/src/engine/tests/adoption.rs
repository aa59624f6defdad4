//! A manager that starts again finds its machines and leaves them alone.

use wire::cluster::Phase;

use crate::engine::Command;
use crate::engine::testing::{Kind, World};

fn restart(world: &mut World, away_ms: u64) {
    world.kill_manager(0);
    world.run_ms(away_ms);
    world.forget_history();
    world.start_manager(0);
}

#[test]
fn nothing_is_restarted() {
    let mut world = World::two_hosts(2);
    restart(&mut world, 500);
    world.run_ms(10_000);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
    assert_eq!(world.missing(), Vec::<String>::new());
}

/// Spares may outlive a manager, and its successor may want none any more.
#[test]
fn spares_that_nobody_wants_are_seen_to_once() {
    let mut world = World::two_hosts(2);
    restart(&mut world, 500);
    world.run_ms(60_000);
    let asked =
        world.hosts[0].count(|command| matches!(command, Command::KeepSpares(wanted) if wanted.is_empty()));
    assert_eq!(asked, 1);
}

#[test]
fn no_balancer_ever_has_a_poorer_set() {
    let mut world = World::two_hosts(2);
    let before = world.upstreams(0);
    restart(&mut world, 5_000);
    for _ in 0..3_000 {
        world.run_ms(1);
        assert_eq!([world.upstreams(0), world.upstreams(1)], [before.clone(), before.clone()]);
    }
}

#[test]
fn what_the_balancer_knows_of_an_absent_host_stays() {
    let mut world = World::two_hosts(2);
    let before = world.upstreams(0);
    world.kill_manager(1);
    restart(&mut world, 500);
    world.run_ms(10_000);
    assert_eq!(world.upstreams(0), before);
}

#[test]
fn so_it_does_when_the_balancer_answers_late() {
    let mut world = World::two_hosts(2);
    let before = world.upstreams(0);
    world.kill_manager(1);
    world.hosts[0].failing.insert(Kind::ReadLb, 40);
    restart(&mut world, 500);
    world.run_ms(10_000);
    assert_eq!(world.upstreams(0), before);
}

#[test]
fn one_that_died_meanwhile_is_rebuilt_at_the_same_address() {
    let mut world = World::two_hosts(2);
    world.kill_manager(0);
    world.kill("a-stateless-1");
    world.run_ms(500);
    restart(&mut world, 0);
    world.run_ms(1_000);
    assert_eq!(world.hosts[0].builds(), ["fence a-stateless-1", "create a-stateless-1 at 192.168.10.11"]);
    assert_eq!(world.phase("a-stateless-1"), Phase::Ready);
}

#[test]
fn one_that_froze_meanwhile_gets_its_retries() {
    let mut world = World::two_hosts(2);
    world.kill_manager(0);
    world.freeze("a-stateless-1");
    restart(&mut world, 500);
    world.run_ms(1_000);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
    world.run_ms(4_000);
    assert_eq!(world.phase("a-stateless-1"), Phase::Ready);
}

#[test]
fn a_host_that_lost_power_gets_all_its_machines_back() {
    let mut world = World::two_hosts(2);
    world.kill_manager(0);
    world.hosts[0].guests.clear();
    restart(&mut world, 3_000);
    world.run_ms(3_000);
    assert_eq!(world.missing(), Vec::<String>::new());
}

#[test]
fn without_its_disk_it_still_adopts_and_counts_on() {
    let mut world = World::two_hosts(2);
    world.hosts[0].disk = None;
    restart(&mut world, 500);
    world.run_ms(3_000);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
    // The world checks that no incarnation is used twice.
    world.kill("a-stateless-1");
    world.run_ms(1_000);
    assert_eq!(world.missing(), Vec::<String>::new());
}

#[test]
fn without_its_disk_it_keeps_what_people_had_asked_for() {
    let mut world = World::two_hosts(2);
    world.create(0, "stateless").expect("there is room");
    world.create(0, "stateless").expect("there is room");
    world.run_ms(3_000);
    world.delete(0, "a-stateless-1").expect("there");
    world.run_ms(20_000);
    assert_eq!(world.missing(), Vec::<String>::new());
    let before = world.upstreams(0);
    world.hosts[0].disk = None;
    restart(&mut world, 500);
    world.run_ms(20_000);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new(), "nothing healthy is touched");
    assert_eq!(world.upstreams(0), before);
    // One of them dies: it is at home where it was.
    let address = world.machine("a-stateless-4").expect("known").address;
    world.kill("a-stateless-4");
    world.run_ms(3_000);
    assert_eq!(world.machine("a-stateless-4").expect("known").address, address);
    assert_eq!(world.missing(), Vec::<String>::new());
}

#[test]
fn incarnations_go_on_above_those_of_earlier_lives() {
    let mut world = World::one_host(1);
    for _ in 0..5 {
        world.kill("a-stateless-1");
        world.run_ms(15);
        restart(&mut world, 10);
        world.run_ms(3_000);
    }
    let created = world.machine("a-stateless-1").expect("known").incarnation;
    assert!(created > 4_000, "each life reserves its own thousand: {created}");
}

#[test]
fn what_nobody_wants_any_more_is_drained_and_taken_away() {
    let mut world = World::one_host(3);
    world.kill_manager(0);
    world.forget_history();
    world.start_manager_with(0, super::super::testing::config(2));
    world.run_ms(5_000);
    assert_eq!(world.hosts[0].builds(), ["stop a-stateless-3", "fence a-stateless-3"]);
    assert_eq!(world.upstreams(0).len(), 2);
    assert_eq!(world.hosts[0].count(|command| matches!(command, Command::Create(_))), 0);
}
