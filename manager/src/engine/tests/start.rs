//! A manager starts on a host that has nothing.

use crate::engine::Command;
use crate::engine::testing::{Kind, World, config};

#[test]
fn every_machine_is_built_at_its_own_address() {
    let mut world = World::of([config(2)]);
    world.run_ms(1_000);
    assert_eq!(
        world.hosts[0].builds(),
        [
            "create a-lb at 192.168.10.10",
            "create a-stateless-1 at 192.168.10.11",
            "create a-stateless-2 at 192.168.10.12",
        ]
    );
}

#[test]
fn two_hosts_become_one_cluster() {
    let world = World::two_hosts(2);
    let all: Vec<String> = [11, 12, 21, 22].iter().map(|host| format!("192.168.10.{host} Ready")).collect();
    assert_eq!([world.upstreams(0), world.upstreams(1)], [all.clone(), all]);
}

#[test]
fn no_incarnation_is_used_before_the_reservation_is_stored() {
    let mut world = World::of([config(1)]);
    world.hosts[0].failing.insert(Kind::Save, 5);
    world.run_ms(4_900);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
    world.run_ms(1_000);
    assert_eq!(world.hosts[0].builds().len(), 2);
}

#[test]
fn nothing_is_changed_before_the_hypervisor_was_heard() {
    let mut world = World::of([config(1)]);
    world.hosts[0].failing.insert(Kind::List, 20);
    world.run_ms(3_000);
    assert_eq!(world.hosts[0].count(|command| !matches!(command, Command::List | Command::Save(_))), 0);
}

#[test]
fn a_quiet_host_does_little() {
    let mut world = World::two_hosts(2);
    world.run_ms(10_000);
    let host = &world.hosts[0];
    assert_eq!(host.builds(), Vec::<String>::new());
    assert_eq!(host.count(|command| matches!(command, Command::Push { .. })), 0);
    let tells = host.count(|command| matches!(command, Command::Tell { .. }));
    assert!((15..=25).contains(&tells), "{tells} snapshots in 10 s");
}
