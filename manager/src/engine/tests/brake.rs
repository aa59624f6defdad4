//! When much seems to be dead at once, it is perhaps this host that is not well.

use wire::cluster::Phase;

use crate::engine::Command;
use crate::engine::testing::World;

#[test]
fn after_a_mass_death_machines_are_rebuilt_one_at_a_time() {
    let mut world = World::one_host(4);
    let all = ["a-lb", "a-stateless-1", "a-stateless-2", "a-stateless-3", "a-stateless-4"];
    for id in all {
        world.kill(id);
    }
    let mut most = 0;
    for _ in 0..2_000 {
        world.run_ms(1);
        most = most.max(all.iter().filter(|id| world.phase(id) == Phase::Booting).count());
    }
    assert!(world.hosts[0].said("host.mass-death"));
    assert_eq!(most, 1);
    assert!(all.iter().all(|id| world.phase(id) == Phase::Ready));
}

#[test]
fn a_machine_that_never_boots_holds_up_the_others_only_for_a_while() {
    let mut world = World::one_host(2);
    world.hosts[0].never_boot.insert("a-lb".into());
    for id in ["a-lb", "a-stateless-1", "a-stateless-2"] {
        world.kill(id);
    }
    world.run_ms(6_000);
    assert_eq!([world.phase("a-stateless-1"), world.phase("a-stateless-2")], [Phase::Ready; 2]);
}

#[test]
fn a_manager_that_stood_still_blames_nobody() {
    let mut world = World::one_host(2);
    world.stall_manager(0, 20_000);
    world.run_ms(30_000);
    assert!(world.hosts[0].said("manager.stalled"));
    assert!(!world.hosts[0].said("machine.suspect"));
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
}

#[test]
fn one_that_died_while_the_manager_stood_still_is_rebuilt() {
    let mut world = World::one_host(2);
    world.stall_manager(0, 5_000);
    world.kill("a-stateless-1");
    world.run_ms(6_000);
    assert_eq!(world.hosts[0].builds(), ["fence a-stateless-1", "create a-stateless-1 at 192.168.10.11"]);
}

#[test]
fn a_suspect_gets_all_its_retries_again() {
    let mut world = World::one_host(2);
    world.freeze("a-stateless-1");
    world.until("a-stateless-1", Phase::Suspect);
    world.run_ms(2_500);
    world.forget_history();
    world.stall_manager(0, 5_000);
    world.until("a-stateless-1", Phase::Dead);
    assert!(world.hosts[0].count(|command| matches!(command, Command::Watch { .. })) >= 4);
}
