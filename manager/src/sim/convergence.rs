//! Many managers tell each other about their hosts until all know all.

use std::time::Duration;

use super::network::Link;
use super::run::config;
use super::world::{Options, World};

/// After the links are well again, all know all within this: the longest pause between two tries (2 s), and
/// then what was learned has to reach the balancers.
const BOUND: Duration = Duration::from_secs(6);

/// So many hosts start at once on a network that loses every fifth message and delays the others; later one
/// is cut off while its machines change.
fn converge(count: usize) {
    let options = Options { faults: 0, ..Options::of(count as u64) };
    let mut world = World::of(options, (0..count).map(|index| config(index, count, 1)).collect());
    let bad = Link { loss: 20, twice: 10, jitter: Duration::from_millis(80), ..Link::default() };
    every_link(&mut world, count, bad);
    world.run_for(Duration::from_secs(3));
    every_link(&mut world, count, Link::default());
    world.run_for(BOUND);
    assert_eq!(world.not_yet_well(), None, "{count} managers after the start");

    world.checks.disturbed(world.now);
    for other in 1..count {
        *world.network.link_mut(0, other) = Link { cut: true, ..Link::default() };
        *world.network.link_mut(other, 0) = Link { cut: true, ..Link::default() };
    }
    world.end_machine(0, &"h0-stateless-1".into(), "it was killed");
    world.run_for(Duration::from_secs(4));
    assert!(world.not_yet_well().is_some(), "host 0 is cut off");
    every_link(&mut world, count, Link::default());
    world.checks.disturbed(world.now);
    world.run_for(BOUND);
    assert!(world.checks.violation.is_none(), "{:?}", world.checks.violation);
    assert_eq!(world.not_yet_well(), None, "{count} managers after the cut");
}

fn every_link(world: &mut World, count: usize, link: Link) {
    world.checks.disturbed(world.now);
    for from in 0..count {
        for to in (0..count).filter(|to| *to != from) {
            *world.network.link_mut(from, to) = link;
        }
    }
}

#[test]
fn three_managers_converge() {
    converge(3);
}

#[test]
fn eight_managers_converge() {
    converge(8);
}

#[test]
#[ignore = "takes long in a debug build: deploy/test.sh sim runs it"]
fn sixty_four_managers_converge() {
    converge(64);
}
