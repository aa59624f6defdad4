//! Somebody else has an address of the pool.

use wire::cluster::{AddressState, AddressView, Phase};

use crate::address_pool::{mac_of, mac_text};
use crate::engine::Command;
use crate::engine::testing::{Kind, STRANGER, World, config};

fn address(world: &mut World, address: &str) -> AddressView {
    let all = world.engine(0).addresses();
    all.into_iter().find(|view| view.address.to_string() == address).expect("in the pool")
}

/// A host that starts for the first time where strangers have `addresses`.
fn among_strangers(replicas: u32, addresses: &[&str]) -> World {
    let mut world = World::of([config(replicas)]);
    for address in addresses {
        world.add_stranger(0, address);
    }
    world
}

#[test]
fn all_are_asked_for_at_once_and_no_machine_is_made_before_the_answer() {
    let mut world = World::of([config(3)]);
    world.run_ms(100);
    for address in ["192.168.10.10", "192.168.10.11", "192.168.10.12", "192.168.10.13"] {
        assert_eq!(world.hosts[0].probes(address), 1);
    }
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
    world.run_ms(300);
    assert_eq!(world.hosts[0].builds().len(), 4);
}

#[test]
fn a_taken_address_is_skipped_and_reported() {
    let mut world = among_strangers(2, &["192.168.10.11", "192.168.10.13"]);
    world.run_ms(3_000);
    // .12 is the other machine's, .13 is taken too.
    assert_eq!(world.machine("a-stateless-1").expect("known").address.to_string(), "192.168.10.14");
    assert_eq!(world.machine("a-stateless-2").expect("known").address.to_string(), "192.168.10.12");
    assert_eq!(world.phase("a-stateless-1"), Phase::Ready);
    for taken in ["192.168.10.11", "192.168.10.13"] {
        let view = address(&mut world, taken);
        assert_eq!((view.state, view.machine), (AddressState::Foreign, None));
        assert_eq!(view.mac, Some(mac_text(STRANGER)));
    }
    assert_eq!(address(&mut world, "192.168.10.14").state, AddressState::Used);
    assert!(world.hosts[0].said("address.conflict") && world.hosts[0].said("machine.relocated"));
}

#[test]
fn it_is_a_warning_on_every_host_and_nothing_is_missing() {
    let mut world = World::two_hosts(2);
    world.add_stranger(0, "192.168.10.13");
    assert_eq!(world.create(0, "stateless").expect("room").address.to_string(), "192.168.10.13");
    world.run_ms(3_000);
    assert_eq!(world.machine("a-stateless-3").expect("known").address.to_string(), "192.168.10.14");
    let now = world.now;
    for host in 0..2 {
        let view = world.engine(host).cluster(now);
        assert!(view.whole, "{:?}", view.missing);
        let warnings = &view.hosts[0].warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("192.168.10.13"), "{warnings:?}");
        assert!(warnings[0].contains(&mac_text(STRANGER)), "{warnings:?}");
        assert_eq!(view.hosts[1].warnings, Vec::<String>::new());
    }
}

#[test]
fn the_balancer_moves_too_and_stays_there() {
    let mut world = among_strangers(1, &["192.168.10.10"]);
    world.run_ms(3_000);
    assert_eq!(world.machine("a-lb").expect("known").address.to_string(), "192.168.10.12");
    world.kill_manager(0);
    world.hosts[0].guests.clear();
    world.hosts[0].strangers.clear();
    world.start_manager(0);
    world.run_ms(3_000);
    assert_eq!(world.machine("a-lb").expect("known").address.to_string(), "192.168.10.12");
    assert_eq!(world.missing().len(), 1, "only the absent peer: {:?}", world.missing());
}

#[test]
fn our_own_machines_are_never_asked_for() {
    let mut world = World::one_host(2);
    world.kill("a-stateless-1");
    world.run_ms(1_000);
    world.kill_manager(0);
    world.start_manager(0);
    world.run_ms(3_000);
    // A power cut.
    world.kill_manager(0);
    world.hosts[0].guests.clear();
    world.start_manager(0);
    world.run_ms(3_000);
    assert_eq!(world.phase("a-stateless-1"), Phase::Ready);
    // Even where nothing is remembered but what runs.
    world.kill_manager(0);
    world.hosts[0].disk = None;
    world.start_manager(0);
    world.run_ms(3_000);
    world.kill("a-lb");
    world.run_ms(1_000);
    assert_eq!(world.phase("a-lb"), Phase::Ready);
    assert_eq!(world.hosts[0].count(|command| matches!(command, Command::Probe(_))), 0);
}

#[test]
fn an_address_that_was_given_back_is_asked_for_again() {
    let mut world = World::one_host(2);
    world.delete(0, "a-stateless-1").expect("it is there");
    world.run_ms(5_000);
    world.add_stranger(0, "192.168.10.11");
    world.create(0, "stateless").expect("room");
    world.run_ms(3_000);
    assert_eq!(world.machine("a-stateless-1").expect("known").address.to_string(), "192.168.10.13");
}

#[test]
fn what_the_stranger_leaves_is_free_again() {
    let mut world = among_strangers(1, &["192.168.10.11"]);
    world.run_ms(50_000);
    assert_eq!(world.hosts[0].probes("192.168.10.11"), 1);
    world.run_ms(75_000);
    assert_eq!(world.hosts[0].probes("192.168.10.11"), 3);
    let told = world.hosts[0].notices.iter().filter(|notice| notice.kind == "address.conflict").count();
    assert_eq!(told, 1, "it is said once");
    world.hosts[0].strangers.clear();
    world.run_ms(61_000);
    assert_eq!(address(&mut world, "192.168.10.11").state, AddressState::Free);
    assert!(world.hosts[0].said("address.free"));
    // A machine does not move back, and nobody is asked about it any more.
    assert_eq!(world.machine("a-stateless-1").expect("known").address.to_string(), "192.168.10.12");
    world.run_ms(120_000);
    assert_eq!(world.hosts[0].probes("192.168.10.11"), 4);
}

#[test]
fn without_any_address_a_machine_waits_and_says_so() {
    let all = ["192.168.10.12", "192.168.10.13", "192.168.10.14", "192.168.10.15", "192.168.10.16"];
    let mut world = among_strangers(2, &all);
    world.run_ms(10_000);
    assert_eq!([world.phase("a-lb"), world.phase("a-stateless-1")], [Phase::Ready; 2]);
    let waiting = world.machine("a-stateless-2").expect("known");
    assert_eq!(waiting.phase, Phase::Booting);
    assert!(waiting.reason.contains("waits for an address"), "{}", waiting.reason);
    assert!(world.missing().iter().any(|reason| reason.contains("waits for an address")));
    let refusal = world.create(0, "stateless").expect_err("nothing is left");
    assert!(refusal.detail.contains("5 of them by somebody else"), "{}", refusal.detail);
    // One more becomes free: not the one it wanted at first.
    world.delete(0, "a-stateless-1").expect("it is there");
    world.run_ms(6_000);
    let placed = world.machine("a-stateless-2").expect("known");
    assert_eq!((placed.phase, placed.address.to_string().as_str()), (Phase::Ready, "192.168.10.11"));
}

#[test]
fn a_waiting_machine_gets_what_a_stranger_leaves() {
    let all = ["192.168.10.12", "192.168.10.13", "192.168.10.14", "192.168.10.15", "192.168.10.16"];
    let mut world = among_strangers(2, &all);
    world.run_ms(10_000);
    world.hosts[0].strangers.clear();
    world.run_ms(61_000);
    assert_eq!(world.phase("a-stateless-2"), Phase::Ready);
}

#[test]
fn what_cannot_be_found_out_holds_nobody_up() {
    let mut world = World::of([config(2)]);
    world.hosts[0].failing.insert(Kind::Probe, 100);
    world.run_ms(1_000);
    assert_eq!([world.phase("a-lb"), world.phase("a-stateless-1")], [Phase::Ready; 2]);
    assert!(world.hosts[0].said("address.unprobed"));
}

#[test]
fn a_machine_of_ours_that_nobody_knows_is_named_as_such() {
    let mut world = World::of([config(1)]);
    let taken = [192, 168, 10, 11].into();
    world.hosts[0].strangers.insert(taken, mac_of(taken));
    world.run_ms(3_000);
    let now = world.now;
    let view = world.engine(0).cluster(now);
    let own = view.hosts.iter().find(|host| host.name == view.host).expect("the host that answers");
    assert!(own.warnings[0].contains("looks like a machine of Holdfast"), "{:?}", own.warnings);
    assert_eq!(world.machine("a-stateless-1").expect("known").address.to_string(), "192.168.10.12");
}

#[test]
fn a_machine_deleted_while_its_address_is_asked_for_is_not_made() {
    let mut world = World::one_host(1);
    world.create(0, "stateless").expect("room");
    world.run_ms(100);
    world.delete(0, "a-stateless-2").expect("it is there");
    world.run_ms(3_000);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
    assert_eq!(address(&mut world, "192.168.10.12").state, AddressState::Free);
}
