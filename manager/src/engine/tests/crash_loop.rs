//! A machine that keeps dying is rebuilt with growing pauses; one that dies now and then is not.

use wire::cluster::Phase;

use crate::engine::Command;
use crate::engine::testing::World;

fn creations(world: &World) -> usize {
    world.hosts[0].count(|command| matches!(command, Command::Create(_)))
}

fn looping() -> World {
    let mut world = World::one_host(4);
    world.hosts[0].crash_on_start.insert("a-stateless-1".into());
    world.kill("a-stateless-1");
    world
}

#[test]
fn the_pauses_grow() {
    let mut world = looping();
    let mut built = Vec::new();
    for _ in 0..4 {
        world.run_ms(10_000);
        built.push(creations(&world));
    }
    // At once twice, then after pauses of 0.5, 1, 2, 4, 8 and 16 seconds.
    assert_eq!(built, [6, 7, 7, 8]);
    assert!(world.machine("a-stateless-1").expect("known").crash_looping);
}

#[test]
fn it_is_one_dead_machine_and_no_mass_death() {
    let mut world = looping();
    world.run_ms(30_000);
    assert!(!world.hosts[0].said("host.mass-death"));
}

#[test]
fn once_it_lives_all_is_forgotten() {
    let mut world = looping();
    world.run_ms(10_000);
    world.hosts[0].crash_on_start.clear();
    world.until("a-stateless-1", Phase::Ready);
    world.run_ms(31_000);
    assert!(!world.machine("a-stateless-1").expect("known").crash_looping);
}

#[test]
fn a_death_by_silence_after_a_healthy_life_is_the_first() {
    let mut world = World::one_host(2);
    for _ in 0..5 {
        world.run_ms(40_000);
        world.freeze("a-stateless-1");
        world.until("a-stateless-1", Phase::Dead);
        assert!(world.until("a-stateless-1", Phase::Ready) < 1_000);
    }
}
