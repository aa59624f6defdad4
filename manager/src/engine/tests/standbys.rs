//! Standbys: who is started when, who is used for want of another, and when it ends.

use wire::cluster::Phase;

use super::super::testing::{World, parse};
use crate::config::Config;

const HOLD_MS: u64 = 10_000;

fn config(service: &str) -> Config {
    parse(&format!(
        "name = \"a\"\naddress = \"192.168.10.1\"\npeers = [\"192.168.10.2\"]\ngateway = \"192.168.10.1\"\n\
         hypervisor = \"namespaces\"\naddress_pool = [\"192.168.10.10-192.168.10.16\"]\n\
         [[service]]\nname = \"shop\"\n{service}\n"
    ))
}

fn cold(replicas: u32, standbys: u32) -> Config {
    config(&format!("replicas = {replicas}\nstandbys = {standbys}\nstandby_hold_ms = {HOLD_MS}"))
}

fn hot() -> Config {
    config("replicas = 1\nstandbys = 1\nstandby_mode = \"hot\"")
}

/// A host all of whose machines are as they should be.
fn settled(config: Config) -> World {
    let mut world = World::of([config]);
    world.run_ms(3_000);
    assert!(world.missing().iter().all(|missing| missing.contains("manager is not heard")));
    world.forget_history();
    world
}

/// The last part of each upstream's address, with what balancers think of it.
fn upstreams(world: &World) -> Vec<String> {
    let lb = world.hosts[0].guests.values().rfind(|guest| guest.purpose.service.as_str() == "lb");
    let pools = &lb.expect("a balancer").set.pools;
    let word = |upstream: &wire::upstreams::Upstream| {
        let std::net::IpAddr::V4(address) = upstream.address else { panic!("no IPv6 here") };
        let backup = if upstream.backup { " backup" } else { "" };
        format!("{} {:?}{backup}", address.octets()[3], upstream.state)
    };
    pools.values().flatten().map(word).collect()
}

fn phases(world: &World, ids: &[&str]) -> Vec<Phase> {
    ids.iter().map(|id| world.phase(id)).collect()
}

/// It dies, and does not come back until it may.
fn lose(world: &mut World, id: &str) {
    world.hosts[0].never_boot.insert(id.into());
    world.kill(id);
}

/// It may come back, and what became of it meanwhile ends.
fn mend(world: &mut World, id: &str) {
    world.hosts[0].never_boot.clear();
    if world.hosts[0].guests.get(&id.into()).is_some_and(|guest| guest.running) {
        world.kill(id);
    }
    world.run_ms(5);
}

#[test]
fn a_cold_standby_has_a_place_and_is_nowhere_until_it_is_needed() {
    let world = settled(cold(2, 1));
    let ids = ["a-shop-1", "a-shop-2", "a-shop-3"];
    assert_eq!(phases(&world, &ids), [Phase::Ready, Phase::Ready, Phase::Standby]);
    let standby = world.machine("a-shop-3").expect("it is shown");
    assert!(standby.standby && standby.address.to_string() == "192.168.10.13", "{standby:?}");
    assert!(!world.machine("a-shop-1").expect("there").standby);
    assert!(!world.hosts[0].guests.contains_key(&"a-shop-3".into()));
    assert_eq!(upstreams(&world), ["11 Ready", "12 Ready"]);
}

#[test]
fn it_steps_in_for_a_primary_and_is_stopped_when_all_are_back() {
    let mut world = settled(cold(2, 1));
    lose(&mut world, "a-shop-1");
    world.run_ms(500);
    assert_eq!(world.phase("a-shop-3"), Phase::Ready);
    assert_eq!(upstreams(&world), ["12 Ready", "13 Ready"], "used like the one it stands in for");
    world.run_ms(60_000);
    assert_eq!(world.phase("a-shop-3"), Phase::Ready, "as long as that is missing");

    mend(&mut world, "a-shop-1");
    world.until("a-shop-1", Phase::Ready);
    world.run_ms(100);
    assert_eq!(upstreams(&world), ["11 Ready", "12 Ready", "13 Ready backup"]);
    world.run_ms(HOLD_MS - 500);
    assert_eq!(world.phase("a-shop-3"), Phase::Ready);
    world.forget_history();
    world.run_ms(5_000);
    assert_eq!(world.phase("a-shop-3"), Phase::Standby);
    assert_eq!(upstreams(&world), ["11 Ready", "12 Ready"]);
    let own: Vec<String> =
        world.hosts[0].builds().into_iter().filter(|build| build.contains("shop-3")).collect();
    assert_eq!(own, ["stop a-shop-3", "fence a-shop-3"], "in an orderly way, and not built again");
    assert!(world.hosts[0].said("standby.stopped"));
    assert!(world.missing().iter().all(|missing| !missing.contains("shop")), "{:?}", world.missing());
}

#[test]
fn it_is_started_while_the_suspect_is_still_being_asked() {
    let mut world = settled(cold(1, 1));
    world.freeze("a-shop-1");
    world.until("a-shop-1", Phase::Suspect);
    world.run_ms(5);
    assert_eq!(world.phase("a-shop-2"), Phase::Booting);
    // A false alarm: it goes again after its time.
    world.thaw("a-shop-1");
    world.until("a-shop-1", Phase::Ready);
    world.until("a-shop-2", Phase::Ready);
    assert!(world.until("a-shop-2", Phase::Standby) >= HOLD_MS - 1_000);
}

#[test]
fn a_primary_that_comes_and_goes_has_its_standby_all_the_time() {
    let mut world = settled(cold(1, 1));
    for _ in 0..12 {
        world.kill("a-shop-1");
        world.run_ms(5);
        world.until("a-shop-1", Phase::Ready);
        world.run_ms(HOLD_MS / 2);
    }
    let started = world.hosts[0].notices.iter().filter(|notice| notice.kind == "standby.started").count();
    assert_eq!((started, world.hosts[0].said("standby.stopped")), (1, false));
    assert!(world.until("a-shop-2", Phase::Standby) <= HOLD_MS + 1_000);
}

#[test]
fn there_is_one_for_each_that_fails_and_no_more() {
    let mut world = settled(cold(3, 2));
    let standbys = ["a-shop-4", "a-shop-5"];
    lose(&mut world, "a-shop-1");
    world.run_ms(500);
    assert_eq!(phases(&world, &standbys), [Phase::Ready, Phase::Standby]);
    lose(&mut world, "a-shop-2");
    world.run_ms(1_000);
    assert_eq!(phases(&world, &standbys), [Phase::Ready, Phase::Ready]);
    lose(&mut world, "a-shop-3");
    world.run_ms(1_000);
    assert_eq!(upstreams(&world), ["14 Ready", "15 Ready"]);
    mend(&mut world, "a-shop-1");
    world.until("a-shop-1", Phase::Ready);
    world.run_ms(2 * HOLD_MS);
    assert!(phases(&world, &standbys).contains(&Phase::Ready), "two are still missing");
}

#[test]
fn a_standby_that_dies_on_duty_is_built_again_and_one_too_many_is_not() {
    let mut world = settled(cold(1, 1));
    lose(&mut world, "a-shop-1");
    world.until("a-shop-2", Phase::Ready);
    world.kill("a-shop-2");
    world.run_ms(5);
    world.until("a-shop-2", Phase::Ready);
    world.run_ms(50);
    assert_eq!(upstreams(&world), ["12 Ready"]);
    mend(&mut world, "a-shop-1");
    world.until("a-shop-1", Phase::Ready);
    world.until("a-shop-2", Phase::Standby);
    world.forget_history();
    world.run_ms(60_000);
    assert!(world.hosts[0].builds().is_empty(), "{:?}", world.hosts[0].builds());
}

#[test]
fn what_people_do_is_no_failure() {
    let mut world = settled(cold(2, 1));
    world.replace(0, "a-shop-1").expect("it is there");
    world.run_ms(5_000);
    world.engine(0).drain_machine(&"a-shop-1".into(), true).expect("it is there");
    world.run_ms(5_000);
    assert!(!world.hosts[0].said("standby.started"));
    // A replaced one that does not come back is.
    world.hosts[0].never_boot.insert("a-shop-2".into());
    world.replace(0, "a-shop-2").expect("it is there");
    world.run_ms(25_000);
    assert_eq!(world.phase("a-shop-3"), Phase::Ready);
    let refused = settled(cold(1, 1)).replace(0, "a-shop-2").expect_err("it does not run");
    assert!(refused.detail.contains("stands by"), "{refused:?}");
}

#[test]
fn a_restarted_manager_lets_it_run_and_stops_it_in_time() {
    let mut world = settled(cold(1, 1));
    lose(&mut world, "a-shop-1");
    world.until("a-shop-2", Phase::Ready);
    let incarnation = world.machine("a-shop-2").expect("there").incarnation;
    for midway in [true, false] {
        world.run_ms(700);
        if midway {
            world.kill_manager_midway(0)
        } else {
            world.kill_manager(0)
        }
        world.start_manager(0);
        world.run_ms(4_000);
        let standby = world.machine("a-shop-2").expect("there");
        assert_eq!((standby.phase, standby.incarnation), (Phase::Ready, incarnation));
        assert_eq!(upstreams(&world), ["12 Ready"]);
    }
    mend(&mut world, "a-shop-1");
    world.until("a-shop-1", Phase::Ready);
    world.run_ms(HOLD_MS / 2);
    world.kill_manager(0);
    world.start_manager(0);
    world.run_ms(HOLD_MS / 2 + 1_500);
    assert_eq!(world.phase("a-shop-2"), Phase::Ready, "the hold-down begins anew");
    world.until("a-shop-2", Phase::Standby);
    // Nor does a restart alone start one.
    world.kill_manager(0);
    world.start_manager(0);
    world.forget_history();
    world.run_ms(20_000);
    assert!(world.hosts[0].builds().is_empty(), "{:?}", world.hosts[0].builds());
}

#[test]
fn maintenance_neither_starts_nor_stops_one() {
    let mut world = settled(cold(1, 1));
    let maintenance = |world: &mut World, on: bool| {
        let order = on.then(|| crate::engine::Maintenance { until: None, note: "a test".to_owned() });
        let now = world.now;
        world.engine(0).set_maintenance(now, order);
    };
    maintenance(&mut world, true);
    world.kill("a-shop-1");
    world.run_ms(20_000);
    assert_eq!(world.phase("a-shop-2"), Phase::Standby);
    maintenance(&mut world, false);
    world.until("a-shop-2", Phase::Ready);
    world.until("a-shop-1", Phase::Ready);
    world.run_ms(HOLD_MS / 2);
    maintenance(&mut world, true);
    world.run_ms(3 * HOLD_MS);
    assert_eq!(world.phase("a-shop-2"), Phase::Ready);
    maintenance(&mut world, false);
    assert!(world.until("a-shop-2", Phase::Standby) >= HOLD_MS);
}

#[test]
fn a_hot_standby_always_runs_and_is_used_for_want_of_another() {
    let mut world = settled(hot());
    assert_eq!(upstreams(&world), ["11 Ready", "12 Ready backup"]);
    lose(&mut world, "a-shop-1");
    world.run_ms(60_000);
    assert_eq!(upstreams(&world), ["12 Ready backup"]);
    mend(&mut world, "a-shop-1");
    world.until("a-shop-1", Phase::Ready);
    world.run_ms(60_000);
    assert_eq!(upstreams(&world), ["11 Ready", "12 Ready backup"], "nobody stopped it");
    // It is missed when it dies, as any other.
    lose(&mut world, "a-shop-2");
    world.run_ms(100);
    assert!(world.missing().iter().any(|missing| missing.contains("a-shop-2")));
}

#[test]
fn a_full_pool_has_fewer_standbys_and_says_so() {
    // Seven addresses; people had four machines more made than are configured.
    let mut world = settled(config("replicas = 1"));
    for _ in 0..4 {
        world.create(0, "shop").expect("there is room");
    }
    world.run_ms(2_000);
    world.kill_manager(0);
    world.start_manager_with(0, cold(1, 3));
    world.run_ms(3_000);
    let engine = world.hosts[0].engine.as_ref().expect("it runs");
    let hosts = engine.cluster(world.now).hosts;
    let warnings = hosts.iter().find(|host| host.name.as_str() == "a").expect("itself").warnings.join("\n");
    assert!(warnings.contains("`shop` has 1 of 3 standbys"), "{warnings}");
    assert_eq!(world.phase("a-shop-6"), Phase::Standby);
    // There is room again: the next manager makes the others.
    world.delete(0, "a-shop-5").expect("it is there");
    world.run_ms(4_000);
    world.kill_manager(0);
    world.start_manager(0);
    world.run_ms(3_000);
    let machines = world.hosts[0].engine.as_ref().expect("it runs").machines(world.now);
    assert_eq!(machines.iter().filter(|machine| machine.standby).count(), 2);
    let refused = world.hosts[0].engine.as_ref().expect("it runs").check_services(&cold(3, 3).services);
    assert!(refused.expect_err("too many").detail.contains("standbys"));
}

#[test]
fn its_mode_and_number_change_while_it_runs() {
    let mut world = settled(hot());
    let set = |world: &mut World, config: Config| {
        let now = world.now;
        world.engine(0).set_services(now, config.services).expect("they fit");
    };
    set(&mut world, cold(1, 1));
    assert!(world.until("a-shop-2", Phase::Standby) >= HOLD_MS - 100, "as one that was started");
    set(&mut world, hot());
    world.until("a-shop-2", Phase::Ready);
    set(&mut world, cold(1, 3));
    world.run_ms(2 * HOLD_MS);
    assert_eq!(phases(&world, &["a-shop-2", "a-shop-3", "a-shop-4"]), [Phase::Standby; 3]);
    set(&mut world, cold(1, 1));
    world.run_ms(5_000);
    assert!(world.machine("a-shop-4").is_none() && world.machine("a-shop-3").is_none());
    world.delete(0, "a-shop-2").expect("it is there");
    world.run_ms(5_000);
    assert!(world.machine("a-shop-2").is_none());
}

#[test]
fn a_lost_record_of_what_is_wanted_costs_no_standby_its_place() {
    let mut world = settled(cold(2, 1));
    lose(&mut world, "a-shop-2");
    world.until("a-shop-3", Phase::Ready);
    world.kill_manager(0);
    world.hosts[0].disk = None;
    world.hosts[0].never_boot.clear();
    world.start_manager(0);
    world.run_ms(5_000);
    let standby = world.machine("a-shop-3").expect("there");
    assert!(standby.standby && standby.phase == Phase::Ready, "{standby:?}");
    world.until("a-shop-3", Phase::Standby);
    assert_eq!(upstreams(&world), ["11 Ready", "12 Ready"]);
}

#[test]
fn one_that_is_on_its_way_out_stays_when_it_is_needed_again() {
    let mut world = settled(cold(1, 1));
    // Balancers of a host that does not answer yet are waited for.
    world.kill("a-shop-1");
    world.run_ms(5);
    world.until("a-shop-2", Phase::Ready);
    world.until("a-shop-1", Phase::Ready);
    let incarnation = world.machine("a-shop-2").expect("there").incarnation;
    world.hosts[0].delays.insert(crate::engine::testing::Kind::Push, std::time::Duration::from_secs(2));
    world.until("a-shop-2", Phase::Draining);
    lose(&mut world, "a-shop-1");
    world.run_ms(5_000);
    let standby = world.machine("a-shop-2").expect("there");
    assert_eq!((standby.phase, standby.incarnation), (Phase::Ready, incarnation));
}
