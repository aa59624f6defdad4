//! A service's machines are built anew after its definition changed, a few at a time, and a bad change is taken back.

use std::time::Duration;

use wire::cluster::Phase;
use wire::service::{RollOrder, RolloutState, RolloutView};

use super::super::testing::{World, parse};
use super::super::{Command, Event, Maintenance};
use crate::config::Config;
use crate::config::service::Service;

const ORDER: RollOrder = RollOrder { rollback: true };

/// A host with room for six machines besides its balancer, or for `last` - 10 of them.
fn config(last: u8, shop: &str) -> Config {
    parse(&format!(
        "name = \"a\"\naddress = \"192.168.10.1\"\ngateway = \"192.168.10.1\"\nhypervisor = \"namespaces\"\n\
         address_pool = [\"192.168.10.10-192.168.10.{last}\"]\n[[service]]\nname = \"shop\"\nreplicas = 3\n{shop}"
    ))
}

/// The services with another program for the shop.
fn changed(last: u8, shop: &str) -> Vec<Service> {
    config(last, &format!("program = \"newer\"\n{shop}")).services
}

fn world(last: u8, shop: &str) -> World {
    let mut world = World::of([config(last, shop)]);
    world.run_ms(3_000);
    assert_eq!(serving(&world), 3);
    world.hosts[0].before = Some(world.hosts[0].config.services.clone());
    world.forget_history();
    world
}

fn redefine(world: &mut World, services: Vec<Service>) {
    let now = world.now;
    world.engine(0).set_services(now, services).expect("there is room");
}

fn roll(world: &mut World) {
    let now = world.now;
    world.engine(0).roll(now, &"shop".into(), &ORDER).expect("it may");
}

fn view(world: &World) -> RolloutView {
    let engine = world.hosts[0].engine.as_ref().expect("the manager runs");
    engine.rollout_of(&"shop".into()).expect("there was one")
}

fn shops(world: &World) -> Vec<wire::cluster::MachineView> {
    let engine = world.hosts[0].engine.as_ref().expect("the manager runs");
    engine.machines(world.now).into_iter().filter(|machine| machine.service.as_str() == "shop").collect()
}

/// How many machines balancers may send requests.
fn serving(world: &World) -> usize {
    shops(world).iter().filter(|machine| machine.phase == Phase::Ready).count()
}

/// The programs of the machines that run.
fn programs(world: &World) -> Vec<String> {
    let shops = world.hosts[0].guests.values().filter(|guest| !guest.is_lb() && guest.running);
    shops.map(|guest| guest.program.clone()).collect()
}

/// Lets time pass until it ended; how many machines served at least, and were there at most.
fn until_it_ended(world: &mut World) -> (usize, usize) {
    let (mut least, mut most) = (usize::MAX, 0);
    for _ in 0..20_000 {
        world.run_ms(20);
        least = least.min(serving(world));
        let leaves = |phase| matches!(phase, Phase::Draining | Phase::Dead);
        most = most.max(shops(world).iter().filter(|machine| !leaves(machine.phase)).count());
        if !matches!(view(world).state, RolloutState::Rolling | RolloutState::RollingBack) {
            // What was sent away takes a moment to be gone.
            world.run_ms(10_000);
            return (least, most);
        }
    }
    panic!("it never ends: {:?}", view(world));
}

#[test]
fn with_room_there_is_never_one_less_and_never_two_more() {
    let mut world = world(20, "");
    redefine(&mut world, changed(20, ""));
    world.run_ms(5_000);
    assert_eq!(programs(&world), ["stateless"; 3], "they stay as they are until they are rolled");
    roll(&mut world);
    assert_eq!(until_it_ended(&mut world), (3, 4));
    assert_eq!((view(&world).state, programs(&world)), (RolloutState::Done, vec!["newer".to_owned(); 3]));
    assert_eq!(shops(&world).len(), 3);
}

#[test]
fn without_room_one_after_the_other_is_built_anew_in_its_place() {
    let mut world = world(13, "");
    let before: Vec<_> = shops(&world).into_iter().map(|machine| (machine.id, machine.address)).collect();
    redefine(&mut world, changed(13, ""));
    roll(&mut world);
    assert_eq!(until_it_ended(&mut world), (2, 3));
    assert_eq!((view(&world).state, programs(&world)), (RolloutState::Done, vec!["newer".to_owned(); 3]));
    let after: Vec<_> = shops(&world).into_iter().map(|machine| (machine.id, machine.address)).collect();
    assert_eq!(before, after);

    // Neither is allowed: that is said, and nothing is begun.
    let strict = "[service.rollout]\nsurge = 1\n";
    redefine(&mut world, changed(13, strict));
    let now = world.now;
    let refused = world.engine(0).roll(now, &"shop".into(), &ORDER).expect_err("no room");
    assert_eq!(refused.status, 409);
    assert!(refused.detail.contains("max_unavailable"), "{refused:?}");
}

#[test]
fn as_many_at_a_time_as_the_definition_says() {
    let pace = "[service.rollout]\nsurge = 2\nmax_unavailable = 1\n";
    let mut world = world(30, pace);
    redefine(&mut world, changed(30, pace));
    roll(&mut world);
    assert_eq!(until_it_ended(&mut world), (2, 5));
    assert_eq!(programs(&world), ["newer"; 3]);
}

#[test]
fn a_change_whose_machines_do_not_become_ready_is_taken_back() {
    for (last, least, most) in [(20, 3, 4), (13, 2, 3)] {
        let pace = "[service.rollout]\nready_within_ms = 8000\n";
        let mut world = world(last, pace);
        redefine(&mut world, changed(last, pace));
        world.hosts[0].never_boot_program = Some("newer".to_owned());
        roll(&mut world);
        assert_eq!(until_it_ended(&mut world), (least, most), "{last}");
        let ended = view(&world);
        assert_eq!(ended.state, RolloutState::RolledBack, "{ended:?}");
        assert!(ended.reason.contains("not ready within 8000 ms"), "{ended:?}");
        assert_eq!((shops(&world).len(), programs(&world)), (3, vec!["stateless".to_owned(); 3]), "{last}");
    }
}

#[test]
fn a_change_is_not_taken_back_where_that_was_not_asked_for_or_is_not_possible() {
    let pace = "[service.rollout]\nready_within_ms = 8000\n";
    for rollback in [false, true] {
        let mut world = world(20, pace);
        redefine(&mut world, changed(20, pace));
        world.hosts[0].never_boot_program = Some("newer".to_owned());
        world.hosts[0].before = None;
        let now = world.now;
        world.engine(0).roll(now, &"shop".into(), &RollOrder { rollback }).expect("it may");
        assert_eq!(until_it_ended(&mut world), (3, 4));
        assert_eq!(view(&world).state, RolloutState::Failed, "{:?}", view(&world));
        assert_eq!((shops(&world).len(), serving(&world)), (3, 3), "the one that never came is gone");
        let told = world.hosts[0].count(|command| matches!(command, Command::TakeBack(_)));
        assert_eq!(told, usize::from(rollback));
    }
}

#[test]
fn a_manager_that_is_started_anew_goes_on() {
    for at in [100, 700, 1_500, 4_000, 6_000, 9_000] {
        let mut world = world(20, "");
        redefine(&mut world, changed(20, ""));
        roll(&mut world);
        world.run_ms(at);
        world.kill_manager(0);
        let config = Config { services: changed(20, ""), ..world.hosts[0].config.clone() };
        world.start_manager_with(0, config);
        for _ in 0..1_500 {
            world.run_ms(20);
            let mut answering =
                world.hosts[0].guests.values().filter(|guest| !guest.is_lb() && guest.answers());
            assert!(answering.nth(2).is_some(), "after {at}");
        }
        assert_eq!((shops(&world).len(), programs(&world)), (3, vec!["newer".to_owned(); 3]), "after {at}");
    }
}

#[test]
fn who_comes_and_goes_meanwhile_is_counted() {
    let mut world = world(30, "");
    redefine(&mut world, changed(30, ""));
    roll(&mut world);
    world.run_ms(100);
    world.create(0, "shop").expect("there is room");
    world.run_ms(100);
    world.delete(0, "a-shop-2").expect("it is there");
    world.delete(0, "a-shop-1").expect("it is there");
    until_it_ended(&mut world);
    assert_eq!((shops(&world).len(), programs(&world)), (2, vec!["newer".to_owned(); 2]));

    // Another definition in the middle of it: what was too much goes, and all is rolled from the start.
    redefine(&mut world, changed(30, "port = 81\n"));
    roll(&mut world);
    world.run_ms(400);
    redefine(&mut world, changed(30, "port = 82\n"));
    world.run_ms(6_000);
    assert_eq!(shops(&world).len(), 2);
    roll(&mut world);
    until_it_ended(&mut world);
    assert_eq!((view(&world).state, shops(&world).len()), (RolloutState::Done, 2));
}

#[test]
fn in_maintenance_it_waits_and_nobody_is_to_blame() {
    let mut world = world(20, "[service.rollout]\nready_within_ms = 8000\n");
    redefine(&mut world, changed(20, "[service.rollout]\nready_within_ms = 8000\n"));
    roll(&mut world);
    world.run_ms(50);
    let now = world.now;
    let until = Some(now + Duration::from_secs(60));
    let maintenance = Maintenance { until, note: "maintenance is on, by uid 0".to_owned() };
    world.engine(0).set_maintenance(now, Some(maintenance));
    world.run_ms(55_000);
    assert_eq!(view(&world).state, RolloutState::Rolling);
    until_it_ended(&mut world);
    assert_eq!((view(&world).state, programs(&world)), (RolloutState::Done, vec!["newer".to_owned(); 3]));
}

#[test]
fn what_a_manager_that_is_started_anew_finds_is_not_ready_before_it_was_asked() {
    let probed = "[service.readiness]\nkind = \"http\"\n";
    let mut world = World::of([config(20, probed)]);
    world.run_ms(3_000);
    let tell_all = |world: &mut World, ready: bool| {
        for machine in shops(world) {
            let (machine, incarnation) = (machine.id, machine.incarnation);
            world.observe(0, Event::Readiness { machine, incarnation, ready });
        }
        world.run_ms(50);
    };
    tell_all(&mut world, true);
    redefine(&mut world, changed(20, probed));
    roll(&mut world);
    world.run_ms(2_000);
    assert_eq!((shops(&world).len(), serving(&world)), (4, 3), "the fourth is not ready yet");
    world.kill_manager(0);
    let config = Config { services: changed(20, probed), ..world.hosts[0].config.clone() };
    world.start_manager_with(0, config);
    world.run_ms(10_000);
    assert_eq!((shops(&world).len(), view(&world).left), (4, 3), "nobody is sent away for it");
    for _ in 0..60 {
        tell_all(&mut world, true);
        world.run_ms(500);
    }
    assert_eq!((view(&world).state, programs(&world)), (RolloutState::Done, vec!["newer".to_owned(); 3]));
}

#[test]
fn a_share_of_a_service_over_all_hosts_is_rolled_too_and_follows_the_total() {
    let of = |total: u32, program: &str| {
        parse(&format!(
            "name = \"a\"\naddress = \"192.168.10.1\"\ngateway = \"192.168.10.1\"\nhypervisor = \"namespaces\"\n\
             address_pool = [\"192.168.10.10-192.168.10.30\"]\n[[service]]\nname = \"shop\"\ntotal = {total}\n\
             program = \"{program}\"\n[service.autoscale]\nmin = 1\nmax = 9\nsync_period_ms = 60000\n\
             [service.autoscale.metrics]\nrequests_per_s = 1000\n"
        ))
    };
    let mut world = World::of([of(3, "stateless")]);
    world.run_ms(8_000);
    assert_eq!(serving(&world), 3);
    redefine(&mut world, of(3, "newer").services);
    roll(&mut world);
    world.run_ms(300);
    // One more is needed meanwhile: it is of the new definition at once.
    world.engine(0).set_total(&"shop".into(), 4);
    assert!(until_it_ended(&mut world).0 >= 3);
    assert_eq!((view(&world).state, programs(&world)), (RolloutState::Done, vec!["newer".to_owned(); 4]));
    // And one less: it goes when all are built.
    redefine(&mut world, of(3, "newest").services);
    roll(&mut world);
    world.run_ms(300);
    world.engine(0).set_total(&"shop".into(), 2);
    until_it_ended(&mut world);
    world.run_ms(10_000);
    assert_eq!(programs(&world), ["newest"; 2]);
}

#[test]
fn machines_that_keep_their_disk_are_built_anew_in_their_places() {
    let mut world = world(20, "persistent = true\n");
    let before: Vec<_> = shops(&world).into_iter().map(|machine| machine.id).collect();
    redefine(&mut world, changed(20, "persistent = true\n"));
    roll(&mut world);
    assert_eq!(until_it_ended(&mut world), (2, 3));
    let after: Vec<_> = shops(&world).into_iter().map(|machine| machine.id).collect();
    assert_eq!((after, programs(&world)), (before, vec!["newer".to_owned(); 3]));
}

#[test]
fn who_stands_by_is_no_part_of_it_and_is_built_anew_at_the_end() {
    let hot = "standbys = 1\nstandby_mode = \"hot\"\n";
    let mut world = World::of([config(20, hot)]);
    world.run_ms(3_000);
    assert_eq!(serving(&world), 4);
    redefine(&mut world, changed(20, hot));
    roll(&mut world);
    // Three all the time, and the one that stands by as soon as they are new.
    assert_eq!(until_it_ended(&mut world), (3, 5));
    assert_eq!((view(&world).total, programs(&world)), (3, vec!["newer".to_owned(); 4]));
}
