//! One known peer is enough to get to know the whole cluster, and nobody is dropped for being silent.

use crate::config::Config;
use crate::engine::testing::{World, parse};

/// Host number `own` of a cluster, whose configuration names these peers.
fn host(own: u8, peers: &[u8]) -> Config {
    let peers: Vec<String> = peers.iter().map(|peer| format!("\"192.168.10.{peer}\"")).collect();
    parse(&format!(
        "name = \"h{own}\"\naddress = \"192.168.10.{own}\"\npeers = [{}]\ngateway = \"192.168.10.{own}\"\n\
         hypervisor = \"namespaces\"\naddress_pool = [\"192.168.10.{}-192.168.10.{}\"]\n\
         [[vip]]\naddress = \"192.168.10.250\"\nvrid = 50\nrole = \"secondary\"\n\
         [[service]]\nname = \"stateless\"\nreplicas = 1\n",
        peers.join(", "),
        own * 10,
        own * 10 + 4,
    ))
}

/// Three hosts of which only the first knows the others.
fn around_a_seed() -> World {
    let mut world = World::of([host(1, &[2, 3]), host(2, &[1]), host(3, &[1])]);
    world.run_ms(5_000);
    world
}

fn hosts_known_to(world: &mut World, host: usize) -> Vec<String> {
    let now = world.now;
    let hosts = world.engine(host).cluster(now).hosts;
    hosts.into_iter().filter(|host| host.alive).map(|host| host.name.to_string()).collect()
}

#[test]
fn those_who_know_one_get_to_know_all() {
    let mut world = around_a_seed();
    for host in 0..3 {
        assert_eq!(hosts_known_to(&mut world, host), ["h1", "h2", "h3"]);
        assert_eq!(world.upstreams(host).len(), 3);
    }
}

#[test]
fn what_was_learned_outlives_a_restart_without_the_seed() {
    let mut world = around_a_seed();
    world.kill_manager(0);
    world.kill_manager(1);
    world.start_manager(1);
    world.run_ms(5_000);
    assert_eq!(hosts_known_to(&mut world, 1), ["h2", "h3"]);
    assert_eq!(world.upstreams(1).len(), 3, "the seed's machines live on");
}

#[test]
fn one_that_joined_is_told_and_named_to_the_others() {
    let mut world = World::of([host(1, &[]), host(2, &[1]), host(3, &[1])]);
    world.run_ms(5_000);
    assert_eq!(hosts_known_to(&mut world, 2), ["h3"], "nobody takes the word of a stranger");
    for joined in [2, 3] {
        world.engine(0).admit([192, 168, 10, joined].into());
    }
    world.run_ms(5_000);
    assert_eq!(hosts_known_to(&mut world, 2), ["h1", "h2", "h3"]);
}

#[test]
fn what_cannot_be_a_manager_is_not_learned() {
    let mut world = around_a_seed();
    let now = world.now;
    let before = world.engine(0).cluster(now).hosts.len();
    for address in [[192, 168, 10, 1], [192, 168, 10, 12], [192, 168, 10, 250], [10, 0, 0, 1], [127, 0, 0, 1]]
    {
        world.engine(0).admit(address.into());
    }
    assert_eq!(world.engine(0).cluster(now).hosts.len(), before);
    for last in 0..=255 {
        for third in 0..2 {
            world.engine(0).admit([192, 168, 10 + third, last].into());
        }
    }
    assert!(world.engine(0).cluster(now).hosts.len() <= 1 + super::super::MAX_PEERS);
}

#[test]
fn a_host_that_is_gone_is_forgotten_when_asked() {
    let mut world = around_a_seed();
    let now = world.now;
    let refused = world.engine(1).forget_peer(now, &"h3".into()).expect_err("it lives");
    assert_eq!((refused.status, refused.detail.contains("alive")), (409, true), "{refused:?}");
    world.kill_manager(2);
    world.run_ms(10_000);
    let now = world.now;
    let refused = world.engine(0).forget_peer(now, &"h3".into()).expect_err("it is configured");
    assert!(refused.detail.contains("configuration"), "{refused:?}");
    // The others stop naming it to each other after a while; until then it would be learned again.
    world.run_ms(60_000);
    let now = world.now;
    world.engine(1).forget_peer(now, &"h3".into()).expect("it is gone");
    world.run_ms(10_000);
    let now = world.now;
    let hosts = world.engine(1).cluster(now).hosts;
    assert!(hosts.iter().all(|host| host.name.0 != "h3"), "{hosts:?}");
    assert_eq!(world.upstreams(1).len(), 2);
    assert_eq!(world.engine(1).forget_peer(now, &"h3".into()).expect_err("unknown").status, 404);
}

#[test]
fn of_two_living_hosts_with_one_name_the_second_is_refused() {
    let mut world = around_a_seed();
    world.kill_manager(2);
    let twin = Config { name: "h2".into(), ..host(3, &[1]) };
    world.start_manager_with(2, twin);
    world.run_ms(5_000);
    let now = world.now;
    let mut named = world.engine(0).cluster(now).hosts;
    named.retain(|host| host.name.0 == "h2");
    assert_eq!(named.len(), 1, "{named:?}");
    assert_eq!(named[0].address.to_string(), "192.168.10.2", "the first keeps its name");
}
