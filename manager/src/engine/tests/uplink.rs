//! The cable that leaves the host dies, or nothing comes through it any more.

use crate::config::Config;
use crate::engine::testing::{Kind, World, config, config_of_peer};
use crate::engine::{Command, UplinkReading};

/// Two hosts that know their uplinks, with so many neighbours to ask beyond each.
fn two_hosts(targets: u8) -> World {
    let with_uplink = |config: Config| Config {
        uplink: Some("enp3s0".to_owned()),
        probe_targets: (0..targets).map(|n| [192, 168, 10, 200 + n].into()).collect(),
        ..config
    };
    let mut world = World::of([with_uplink(config(1)), with_uplink(config_of_peer(1))]);
    world.hosts.iter_mut().for_each(|host| host.targets_answer = usize::from(targets));
    let mut received = 0;
    works(&mut world, &mut received, 4_000);
    assert_eq!(world.missing(), Vec::<String>::new());
    world.forget_history();
    world
}

fn link(carrier: bool, received: u64) -> UplinkReading {
    UplinkReading::Link { carrier, received }
}

/// Both uplinks receive something for so many milliseconds.
fn works(world: &mut World, received: &mut u64, ms: u64) {
    for _ in 0..ms / 500 {
        *received += 10;
        world.read_uplink(0, link(true, *received));
        world.read_uplink(1, link(true, *received));
        world.run_ms(500);
    }
}

/// Nothing is received on host a for so many milliseconds, while its carrier stays.
fn is_silent(world: &mut World, received: u64, ms: u64) {
    for _ in 0..ms / 500 {
        world.read_uplink(0, link(true, received));
        world.run_ms(500);
    }
}

fn warnings(world: &World) -> Vec<String> {
    let view = world.hosts[0].engine.as_ref().expect("runs").cluster(world.now);
    view.hosts.into_iter().find(|host| host.name == view.host).expect("itself").warnings
}

#[test]
fn a_dead_cable_is_told_to_the_balancer_at_once_and_its_return_when_it_was_heard() {
    let mut world = two_hosts(0);
    assert_eq!(world.uplink_lost(0), Some(false), "as it was found");
    world.read_uplink(0, link(false, 80));
    world.run_ms(5);
    assert_eq!((world.uplink_lost(0), world.uplink_lost(1)), (Some(true), Some(false)));
    assert!(world.hosts[0].said("host.uplink-lost"));
    assert!(
        warnings(&world).iter().any(|warning| warning.contains("enp3s0: no carrier")),
        "{:?}",
        warnings(&world)
    );

    // The carrier alone is not enough, nor is the first packet.
    world.read_uplink(0, link(true, 80));
    world.run_ms(1_500);
    assert_eq!(world.uplink_lost(0), Some(true));
    world.read_uplink(0, link(true, 81));
    world.run_ms(50);
    assert_eq!(world.uplink_lost(0), Some(false));
    assert!(world.hosts[0].said("host.uplink-back") && warnings(&world).is_empty());
}

#[test]
fn a_carrier_that_comes_and_goes_stays_lost() {
    let mut world = two_hosts(0);
    let mut received = 100;
    for _ in 0..10 {
        world.read_uplink(0, link(false, received));
        world.run_ms(300);
        received += 1;
        world.read_uplink(0, link(true, received));
        world.run_ms(300);
        assert_eq!(world.uplink_lost(0), Some(true));
    }
    let lost = |command: &Command| matches!(command, Command::TellUplink { lost: false, .. });
    assert_eq!(world.hosts[0].count(lost), 0);
}

#[test]
fn silence_counts_only_when_neighbours_were_asked_in_vain() {
    let mut world = two_hosts(1);
    // They answer; that nothing else is received is nobody's fault.
    let mut received = 1_000;
    for _ in 0..20 {
        received += u64::from(world.hosts[0].targets_answer > 0);
        is_silent(&mut world, received, 1_000);
    }
    assert_eq!(world.uplink_lost(0), Some(false));
    world.hosts[0].targets_answer = 0;
    is_silent(&mut world, received, 1_500);
    assert_eq!(world.uplink_lost(0), Some(false), "too early");
    is_silent(&mut world, received, 2_000);
    assert_eq!(world.uplink_lost(0), Some(true));
    assert!(warnings(&world)[0].contains("nothing was received"), "{:?}", warnings(&world));
    works(&mut world, &mut received, 3_000);
    assert_eq!(world.uplink_lost(0), Some(false));
}

#[test]
fn one_silent_neighbour_says_nothing_while_others_are_heard_but_all_of_several_do() {
    for (targets, lost) in [(1, false), (2, true)] {
        let mut world = two_hosts(targets);
        world.hosts[0].targets_answer = 0;
        let mut received = 1_000;
        works(&mut world, &mut received, 6_000);
        assert_eq!(world.uplink_lost(0), Some(lost), "{targets} targets");
        world.hosts[0].targets_answer = 1;
        works(&mut world, &mut received, 5_000);
        assert_eq!(world.uplink_lost(0), Some(false), "one of them is enough");
    }
}

#[test]
fn a_rebuilt_balancer_is_told_anew_and_a_failure_is_repeated_without_haste() {
    let mut world = two_hosts(0);
    world.read_uplink(0, link(false, 80));
    world.run_ms(5);
    world.kill("a-lb");
    world.run_ms(3_000);
    assert_eq!(world.uplink_lost(0), Some(true));

    world.forget_history();
    world.hosts[0].failing.insert(Kind::TellUplink, 1_000);
    world.run_ms(3_000);
    let told = world.hosts[0].count(|command| matches!(command, Command::TellUplink { .. }));
    assert!((2..=4).contains(&told), "{told} times in 3 s");
    assert!(world.hosts[0].said("lb.uplink-untold"));
}

#[test]
fn an_interface_that_never_was_is_a_mistake_and_one_that_goes_is_a_loss() {
    let mut world = two_hosts(0);
    world.read_uplink(0, UplinkReading::Missing);
    world.run_ms(5);
    assert_eq!(world.uplink_lost(0), Some(true));

    let mut world = World::of([Config { uplink: Some("eno1".to_owned()), ..config(1) }]);
    world.read_uplink(0, UplinkReading::Missing);
    world.run_ms(3_000);
    assert!(world.hosts[0].said("host.uplink-unknown"));
    assert_eq!(world.uplink_lost(0), None, "nothing is known, nothing is told");
    assert!(warnings(&world)[0].contains("correct `uplink`"), "{:?}", warnings(&world));
}

#[test]
fn without_an_uplink_nothing_is_asked_or_told() {
    let mut world = World::two_hosts(1);
    world.run_ms(5_000);
    let about = |command: &Command| matches!(command, Command::TellUplink { .. } | Command::AskTargets(_));
    assert_eq!(world.hosts[0].count(about), 0);
}
