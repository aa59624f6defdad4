//! Many hosts share out whom their balancers check: three check each upstream, their parts move when one of them goes, and
//! what most of the three find is what the rest go by.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wire::EndpointId;

use super::checked::CHECKED;
use super::network::Link;
use super::run::text;
use super::world::{Options, World};
use crate::engine::testing::parse;

/// All hosts know each other within this.
const START: Duration = Duration::from_secs(12);

/// What a balancer's checks find has reached all others within this: it is read every 250 ms, and told within 100 ms.
const HEARD: Duration = Duration::from_secs(1);

/// Who is lost is known to be lost within this.
const LOST: Duration = Duration::from_secs(8);

const LOOK: Duration = Duration::from_millis(50);

/// So many hosts with a machine each, that know each other. Their plans are compared with those of engines that derive
/// everything anew.
fn ready(count: usize) -> World {
    let options = Options { faults: 0, measured: count > 16, ..Options::of(16) };
    let mut world = World::of(options, (0..count).map(|at| parse(&text(at, count, 1, CHECKED))).collect());
    world.run_for(START);
    assert_eq!(world.not_yet_well(), None, "{count} hosts are ready");
    world
}

/// The machine of `host`.
fn machine(world: &World, host: usize) -> EndpointId {
    let guest = world.hosts[host].guests.values().find(|guest| guest.balancer.is_none()).expect("a machine");
    EndpointId::of(&guest.purpose.id, guest.purpose.incarnation)
}

/// From now on the machine `id` of `host` fails its checks, or passes them.
fn fails(world: &mut World, host: usize, id: &EndpointId, ill: bool) {
    world.hosts[host].guests.get_mut(&id.machine().into()).expect("the machine").ill = ill;
}

fn checkers_of(world: &World, id: &EndpointId) -> BTreeSet<usize> {
    world.checkers()[id].clone()
}

fn cut(world: &mut World, one: usize, other: usize) {
    for (from, to) in [(one, other), (other, one)] {
        *world.network.link_mut(from, to) = Link { cut: true, ..Link::default() };
    }
    world.checks.disturbed(world.now);
}

fn soon(world: &mut World, what: &str, is_so: impl Fn(&World) -> bool) {
    let until = world.now + HEARD;
    while !is_so(world) {
        assert!(world.now < until, "{what}, within {HEARD:?}");
        world.run_for(LOOK);
    }
}

/// Each upstream is checked by its own host's balancer and two others.
fn assert_threes(world: &World) {
    for (at, host) in world.hosts.iter().enumerate() {
        let id = machine(world, at);
        let checkers = checkers_of(world, &id);
        assert_eq!(checkers.len(), 3, "{id} is checked by {checkers:?}");
        assert!(host.manager.is_none() || checkers.contains(&at), "{id} is checked by {checkers:?}");
    }
}

/// A machine of one of so many hosts fails its checks for a while, and goes on to send heartbeats.
fn one_fails_for_a_while(hosts: usize) {
    let mut world = ready(hosts);
    assert_threes(&world);
    let most =
        (0..hosts).map(|host| world.upstreams_of(host).filter(|told| !told.checked_elsewhere).count()).max();
    assert!(most.is_some_and(|most| most <= 12), "{most:?} of one balancer, and 3 on average");
    let id = machine(&world, 1);
    let others: BTreeSet<usize> =
        (0..hosts).collect::<BTreeSet<_>>().difference(&checkers_of(&world, &id)).copied().collect();
    fails(&mut world, 1, &id, true);
    soon(&mut world, "all who do not check it suspect it", |world| world.suspecting(&id) == others);
    world.run_for(LOST);
    assert_eq!(world.suspecting(&id), others, "who checks it goes by its own eyes");
    for host in (0..hosts).filter(|host| *host != 1) {
        assert_eq!(world.suspecting(&machine(&world, host)), BTreeSet::new(), "nobody else is suspected");
    }
    assert_eq!(world.not_yet_well(), None, "its own manager takes it for ready, as its heartbeats say");
    fails(&mut world, 1, &id, false);
    soon(&mut world, "nobody suspects it any more", |world| world.suspecting(&id).is_empty());
}

#[test]
fn what_fails_the_checks_of_three_is_suspect_to_all_others_and_well_again_after() {
    one_fails_for_a_while(16);
}

#[test]
#[ignore = "takes long in a debug build: deploy/test.sh sim runs it"]
fn sixty_four_hosts_share_out_checks_and_go_by_what_three_find() {
    one_fails_for_a_while(64);
}

#[test]
fn up_to_eight_hosts_every_balancer_checks_all() {
    let mut world = ready(8);
    let all: BTreeSet<usize> = (0..8).collect();
    assert!(world.checkers().values().all(|checkers| *checkers == all), "{:?}", world.checkers());
    let id = machine(&world, 3);
    fails(&mut world, 3, &id, true);
    world.run_for(2 * HEARD);
    assert_eq!(world.suspecting(&id), BTreeSet::new(), "each goes by its own eyes");
}

#[test]
fn the_part_of_a_lost_host_is_taken_over_and_nobody_elses() {
    let mut world = ready(12);
    assert_threes(&world);
    let id = machine(&world, 5);
    let lost = *checkers_of(&world, &id).iter().find(|host| **host != 5).expect("another host");
    let before: BTreeMap<EndpointId, BTreeSet<usize>> =
        world.checkers().into_iter().map(|(id, checkers)| (id.clone(), checkers)).collect();
    fails(&mut world, 5, &id, true);
    soon(&mut world, "it is suspected", |world| world.suspecting(&id).len() == 9);
    world.kill_manager(lost);
    let until = world.now + LOST;
    while world.now < until {
        world.run_for(LOOK);
        assert!(world.suspecting(&id).len() >= 8, "two still say that it fails");
    }
    assert_threes(&world);
    let mut taken_over = 0;
    for (id, now) in world.checkers() {
        let stay = before[id].iter().filter(|host| **host != lost);
        assert!(stay.clone().all(|host| now.contains(host)), "{id}: {:?}, now {now:?}", before[id]);
        taken_over += usize::from(before[id].contains(&lost));
    }
    assert!(taken_over > 1, "{taken_over}");
    world.start_manager(lost);
    world.run_for(START);
    let after = world.checkers();
    assert!(before.iter().all(|(id, checkers)| after[id] == *checkers), "{after:?} after {before:?}");
}

#[test]
fn who_alone_cannot_reach_it_convicts_nobody() {
    let mut world = ready(12);
    let id = machine(&world, 5);
    let others: Vec<usize> = checkers_of(&world, &id).into_iter().filter(|host| *host != 5).collect();
    cut(&mut world, 5, others[0]);
    let until = world.now + LOST;
    while world.now < until {
        world.run_for(LOOK);
        assert_eq!(world.suspecting(&id), BTreeSet::new());
    }
    assert_eq!(checkers_of(&world, &id).len(), 3, "it lives, by the word of the rest");
    cut(&mut world, 5, others[1]);
    soon(&mut world, "two of three do", |world| world.suspecting(&id).len() == 9);
}

#[test]
fn a_manager_that_starts_anew_does_not_stand_by_what_others_said_before() {
    let mut world = ready(12);
    let id = machine(&world, 5);
    fails(&mut world, 5, &id, true);
    soon(&mut world, "it is suspected", |world| world.suspecting(&id).len() == 9);
    let host = *world.suspecting(&id).first().expect("nine");
    world.kill_manager(host);
    // Nor is there anybody who would say that it is ready.
    world.kill_manager(5);
    fails(&mut world, 5, &id, false);
    world.run_for(LOST);
    world.start_manager(host);
    world.run_for(START);
    assert_eq!(world.suspecting(&id), BTreeSet::new());
    assert_eq!(checkers_of(&world, &id).len(), 3, "of those that live");
}
