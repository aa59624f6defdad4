//! Services that run over all hosts: who has what, what a lost host leaves to others, and how it is given back.

use wire::cluster::Phase;
use wire::placement::{Placed, ServicePlacement, Total};
use wire::snapshot::HostSnapshot;

use crate::config::Config;
use crate::engine::testing::{World, parse};
use crate::engine::{Command, Maintenance};

/// Host number `own` of so many, with a pool of `addresses` and these services.
fn host(own: u8, of: u8, addresses: u8, services: &str) -> Config {
    let peers: Vec<String> =
        (1..=of).filter(|peer| *peer != own).map(|peer| format!("\"192.168.10.{peer}\"")).collect();
    parse(&format!(
        "name = \"h{own}\"\naddress = \"192.168.10.{own}\"\npeers = [{}]\ngateway = \"192.168.10.{own}\"\n\
         hypervisor = \"namespaces\"\naddress_pool = [\"192.168.10.{}-192.168.10.{}\"]\n\
         [[vip]]\naddress = \"192.168.10.250\"\nvrid = 50\nrole = \"secondary\"\n{services}",
        peers.join(", "),
        own * 20,
        own * 20 + addresses - 1,
    ))
}

fn web(total: u32, more: &str) -> String {
    format!("[[service]]\nname = \"web\"\ntotal = {total}\n{more}\n")
}

/// So many hosts with one service, whose machines are ready.
fn hosts(count: u8, services: &str) -> World {
    let mut world = World::of((1..=count).map(|own| host(own, count, 9, services)));
    world.run_ms(3_000);
    world.forget_history();
    world
}

/// How many machines of `web` each host has: those that are to stay.
fn shares(world: &World) -> Vec<usize> {
    let count = |host: &crate::engine::testing::Host| {
        host.engine.as_ref().map_or(0, |engine| engine.desired_of(&"web".into()))
    };
    world.hosts.iter().map(count).collect()
}

/// How many of them are ready, over all hosts.
fn ready(world: &World) -> usize {
    let engines = world.hosts.iter().filter_map(|host| host.engine.as_ref());
    let machines = engines.flat_map(|engine| engine.machines(world.now));
    machines.filter(|machine| machine.service.as_str() == "web" && machine.phase == Phase::Ready).count()
}

/// Power is cut: nothing is left of a host but its disk.
fn lose(world: &mut World, host: usize) {
    world.kill_manager(host);
    world.hosts[host].guests.clear();
}

/// Lets time pass while at least so many are ready.
fn run_with(world: &mut World, least: usize, ms: u64) {
    for _ in 0..ms / 5 {
        world.run_ms(5);
        assert!(ready(world) >= least, "{} are ready at {:?}", ready(world), world.now);
    }
}

fn placement(world: &World, host: usize) -> ServicePlacement {
    world.hosts[host].engine.as_ref().expect("it runs").placement_of(&"web".into()).expect("it has a total")
}

fn defined(world: &mut World, host: usize, services: &str) {
    let services = host_services(services);
    let now = world.now;
    world.engine(host).set_services(now, services).expect("there is room");
}

fn host_services(services: &str) -> Vec<crate::config::Service> {
    host(1, 1, 9, services).services
}

#[test]
fn a_lost_host_is_replaced_within_seconds_and_gets_its_share_back_without_a_gap() {
    let mut world = hosts(2, &web(4, ""));
    assert_eq!((shares(&world), ready(&world)), (vec![2, 2], 4));
    assert_eq!(placement(&world, 0), ServicePlacement { total: 4, share: 2, ready: 4, unplaced: 0 });
    lose(&mut world, 1);
    world.run_ms(2_400);
    assert_eq!(shares(&world)[0], 2, "it may be back at once");
    world.run_ms(2_000);
    assert_eq!((shares(&world)[0], ready(&world)), (4, 4));
    // Back for good: first it has what it had, then the other one gives up one machine after the other.
    world.start_manager(1);
    run_with(&mut world, 4, 10_000);
    assert_eq!((shares(&world), ready(&world)), (vec![2, 2], 4));
    assert_eq!(world.missing(), Vec::<String>::new());
    // And nothing more happens.
    world.forget_history();
    world.run_ms(20_000);
    assert_eq!(world.hosts.iter().flat_map(|host| host.builds()).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn one_machine_is_given_up_at_a_time_and_only_while_there_are_enough() {
    let mut world = hosts(3, &web(6, ""));
    assert_eq!(shares(&world), [2, 2, 2]);
    lose(&mut world, 2);
    world.run_ms(6_000);
    assert_eq!(shares(&world)[..2], [3, 3]);
    // What it had does not start any more: then nobody gives up anything.
    let machines = ["h3-web-1", "h3-web-2"].map(wire::MachineId::from);
    world.hosts[2].never_boot.extend(machines.clone());
    world.start_manager(2);
    run_with(&mut world, 6, 40_000);
    assert_eq!(shares(&world), [3, 3, 2]);
    machines.iter().for_each(|machine| _ = world.hosts[2].never_boot.remove(machine));
    for _ in 0..8_000 {
        let before: usize = shares(&world).iter().sum();
        run_with(&mut world, 6, 5);
        assert!(before - shares(&world).iter().sum::<usize>() <= 1, "two hosts acted at once");
    }
    assert_eq!((shares(&world), ready(&world)), (vec![2, 2, 2], 6));
}

#[test]
fn under_a_partition_each_side_has_all_and_afterwards_there_are_no_more_than_asked_for() {
    let mut world = hosts(2, &web(3, ""));
    world.cut = true;
    run_with(&mut world, 3, 8_000);
    assert_eq!(shares(&world), [3, 3]);
    world.cut = false;
    run_with(&mut world, 3, 12_000);
    assert_eq!((shares(&world).iter().sum::<usize>(), ready(&world)), (3, 3));
}

#[test]
fn a_manager_that_starts_neither_adds_nor_takes_away_before_it_has_heard_the_others() {
    let mut world = hosts(2, &web(4, ""));
    world.kill_manager(0);
    world.start_manager(0);
    world.cut = true;
    world.run_ms(4_500);
    assert_eq!(shares(&world), [2, 4], "the other one has taken over meanwhile");
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
    world.run_ms(2_500);
    assert_eq!(shares(&world)[0], 4, "nobody is there, as it seems");

    // Heard at once, it does not wait; what is stored is more than its share, and stays until it may go.
    world.kill_manager(0);
    world.run_ms(4_000);
    world.cut = false;
    world.start_manager(0);
    run_with(&mut world, 4, 15_000);
    assert_eq!((shares(&world), ready(&world)), (vec![2, 2], 4));
}

#[test]
fn machines_that_must_not_share_a_host_are_not_made_where_there_is_none() {
    let mut world = hosts(2, &web(3, "spread = \"hard\""));
    assert_eq!((shares(&world), placement(&world, 0).unplaced), (vec![1, 1], 1));
    let now = world.now;
    let warnings: Vec<Vec<String>> =
        world.engine(1).cluster(now).hosts.into_iter().map(|host| host.warnings).collect();
    assert_eq!(warnings[1], Vec::<String>::new(), "one host says it for all");
    assert!(warnings[0][0].contains("no host has room for 1 of the 3 machines of `web`"), "{warnings:?}");
    assert!(warnings[0][0].contains("hard"), "{warnings:?}");
    // A lost host's machine has nowhere to go either.
    lose(&mut world, 1);
    world.run_ms(8_000);
    assert_eq!(shares(&world)[0], 1);
    assert!(world.hosts[0].said("service.unplaced"));
}

#[test]
fn hosts_have_what_they_may_and_can() {
    let other = "[[service]]\nname = \"big\"\nreplicas = 5\n";
    let narrow = host(1, 3, 9, &format!("{}{other}", web(9, "hosts = [\"h1\", \"h2\"]")));
    let wide = |own| host(own, 3, 9, &web(9, "hosts = [\"h1\", \"h2\"]"));
    let mut world = World::of([narrow, wide(2), wide(3)]);
    world.run_ms(4_000);
    assert_eq!(shares(&world), [3, 6, 0], "of nine addresses the balancer and `big` have six");
    assert_eq!(
        (ready(&world), placement(&world, 2)),
        (9, ServicePlacement { total: 9, share: 0, ready: 9, unplaced: 0 })
    );
}

#[test]
fn people_change_the_total_and_not_single_machines() {
    let mut world = hosts(2, &web(4, ""));
    let refused = world.create(0, "web").expect_err("the managers decide");
    assert!(refused.status == 409 && refused.detail.contains("change its `total`"), "{refused:?}");
    let refused = world.delete(0, "h1-web-1").expect_err("the managers decide");
    assert!(refused.status == 409 && refused.detail.contains("change its `total`"), "{refused:?}");
    world.replace(0, "h1-web-1").expect("building anew is fine");
    world.run_ms(3_000);
    assert_eq!((shares(&world), ready(&world)), (vec![2, 2], 4));

    // One host after the other is told of it: nothing is made in between that is taken away again.
    world.forget_history();
    for host in 0..2 {
        defined(&mut world, host, &web(7, ""));
        world.run_ms(700);
    }
    run_with(&mut world, 4, 3_000);
    assert_eq!((shares(&world).iter().sum::<usize>(), ready(&world)), (7, 7));
    for host in 0..2 {
        defined(&mut world, host, &web(2, ""));
        world.run_ms(700);
    }
    run_with(&mut world, 2, 25_000);
    assert_eq!((shares(&world), ready(&world)), (vec![1, 1], 2));
    let made = |world: &World| -> usize {
        let is_made = |command: &Command| matches!(command, Command::Create(_));
        world.hosts.iter().map(|host| host.count(is_made)).sum()
    };
    assert_eq!(made(&world), 3, "as many as were asked for");
}

#[test]
fn a_service_that_is_defined_host_by_host_is_made_once() {
    let mut world = hosts(2, "");
    for host in 0..2 {
        defined(&mut world, host, &web(4, ""));
        world.run_ms(1_500);
    }
    world.run_ms(5_000);
    assert_eq!((shares(&world), ready(&world)), (vec![2, 2], 4));
    for host in 0..2 {
        assert_eq!(world.hosts[host].count(|command| matches!(command, Command::Create(_))), 2);
    }
    // On one host only, it is that host's alone after a while.
    defined(&mut world, 1, "");
    world.run_ms(2_000);
    assert_eq!(shares(&world), [2, 0]);
    world.run_ms(4_000);
    assert_eq!((shares(&world), ready(&world)), (vec![4, 0], 4));
}

#[test]
fn replicas_become_a_total_and_a_total_replicas() {
    let mut world = hosts(2, "[[service]]\nname = \"web\"\nreplicas = 2\n");
    assert_eq!((shares(&world), ready(&world)), (vec![2, 2], 4));
    for host in 0..2 {
        defined(&mut world, host, &web(4, ""));
    }
    world.run_ms(8_000);
    assert_eq!(shares(&world), [2, 2]);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new(), "they stay as they are");
    for host in 0..2 {
        defined(&mut world, host, "[[service]]\nname = \"web\"\nreplicas = 3\n");
    }
    world.run_ms(3_000);
    assert_eq!((shares(&world), ready(&world)), (vec![3, 3], 6));
    assert!(world.create(0, "web").is_ok());
}

#[test]
fn a_host_in_maintenance_keeps_what_it_has_and_others_reckon_with_it() {
    let mut world = hosts(2, &web(4, ""));
    let now = world.now;
    let maintenance = Maintenance { until: None, note: "maintenance".to_owned() };
    world.engine(0).set_maintenance(now, Some(maintenance));
    for host in 0..2 {
        // The host in maintenance takes no change.
        if host == 1 {
            defined(&mut world, host, &web(7, ""));
        }
    }
    world.run_ms(5_000);
    assert_eq!(shares(&world), [2, 5]);
    let now = world.now;
    world.engine(0).set_maintenance(now, None);
    defined(&mut world, 0, &web(7, ""));
    run_with(&mut world, 6, 20_000);
    assert_eq!((shares(&world).iter().sum::<usize>(), ready(&world)), (7, 7));
    assert!(shares(&world).iter().all(|share| (3..=4).contains(share)));
}

/// What a service is told that is scaled by somebody, here by the test.
const SCALED: &str = "[service.autoscale]\nmin = 1\nmax = 9\nsync_period_ms = 60000\n\
    [service.autoscale.metrics]\nrequests_per_s = 1000\n";

#[test]
fn the_last_decision_about_the_total_holds_everywhere_and_outlives_restarts() {
    let mut world = hosts(3, &web(3, SCALED));
    world.engine(0).set_total(&"web".into(), 6);
    world.run_ms(3_000);
    assert_eq!((shares(&world), ready(&world)), (vec![2, 2, 2], 6));
    assert_eq!(placement(&world, 2).total, 6);
    // Whoever decides next goes on above it.
    lose(&mut world, 0);
    world.run_ms(5_000);
    assert_eq!(ready(&world), 6);
    world.engine(1).set_total(&"web".into(), 4);
    world.run_ms(10_000);
    assert_eq!(ready(&world), 4);
    world.start_manager(0);
    run_with(&mut world, 4, 15_000);
    // Of what the two sides went by, that which is not too few.
    let total = placement(&world, 0).total;
    assert!((4..=6).contains(&total), "{total}");
    assert_eq!(shares(&world).iter().sum::<usize>(), total as usize);
    for host in 0..3 {
        lose(&mut world, host);
    }
    world.run_ms(10_000);
    for host in 0..3 {
        world.start_manager(host);
    }
    world.run_ms(10_000);
    assert_eq!((ready(&world), placement(&world, 1).total), (total as usize, total));
}

#[test]
fn one_that_keeps_dying_is_the_first_to_go() {
    let mut world = hosts(1, &web(3, SCALED));
    world.hosts[0].crash_on_start.insert("h1-web-1".into());
    world.kill("h1-web-1");
    world.run_ms(4_000);
    assert_eq!(ready(&world), 2);
    world.engine(0).set_total(&"web".into(), 2);
    world.run_ms(3_000);
    assert!(world.machine("h1-web-1").is_none(), "{:?}", world.machine("h1-web-1"));
    assert_eq!((shares(&world), ready(&world)), (vec![2], 2));
}

#[test]
fn a_manager_that_stood_still_blames_nobody_for_its_own_silence() {
    let mut world = hosts(2, &web(4, ""));
    world.stall_manager(0, 2_500);
    world.run_ms(5_000);
    assert_eq!(shares(&world), [2, 2]);
}

#[test]
fn whatever_a_peer_says_it_has_is_bounded() {
    let mut world = hosts(2, &web(4, ""));
    let now = world.now;
    let honest = world.engine(1).host_snapshot(now);
    let version = honest.version + 1_000;
    let most = Placed { wanted: u32::MAX, ready: u32::MAX };
    for room in [None, Some(u32::MAX)] {
        let placed = [("web".into(), most)].into();
        let told = HostSnapshot { version, room, placed, ..honest.clone() };
        world.engine(0).receive(now, [192, 168, 10, 2].into(), told).expect("it is that host's word");
        world.run_ms(20);
        assert_eq!(placement(&world, 0).ready, u32::MAX);
    }
    for (count, generation, field) in [(10_001, 1, "count"), (1, wire::MAX_COUNT + 1, "generation")] {
        let totals = [("web".into(), Total { generation, count })].into();
        let told = HostSnapshot { version, totals, ..honest.clone() };
        let refused = world.engine(0).receive(now, [192, 168, 10, 2].into(), told).expect_err(field);
        assert_eq!(refused.parameter.as_deref(), Some("totals"), "{refused:?}");
        assert!(refused.detail.contains(field), "{refused:?}");
    }
}
