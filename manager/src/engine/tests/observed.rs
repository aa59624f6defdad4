//! What whoever watches is told: where everything is, how long starts took, and how much of the pool is left.

use wire::cluster::Phase;

use crate::engine::testing::World;
use crate::engine::{Addresses, Start};

/// Address, host and machine of each target that a host's manager names.
fn targets(world: &mut World, host: usize) -> Vec<String> {
    let now = world.now;
    let targets = world.engine(host).targets(now);
    targets
        .into_iter()
        .map(|target| {
            let machine = target.machine.map(|(machine, service)| format!(" {machine} {service}"));
            format!("{} {}{}", target.at, target.host, machine.unwrap_or_default())
        })
        .collect()
}

fn starts(world: &World) -> Vec<Start> {
    world.hosts[0].notices.iter().filter_map(|notice| notice.start.clone()).collect()
}

#[test]
fn both_managers_name_the_same_whatever_died() {
    let mut world = World::two_hosts(1);
    let before = targets(&mut world, 0);
    assert_eq!(before.len(), 6, "{before:?}");
    assert!(before.iter().any(|target| target.ends_with(" b b-stateless-1 stateless")), "{before:?}");
    assert_eq!(targets(&mut world, 1), before);
    world.kill("b-stateless-1");
    world.until("b-stateless-1", Phase::Dead);
    assert_eq!(targets(&mut world, 0), before);
    assert_eq!(targets(&mut world, 1), before);
}

#[test]
fn a_host_that_is_gone_is_named_on() {
    let mut world = World::two_hosts(2);
    let before = targets(&mut world, 0);
    world.kill_manager(1);
    world.run_ms(60_000);
    assert_eq!(targets(&mut world, 0), before);
}

#[test]
fn a_manager_that_was_never_heard_is_named_by_its_address() {
    let mut world = World::two_hosts(1);
    world.cut = true;
    world.kill_manager(0);
    world.start_manager(0);
    world.run_ms(5_000);
    let named = targets(&mut world, 0);
    let peer: Vec<&String> = named.iter().filter(|target| target.split(' ').count() == 2).collect();
    assert_eq!(peer.len(), 2, "{named:?}");
    let unheard = peer.iter().find(|target| !target.ends_with(" a")).expect("the peer");
    let (at, host) = unheard.split_once(' ').expect("two words");
    assert!(at.starts_with(&format!("{host}:")), "{unheard}");
}

#[test]
fn a_first_start_has_a_length_and_a_replacement_two() {
    let mut world = World::one_host(1);
    world.create(0, "stateless").expect("there is room");
    world.run_ms(5_000);
    let [first] = starts(&world).try_into().expect("one start");
    assert!(first.down.is_none() && !first.boot.is_zero(), "{first:?}");
    world.forget_history();
    world.kill("a-stateless-1");
    world.run_ms(5_000);
    let [start] = starts(&world).try_into().expect("one start");
    assert_eq!(start.service.as_str(), "stateless");
    assert!(start.down.expect("it had died") >= start.boot, "{start:?}");
}

#[test]
fn what_was_silent_and_is_heard_again_did_not_start() {
    let mut world = World::one_host(1);
    world.forget_history();
    world.freeze("a-stateless-1");
    world.until("a-stateless-1", Phase::Suspect);
    world.thaw("a-stateless-1");
    world.until("a-stateless-1", Phase::Ready);
    assert_eq!(starts(&world), []);
}

#[test]
fn the_addresses_of_the_pool_are_all_counted() {
    let mut world = World::one_host(2);
    let listed = world.engine(0).addresses().len();
    let count = |world: &mut World| world.engine(0).figures().addresses;
    let Addresses { free, used, unfenced, foreign } = count(&mut world);
    assert_eq!((used, unfenced, foreign), (3, 0, 0));
    assert_eq!(free + used, listed);
    world.create(0, "stateless").expect("there is room");
    world.run_ms(5_000);
    assert_eq!(count(&mut world), Addresses { free: free - 1, used: 4, unfenced, foreign });
}
