//! Managers tell each other everything, and nobody loses anything when one of them is silent.

use wire::snapshot::HostSnapshot;

use crate::engine::Command;
use crate::engine::testing::{World, config, host};

fn epoch_of_a_at_b(world: &mut World) -> u64 {
    let now = world.now;
    let hosts = world.engine(1).cluster(now).hosts;
    hosts.iter().find(|host| host.name.as_str() == "a").expect("known").epoch
}

fn tells(world: &World) -> usize {
    world.hosts[0].count(|command| matches!(command, Command::Tell { .. }))
}

#[test]
fn a_lost_peer_empties_nothing() {
    let mut world = World::two_hosts(2);
    let before = world.upstreams(0);
    world.kill_manager(1);
    world.run_ms(60_000);
    assert_eq!(world.upstreams(0), before);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
    assert!(world.missing().contains(&"host b: its manager is not heard".to_owned()));
}

#[test]
fn after_a_cut_both_know_everything_again() {
    let mut world = World::two_hosts(2);
    world.cut = true;
    world.kill("b-stateless-1");
    world.run_ms(10_000);
    world.cut = false;
    world.run_ms(3_000);
    assert_eq!(world.missing(), Vec::<String>::new());
    assert_eq!(world.upstreams(0), world.upstreams(1));
}

#[test]
fn an_unreachable_peer_is_not_told_all_the_time() {
    let mut world = World::two_hosts(2);
    world.cut = true;
    world.run_ms(60_000);
    assert!(tells(&world) < 40, "{}", tells(&world));
}

#[test]
fn a_refused_epoch_is_followed_by_the_next() {
    let mut world = World::two_hosts(1);
    for _ in 0..4 {
        world.kill_manager(0);
        world.start_manager(0);
        world.run_ms(2_000);
    }
    assert_eq!(epoch_of_a_at_b(&mut world), 5);
    world.kill_manager(0);
    world.hosts[0].disk = None;
    world.start_manager(0);
    world.run_ms(3_000);
    assert_eq!(epoch_of_a_at_b(&mut world), 6);
    assert_eq!(world.missing(), Vec::<String>::new());
}

#[test]
fn one_life_that_has_the_epoch_of_another_is_heard_all_the_same() {
    let mut world = World::two_hosts(1);
    for _ in 0..3 {
        world.kill("a-stateless-1");
        world.run_ms(1_000);
    }
    world.kill_manager(0);
    world.hosts[0].disk = None;
    world.forget_history();
    world.start_manager(0);
    world.run_ms(3_000);
    world.kill("a-stateless-1");
    world.run_ms(3_000);
    let pools = |host: usize, lb: &str| world.hosts[host].guests[&lb.into()].set.pools.clone();
    assert_eq!(pools(1, "b-lb"), pools(0, "a-lb"));
    assert_eq!(world.missing(), Vec::<String>::new());
    assert!(tells(&world) < 40, "{} snapshots in 6 s", tells(&world));
}

#[test]
fn two_refusals_of_the_same_epoch_lead_to_one_new_one() {
    let mut a = config(1);
    a.peers.push([192, 168, 10, 3].into());
    let b = host("b", 2, 1, "192.168.10.20-192.168.10.26", "secondary", 1);
    let c = host("c", 3, 1, "192.168.10.30-192.168.10.36", "secondary", 1);
    let mut world = World::of([a, b, c]);
    for _ in 0..4 {
        world.run_ms(2_000);
        world.kill_manager(0);
        world.start_manager(0);
    }
    world.run_ms(2_000);
    world.kill_manager(0);
    world.hosts[0].disk = None;
    world.start_manager(0);
    world.run_ms(3_000);
    assert_eq!(epoch_of_a_at_b(&mut world), 6);
    assert_eq!(world.missing(), Vec::<String>::new());
}

#[test]
fn pools_that_overlap_are_reported_by_both() {
    let b = host("b", 2, 1, "192.168.10.16-192.168.10.26", "secondary", 1);
    let mut world = World::of([config(1), b]);
    world.run_ms(3_000);
    assert!(world.hosts.iter().all(|host| host.said("peer.pool-overlap")));
    let missing = world.missing();
    assert_eq!(missing.iter().filter(|line| line.contains("share 192.168.10.16")).count(), 2);
}

fn snapshot_of_b(world: &mut World) -> HostSnapshot {
    let now = world.now;
    world.engine(1).host_snapshot(now)
}

#[test]
fn only_peers_are_listened_to() {
    let mut world = World::two_hosts(1);
    let (now, snapshot) = (world.now, snapshot_of_b(&mut world));
    let stranger = std::net::IpAddr::from([192, 168, 10, 99]);
    let refusal = world.engine(0).receive(now, stranger, snapshot).expect_err("no peer");
    assert_eq!(refusal.status, 403);
}

#[test]
fn a_peer_with_our_own_name_is_refused() {
    let mut world = World::two_hosts(1);
    let (now, snapshot) = (world.now, snapshot_of_b(&mut world));
    let impostor = HostSnapshot { host: "a".into(), ..snapshot };
    let from = world.hosts[1].config.address;
    let refusal = world.engine(0).receive(now, from, impostor).expect_err("our name");
    assert_eq!((refusal.status, refusal.held), (409, None));
}

#[test]
fn an_older_snapshot_changes_nothing() {
    let mut world = World::two_hosts(1);
    let old = snapshot_of_b(&mut world);
    world.kill("b-stateless-1");
    world.run_ms(1_000);
    let before = world.upstreams(0);
    let (now, from) = (world.now, world.hosts[1].config.address);
    let held = world.engine(0).receive(now, from, old.clone()).expect("not refused");
    assert!(held.version > old.version);
    world.run_ms(100);
    assert_eq!(world.upstreams(0), before);
}
