//! Hosts that gossip about who lives: all that is promised of hosts that ask each other holds of them too.
//!
//! Two or three hosts that gossip meet every fault there is. More of them learn of each other from one, and find out who is
//! lost and who cannot be reached only by some.

use std::time::Duration;

use super::network::Link;
use super::placed::hosts_come_and_go;
use super::run::{config, run};
use super::world::{Options, World};

/// So many seeds are run, unless SIM_SEEDS says otherwise.
const FEW: u64 = 8;

/// Twelve hosts know of each other, and of a change, within this.
const SOON: Duration = Duration::from_secs(8);

/// Longer than it takes to find out that somebody is lost.
const LOST: Duration = Duration::from_secs(8);

fn seeds() -> std::ops::RangeInclusive<u64> {
    1..=super::suite::number("SIM_SEEDS").unwrap_or(FEW)
}

#[test]
fn every_promise_is_kept_under_faults_by_hosts_that_gossip() {
    for seed in seeds() {
        let (placed, checked) = (seed % 2 == 0, seed % 4 == 1);
        let options = Options { circle_from: Some(1), placed, checked, ..Options::of(seed) };
        if let Some(violation) = run(options).violation {
            let told = run(Options { traced: true, ..options }).trace;
            println!("{}", told[told.len().saturating_sub(200)..].join("\n"));
            panic!("seed {seed}: {violation}");
        }
    }
}

#[test]
fn a_lost_host_is_replaced_without_a_gap_by_hosts_that_gossip() {
    // A run of it is several minutes of virtual time.
    for seed in seeds().step_by(4) {
        let options = Options { circle_from: Some(1), ..Options::of(seed) };
        let report = hosts_come_and_go(options);
        if let Some(violation) = report.violation {
            let told = hosts_come_and_go(Options { traced: true, ..options }).trace;
            println!("{}", told[told.len().saturating_sub(200)..].join("\n"));
            panic!("seed {seed}: {violation}");
        }
    }
}

/// Twelve hosts, of which each names the first alone.
fn twelve() -> World {
    let mut configs: Vec<_> = (0..12).map(|index| config(index, 12, 1)).collect();
    for config in configs.iter_mut().skip(1) {
        config.peers.truncate(1);
    }
    let mut world = World::of(Options { faults: 0, ..Options::of(12) }, configs);
    world.run_for(SOON);
    assert_eq!(world.not_yet_well(), None, "twelve hosts know each other");
    world
}

/// The hosts that the manager of `host` counts as alive, besides itself.
fn alive(world: &World, host: usize) -> Vec<usize> {
    let Some(manager) = &world.hosts[host].manager else { return Vec::new() };
    let counts =
        |other: &usize| manager.engine.counts_as_alive(world.now, world.hosts[*other].config.address);
    (0..world.hosts.len()).filter(|other| *other != host).filter(counts).collect()
}

fn others(world: &World, host: usize) -> Vec<usize> {
    (0..world.hosts.len()).filter(|other| *other != host).collect()
}

#[test]
fn a_lost_manager_is_lost_to_all_and_comes_back_to_all() {
    let mut world = twelve();
    world.kill_manager(7);
    world.run_for(LOST);
    for host in others(&world, 7) {
        assert!(!alive(&world, host).contains(&7), "host {host} knows that 7 is lost");
        assert_eq!(alive(&world, host).len(), 10, "and nobody else");
    }
    assert_eq!(world.living_upstreams(0).len(), 12, "its machines serve on");
    world.start_manager(7);
    world.run_for(SOON);
    for host in 0..12 {
        assert_eq!(alive(&world, host), others(&world, host), "host {host} knows that all are back");
    }
    assert_eq!(world.not_yet_well(), None);
}

#[test]
fn who_cannot_reach_one_other_host_hears_of_it_from_the_rest() {
    let mut world = twelve();
    for (from, to) in [(2, 9), (9, 2)] {
        *world.network.link_mut(from, to) = Link { cut: true, ..Link::default() };
    }
    world.checks.disturbed(world.now);
    world.run_for(2 * LOST);
    assert_eq!(alive(&world, 2), others(&world, 2));
    assert_eq!(alive(&world, 9), others(&world, 9));
}

#[test]
fn both_sides_of_a_cut_find_each_other_again() {
    let mut world = twelve();
    let links: Vec<(usize, usize)> =
        (0..6).flat_map(|one| (6..12).flat_map(move |other| [(one, other), (other, one)])).collect();
    for (from, to) in &links {
        *world.network.link_mut(*from, *to) = Link { cut: true, ..Link::default() };
    }
    world.checks.disturbed(world.now);
    world.run_for(2 * LOST);
    assert_eq!(alive(&world, 0), [1, 2, 3, 4, 5]);
    assert_eq!(alive(&world, 11), [6, 7, 8, 9, 10]);
    assert_eq!(world.living_upstreams(0).len(), 12, "nobody's set loses anything");
    world.network.heal();
    world.checks.disturbed(world.now);
    world.run_for(2 * SOON);
    for host in 0..12 {
        assert_eq!(alive(&world, host), others(&world, host), "host {host}");
    }
    assert_eq!(world.not_yet_well(), None);
}
