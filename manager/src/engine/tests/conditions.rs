//! What stands in a machine's way is shown until its heartbeats arrive, and is tried again.

use wire::cluster::{Condition, Phase};

use crate::engine::testing::World;

fn condition(world: &World) -> Option<Condition> {
    world.machine("a-stateless-1").expect("known").condition
}

/// A host on which nothing can be created, for `condition`, and where a machine was killed.
fn prevented_by(condition: Condition) -> World {
    let mut world = World::one_host(4);
    world.hosts[0].prevented_by = Some(condition);
    world.kill("a-stateless-1");
    world
}

#[test]
fn a_machine_is_built_as_soon_as_the_hypervisor_is_back() {
    let mut world = prevented_by(Condition::HypervisorDown);
    world.run_ms(120_000);
    assert_eq!(condition(&world), Some(Condition::HypervisorDown));
    let shown = world.machine("a-stateless-1").expect("known");
    assert!(!shown.crash_looping, "it is not the machine's fault");
    assert!(shown.reason.contains("as the test wants"), "{}", shown.reason);
    assert_eq!(world.phase("a-stateless-2"), Phase::Ready);

    world.hosts[0].prevented_by = None;
    assert!(world.until("a-stateless-1", Phase::Ready) < 2_000);
    assert_eq!(condition(&world), None);
}

#[test]
fn what_the_host_lacks_is_asked_for_with_growing_pauses() {
    let mut world = prevented_by(Condition::MissingImage);
    world.run_ms(120_000);
    let shown = world.machine("a-stateless-1").expect("known");
    assert_eq!(shown.condition, Some(Condition::MissingImage));
    assert!(shown.crash_looping);
    assert!((5..=12).contains(&shown.restarts), "{} tries in two minutes", shown.restarts);
    assert_eq!(world.phase("a-stateless-2"), Phase::Ready);

    world.hosts[0].prevented_by = None;
    world.run_ms(61_000);
    assert_eq!((world.phase("a-stateless-1"), condition(&world)), (Phase::Ready, None));
}

#[test]
fn a_guest_that_gives_no_sign_is_told_from_one_whose_service_is_silent() {
    let mut world = World::one_host(2);
    world.hosts[0].never_boot.insert("a-stateless-1".into());
    world.kill("a-stateless-1");
    world.run_ms(17_000);
    assert_eq!(condition(&world), Some(Condition::NeverBooted));

    let mut world = World::one_host(2);
    world.hosts[0].mute.insert("a-stateless-1".into());
    world.kill("a-stateless-1");
    world.run_ms(17_000);
    assert_eq!(condition(&world), Some(Condition::NotAnswering));
}
