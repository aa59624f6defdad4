//! Services that change, machines that are not ready, and servers that others keep.

use wire::cluster::{Condition, Phase};

use super::super::testing::{Kind, World, parse};
use super::super::{Command, Event};
use crate::config::Config;
use crate::config::service::Service;

const HOST: &str = "name = \"a\"\naddress = \"192.168.10.1\"\npeers = [\"192.168.10.2\"]\n\
    gateway = \"192.168.10.1\"\nhypervisor = \"namespaces\"\naddress_pool = [\"192.168.10.10-192.168.10.16\"]\n";

fn config(services: &str) -> Config {
    parse(&format!("{HOST}{services}"))
}

/// Of a file that any host could have.
fn services(text: &str) -> Vec<Service> {
    parse(&format!("{HOST}{text}").replace("10.16", "10.99")).services
}

const PROBED: &str = "[[service]]\nname = \"shop\"\nreplicas = 1\n\
    [service.liveness]\nkind = \"tcp\"\nperiod_ms = 1000\nstart_grace_ms = 5000\n\
    [service.readiness]\nkind = \"http\"\n";

/// The readiness probe of a machine says something.
fn told(world: &mut World, ready: bool) {
    let machine = world.machine("a-shop-1").expect("there");
    let (machine, incarnation) = (machine.id, machine.incarnation);
    world.observe(0, Event::Readiness { machine, incarnation, ready });
    world.run_ms(50);
}

#[test]
fn a_machine_is_an_upstream_from_the_moment_it_is_ready() {
    let mut world = World::of([config(PROBED)]);
    world.run_ms(2_000);
    assert_eq!((world.phase("a-shop-1"), world.upstreams(0)), (Phase::Booting, vec![]));
    assert!(
        !world.hosts[0]
            .notices
            .iter()
            .any(|notice| notice.subject == "a-shop-1" && notice.kind == "machine.ready")
    );
    told(&mut world, true);
    assert_eq!(
        (world.phase("a-shop-1"), world.upstreams(0)),
        (Phase::Ready, vec!["192.168.10.11 Ready".to_owned()])
    );
    let started = world.hosts[0].notices.iter().filter(|notice| notice.subject == "a-shop-1");
    let started: Vec<_> = started.filter_map(|notice| notice.start.as_ref()).collect();
    assert_eq!(started.len(), 1);
    assert!(started[0].boot.as_millis() >= 1_500, "it took as long as until it was ready: {started:?}");

    // Its probe fails: it is used for want of another only, lives on, and people see it.
    told(&mut world, false);
    assert_eq!(world.upstreams(0), ["192.168.10.11 Draining"]);
    let machine = world.machine("a-shop-1").expect("there");
    assert_eq!((machine.phase, machine.condition), (Phase::Ready, Some(Condition::NotReady)));
    assert!(
        world.missing().iter().any(|missing| missing.contains("readiness probe")),
        "{:?}",
        world.missing()
    );
    world.run_ms(60_000);
    assert_eq!(world.machine("a-shop-1").expect("there").incarnation, machine.incarnation);
    // What is said of an earlier build of it is no news.
    world.observe(
        0,
        Event::Readiness { machine: "a-shop-1".into(), incarnation: machine.incarnation - 1, ready: true },
    );
    world.run_ms(50);
    assert_eq!(world.upstreams(0), ["192.168.10.11 Draining"]);
    told(&mut world, true);
    assert_eq!(world.upstreams(0), ["192.168.10.11 Ready"]);
    assert_eq!(world.machine("a-shop-1").expect("there").condition, None);

    // One that is built anew has to become ready anew.
    world.kill("a-shop-1");
    world.run_ms(3_000);
    assert_eq!((world.phase("a-shop-1"), world.upstreams(0)), (Phase::Booting, vec![]));
    told(&mut world, true);
    assert_eq!(world.phase("a-shop-1"), Phase::Ready);
}

#[test]
fn a_restarted_manager_takes_what_it_finds_for_ready_until_it_is_told() {
    let mut world = World::of([config(PROBED)]);
    world.run_ms(2_000);
    told(&mut world, true);
    world.kill_manager(0);
    world.start_manager(0);
    for _ in 0..100 {
        world.run_ms(20);
        assert_eq!(world.upstreams(0).len(), 1, "it was an upstream all the time");
    }
    assert_eq!(world.upstreams(0), ["192.168.10.11 Ready"]);
}

#[test]
fn each_service_has_its_own_patience() {
    let mut world = World::of([config(PROBED)]);
    world.hosts[0].never_boot.insert("a-shop-1".into());
    world.run_ms(4_000);
    let first = world.machine("a-shop-1").expect("there").incarnation;
    world.run_ms(3_000);
    assert!(
        world.machine("a-shop-1").expect("there").incarnation > first,
        "5 s, and not the 15 s of all others"
    );
    // Asked as it says, on the port of its service.
    let asked = world.hosts[0].count(|command| {
        matches!(command, Command::Watch { machine, asked, .. }
            if machine.as_str() == "a-shop-1" && asked.liveness.is_some() && asked.readiness.is_some())
    });
    assert!(asked > 0);
    let others = world.hosts[0].count(|command| {
        matches!(command, Command::Watch { machine, asked, .. } if machine.as_str() == "a-lb" && *asked == Default::default())
    });
    assert!(others > 0);
}

#[test]
fn silence_is_judged_by_the_services_own_probe() {
    let mut world = World::of([config(PROBED)]);
    world.run_ms(2_000);
    told(&mut world, true);
    world.freeze("a-shop-1");
    // 3 × (1 s + 1 s) + 2 s, where heartbeats would be missed after 0.8 s.
    world.run_ms(7_000);
    assert_eq!(world.phase("a-shop-1"), Phase::Ready);
    world.run_ms(1_500);
    assert_ne!(world.phase("a-shop-1"), Phase::Ready);
}

const ONE: &str = "[[service]]\nname = \"one\"\nreplicas = 2\n";

fn with_shop(replicas: u32) -> Vec<Service> {
    services(&format!(
        "{ONE}[[service]]\nname = \"shop\"\nport = 81\nreplicas = {replicas}\n[[service.route]]\nhosts = [\"shop.example\"]\n"
    ))
}

#[test]
fn services_come_and_go_at_run_time_and_the_others_never_notice() {
    let mut world = World::of([config(ONE)]);
    world.run_ms(3_000);
    let before = ["a-lb", "a-one-1", "a-one-2"].map(|id| world.machine(id).expect("there").incarnation);
    let now = world.now;
    world.engine(0).set_services(now, with_shop(2)).expect("there is room");
    world.run_ms(3_000);
    assert_eq!(world.phase("a-shop-2"), Phase::Ready);
    assert_eq!(world.upstreams(0).len(), 4);
    assert_eq!(world.missing(), ["host 192.168.10.2: its manager is not heard"]);

    // One fewer, in an orderly way: the balancer is told that it is draining first.
    world.forget_history();
    let now = world.now;
    world.engine(0).set_services(now, with_shop(1)).expect("fewer");
    world.run_ms(30);
    assert!(world.upstreams(0).contains(&"192.168.10.14 Draining".to_owned()), "{:?}", world.upstreams(0));
    world.run_ms(5_000);
    assert!(world.machine("a-shop-2").is_none());
    assert_eq!(world.hosts[0].builds(), ["stop a-shop-2", "fence a-shop-2"]);

    // What cannot be is refused, and nothing has changed.
    let now = world.now;
    let refused = world.engine(0).set_services(now, with_shop(5)).expect_err("seven addresses");
    assert_eq!(refused.status, 409);
    assert!(refused.detail.contains("1 addresses too few"), "{refused:?}");
    world.run_ms(1_000);
    assert_eq!(world.upstreams(0).len(), 3);

    // It survives its manager, and goes as a whole.
    world.kill_manager(0);
    let all = Config { services: with_shop(1), ..config(ONE) };
    world.start_manager_with(0, all);
    world.run_ms(3_000);
    let now = world.now;
    world.engine(0).set_services(now, services(ONE)).expect("gone");
    world.run_ms(30);
    assert!(world.upstreams(0).contains(&"192.168.10.13 Draining".to_owned()), "{:?}", world.upstreams(0));
    world.run_ms(5_000);
    assert_eq!((world.machine("a-shop-1"), world.upstreams(0).len()), (None, 2));
    let after = ["a-lb", "a-one-1", "a-one-2"].map(|id| world.machine(id).expect("there").incarnation);
    assert_eq!(after, before, "nothing else was built anew");
}

#[test]
fn a_changed_definition_is_tried_at_once_however_long_its_machines_would_have_waited() {
    let mut world = World::of([config(ONE)]);
    world.hosts[0].crash_on_start.insert("a-shop-1".into());
    world.run_ms(3_000);
    let now = world.now;
    world.engine(0).set_services(now, with_shop(1)).expect("there is room");
    world.run_ms(60_000);
    assert!(world.machine("a-shop-1").expect("there").crash_looping);
    // The next try would come in half a minute.
    world.hosts[0].crash_on_start.clear();
    world.forget_history();
    world.run_ms(1_000);
    assert_eq!(world.hosts[0].builds(), Vec::<String>::new());
    let now = world.now;
    let mut changed = with_shop(1);
    changed[1].program = "another".to_owned();
    world.engine(0).set_services(now, changed).expect("there is room");
    world.run_ms(2_000);
    assert_eq!(world.phase("a-shop-1"), Phase::Ready);
}

#[test]
fn routes_that_change_while_others_are_on_their_way_arrive_too() {
    let mut world = World::of([config(ONE)]);
    world.run_ms(3_000);
    world.hosts[0].delays.insert(Kind::Configure, std::time::Duration::from_millis(300));
    let names = |world: &World| -> Vec<String> {
        let config = &world.hosts[0].guests[&"a-lb".into()].config;
        config.routes.iter().map(|route| route.name.clone()).collect()
    };
    for (services, pause) in
        [(with_shop(1), 100), (services(ONE), 100), (with_shop(1), 100), (services(ONE), 2_000)]
    {
        let now = world.now;
        world.engine(0).set_services(now, services).expect("there is room");
        world.run_ms(pause);
    }
    assert_eq!(names(&world), ["one"]);
    let now = world.now;
    world.engine(0).set_services(now, with_shop(1)).expect("there is room");
    world.run_ms(100);
    assert_eq!(names(&world), ["one"], "they are on their way");
    world.run_ms(1_000);
    assert_eq!(names(&world), ["shop", "one"]);
}

#[test]
fn servers_of_others_are_the_balancers_and_no_peer_is_told_of_them() {
    let mut world =
        World::of([config("[[service]]\nname = \"old\"\nendpoints = [\"10.0.0.5:80\", \"10.0.0.4:80\"]\n")]);
    world.run_ms(3_000);
    assert_eq!(world.upstreams(0), ["10.0.0.4 Ready", "10.0.0.5 Ready"]);
    let now = world.now;
    let told = world.engine(0).telling(now).to_wire();
    assert_eq!(told.endpoints, []);
    assert_eq!(told.desired, 1, "the balancer is all there is to make");
    let refused = world.create(0, "old").expect_err("not ours");
    assert_eq!(refused.status, 409);
    // A restarted manager takes over what it finds, once.
    world.kill_manager(0);
    world.start_manager(0);
    world.run_ms(3_000);
    assert_eq!(world.upstreams(0), ["10.0.0.4 Ready", "10.0.0.5 Ready"]);
}
