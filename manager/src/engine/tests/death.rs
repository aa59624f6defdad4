//! A machine dies and is rebuilt at the same address.

use wire::cluster::Phase;

use crate::engine::testing::{Kind, World, config};
use crate::engine::{Command, Event, Outcome};

const REBUILT: [&str; 2] = ["fence a-stateless-1", "create a-stateless-1 at 192.168.10.11"];

#[test]
fn an_exit_is_answered_at_once() {
    let mut world = World::one_host(2);
    world.kill("a-stateless-1");
    world.run_ms(10);
    assert_eq!(world.hosts[0].builds(), REBUILT);
}

#[test]
fn silence_counts_after_four_retries() {
    let mut world = World::one_host(2);
    world.freeze("a-stateless-1");
    let suspected = world.until("a-stateless-1", Phase::Suspect);
    let dead = world.until("a-stateless-1", Phase::Dead);
    let asked = world.hosts[0].count(|command| matches!(command, Command::Watch { .. }));
    // 800 ms of silence, of which up to 250 passed before; waits of 100, 200, 400 and 800 ms, each
    // followed by 400 ms of listening.
    assert!((550..=801).contains(&suspected), "{suspected}");
    assert!((3_100..=3_110).contains(&dead), "{dead}");
    assert_eq!(asked, 4);
}

#[test]
fn a_frozen_machine_is_fenced_before_it_is_rebuilt() {
    let mut world = World::one_host(2);
    world.freeze("a-stateless-1");
    world.until("a-stateless-1", Phase::Dead);
    world.until("a-stateless-1", Phase::Ready);
    assert_eq!(world.hosts[0].builds(), REBUILT);
}

#[test]
fn one_that_thaws_during_the_retries_lives_on() {
    let mut world = World::one_host(2);
    world.freeze("a-stateless-1");
    world.run_ms(2_500);
    world.thaw("a-stateless-1");
    world.run_ms(10_000);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
    assert_eq!(world.phase("a-stateless-1"), Phase::Ready);
}

#[test]
fn an_exit_that_nobody_told_is_found_in_the_list() {
    let mut world = World::one_host(2);
    world.hosts[0].exits_are_lost = true;
    world.kill("a-stateless-1");
    world.run_ms(2_100);
    assert_eq!(world.hosts[0].builds(), REBUILT);
}

#[test]
fn a_boot_that_never_ends_is_begun_anew() {
    let mut world = World::one_host(2);
    world.hosts[0].never_boot.insert("a-stateless-1".into());
    world.kill("a-stateless-1");
    world.run_ms(14_000);
    assert_eq!(world.hosts[0].builds(), REBUILT);
    world.run_ms(1_500);
    assert_eq!(world.hosts[0].builds(), [REBUILT, REBUILT].concat());
}

#[test]
fn a_creation_that_fails_is_cleared_away_and_tried_again() {
    let mut world = World::one_host(2);
    world.hosts[0].failing.insert(Kind::Create, 1);
    world.kill("a-stateless-1");
    world.run_ms(500);
    assert_eq!(world.hosts[0].builds(), [REBUILT, REBUILT].concat());
    assert_eq!(world.phase("a-stateless-1"), Phase::Ready);
}

#[test]
fn a_creation_without_end_is_not_begun_twice() {
    let mut world = World::one_host(2);
    world.hosts[0].delays.insert(Kind::Create, std::time::Duration::from_secs(20));
    world.kill("a-stateless-1");
    world.run_ms(19_000);
    // It is given up after the time a machine has to start, but fenced only when its creation ended.
    assert_eq!(world.hosts[0].builds(), REBUILT);
    world.hosts[0].delays.clear();
    world.run_ms(3_000);
    assert_eq!(world.phase("a-stateless-1"), Phase::Ready);
}

#[test]
fn late_and_repeated_events_change_nothing() {
    let mut world = World::one_host(2);
    let before = world.machine("a-stateless-1").expect("known").incarnation;
    world.kill("a-stateless-1");
    world.run_ms(1_000);
    world.forget_history();
    for incarnation in [0, before, before, before + 100] {
        let machine = "a-stateless-1".into();
        world.observe(0, Event::Exited { machine, incarnation, reason: "late".to_owned() });
        world.observe(0, Event::Beat { machine: "a-stateless-1".into(), incarnation });
    }
    for id in 0..200 {
        world.observe(0, Event::Finished { id: id / 2, outcome: Outcome::Failed("late".to_owned()) });
    }
    world.observe(0, Event::Exited { machine: "x".into(), incarnation: 1, reason: "unknown".to_owned() });
    world.run_ms(1_000);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
    assert_eq!(world.phase("a-stateless-1"), Phase::Ready);
}

#[test]
fn a_list_from_before_a_machine_was_created_does_not_make_it_dead() {
    for offset in 0..40 {
        let mut world = World::of([config(2)]);
        world.hosts[0].delays.insert(Kind::List, std::time::Duration::from_millis(60));
        world.run_ms(4_000);
        world.forget_history();
        while world.hosts[0].count(|command| matches!(command, Command::List)) == 0 {
            world.run_ms(1);
        }
        world.run_ms(2_020 + offset);
        world.kill("a-stateless-1");
        world.run_ms(3_000);
        assert_eq!(world.hosts[0].builds(), REBUILT, "killed {offset} ms after a list");
    }
}
