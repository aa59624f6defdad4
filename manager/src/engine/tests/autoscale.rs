//! Services whose number of machines follows their load, over hosts that come and go.

use wire::PoolName;
use wire::autoscale::{Milli, ScalingView};

use super::super::testing::{Kind, Load, World, parse};
use crate::config::Config;

const RULES: &str = "min = 3\nmax = 9\ncpu_request = 0.1\nsync_period_ms = 2000\n\
    [service.autoscale.scale_down]\nstabilization_ms = 10000\npolicy = [{ machines = 1, period_ms = 4000 }]\n";

const CPU: &str = "[service.autoscale.metrics]\ncpu_percent = 70\n";

fn host(name: &str, own: u8, peer: u8, metrics: &str) -> Config {
    parse(&format!(
        "name = \"{name}\"\naddress = \"192.168.10.{own}\"\npeers = [\"192.168.10.{peer}\"]\n\
         gateway = \"192.168.10.{own}\"\nhypervisor = \"namespaces\"\n\
         address_pool = [\"192.168.10.{own}0-192.168.10.{own}9\"]\n\
         [[vip]]\naddress = \"192.168.10.120\"\nvrid = 50\nrole = \"{role}\"\n\
         [[service]]\nname = \"shop\"\ntotal = 3\n[service.autoscale]\n{RULES}{metrics}",
        role = if name == "a" { "master" } else { "secondary" },
    ))
}

/// Two hosts with 3 machines of the shop, after one of them began to decide.
fn two_hosts(metrics: &str) -> World {
    let mut world = World::of([host("a", 1, 2, metrics), host("b", 2, 1, metrics)]);
    world.ask_of("shop", Load { cpus: 100, memory_bytes: 1 << 20, requests: 30 });
    world.run_ms(20_000);
    assert_eq!((ready(&world), view(&world, 0).desired), (3, 3));
    world
}

fn shop() -> PoolName {
    "shop".into()
}

/// What the manager of `host` says.
fn view(world: &World, host: usize) -> ScalingView {
    let engine = world.hosts[host].engine.as_ref().expect("its manager runs");
    engine.scalings(world.now).remove(&shop()).expect("somebody has decided")
}

/// The machines of the shop that answer, over all hosts.
fn ready(world: &World) -> usize {
    ready_on(world, 0) + ready_on(world, 1)
}

fn ready_on(world: &World, host: usize) -> usize {
    let guests = world.hosts[host].guests.values();
    guests.filter(|guest| guest.purpose.service == shop() && guest.answers()).count()
}

fn cpus(all: u64) -> Load {
    Load { cpus: all, memory_bytes: 1 << 20, requests: 30 }
}

/// How many machines there were to be, as `host` said it, while so many seconds passed.
fn seen(world: &mut World, host: usize, seconds: u64) -> Vec<u32> {
    let mut seen = vec![view(world, host).desired];
    for _ in 0..seconds * 10 {
        world.run_ms(100);
        let now = view(world, host).desired;
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    seen
}

#[test]
fn a_ramp_goes_up_at_once_and_down_slowly_spread_over_both_hosts() {
    let mut world = two_hosts(CPU);
    world.ask_of("shop", cpus(600));
    let up = seen(&mut world, 1, 40);
    assert!(up.first() == Some(&3) && up.last() == Some(&9) && up.is_sorted(), "{up:?}");
    assert_eq!(ready_on(&world, 0).abs_diff(ready_on(&world, 1)), 1);
    assert_eq!(ready(&world), 9);
    let [one, other] = [view(&world, 0), view(&world, 1)];
    assert_eq!(one, other, "both say the same");
    assert_eq!((one.decider.as_str(), one.current), ("a", 9));
    let cpu = one.metrics[0].value.expect("measured").0;
    assert!((60_000..=70_000).contains(&cpu), "600 of 900: {one:?}");
    let change = one.last_change.expect("it changed");
    assert!(change.to == 9 && change.reason.contains("Cpu"), "{change:?}");
    assert!(world.hosts[0].said("service.scaled") && !world.hosts[1].said("service.scaled"));

    world.ask_of("shop", cpus(30));
    let down = seen(&mut world, 0, 100);
    assert_eq!(down, [9, 8, 7, 6, 5, 4, 3]);
    assert_eq!(ready(&world), 3);
    assert_eq!(ready_on(&world, 0).abs_diff(ready_on(&world, 1)), 1);
}

#[test]
fn who_takes_over_goes_on_from_what_was_decided() {
    let mut world = two_hosts(CPU);
    world.ask_of("shop", cpus(600));
    world.run_ms(40_000);
    assert_eq!(view(&world, 1).desired, 9);

    // Nobody needs them any more when the host that decides is lost with all it has.
    world.ask_of("shop", cpus(30));
    world.kill_manager(0);
    for id in world.hosts[0].guests.keys().cloned().collect::<Vec<_>>() {
        world.kill(id.as_str());
    }
    world.run_ms(4_000);
    assert_eq!(view(&world, 1).decider.as_str(), "b");
    let own = seen(&mut world, 1, 7);
    assert_eq!(own, [9], "its window begins anew");
    assert_eq!(*seen(&mut world, 1, 60).last().expect("some"), 3);
    assert_eq!(ready_on(&world, 1), 3);

    // It is back, asks nobody for what it thought before, and decides.
    world.start_manager(0);
    world.run_ms(20_000);
    assert_eq!((view(&world, 0).decider.as_str(), view(&world, 0).desired), ("a", 3));
    assert_eq!(view(&world, 1), view(&world, 0));
    assert_eq!(ready(&world), 3);
    world.ask_of("shop", cpus(600));
    assert_eq!(*seen(&mut world, 1, 40).last().expect("some"), 9);
}

#[test]
fn hosts_that_were_cut_apart_each_have_what_they_need_and_then_all_of_it() {
    let mut world = two_hosts(CPU);
    world.ask_of("shop", cpus(400));
    world.run_ms(40_000);
    let needed = view(&world, 0).desired;
    assert!((6..9).contains(&needed), "{needed}");

    world.cut = true;
    world.run_ms(8_000);
    for host in [0, 1] {
        assert_eq!(view(&world, host).decider, world.hosts[host].config.name);
        assert!(ready_on(&world, host) >= needed as usize, "each has all that was needed");
    }
    world.run_ms(40_000);
    let before = ready(&world);
    world.cut = false;
    for _ in 0..50 {
        world.run_ms(100);
        assert!(ready(&world) >= before.min(9), "nothing is given up that both needed");
    }
    assert_eq!((view(&world, 0).decider.as_str(), view(&world, 1).decider.as_str()), ("a", "a"));
    world.run_ms(120_000);
    assert_eq!(ready(&world), view(&world, 0).desired as usize);
    assert!(view(&world, 0).desired >= 6, "{:?}", view(&world, 0));
}

#[test]
fn what_cannot_be_read_argues_against_fewer() {
    let mut world = two_hosts(CPU);
    world.ask_of("shop", cpus(600));
    world.run_ms(40_000);
    assert_eq!(view(&world, 0).desired, 9);
    for host in &mut world.hosts {
        host.failing.insert(Kind::ReadUsage, 1_000);
    }
    world.ask_of("shop", cpus(30));
    let blind = seen(&mut world, 0, 60);
    assert_eq!(blind, [9]);
    assert_eq!(view(&world, 0).metrics[0].value, None);
    assert!(world.hosts[0].said("usage.unread"));
    for host in &mut world.hosts {
        host.failing.clear();
    }
    assert_eq!(*seen(&mut world, 0, 100).last().expect("some"), 3);
}

#[test]
fn requests_of_all_balancers_are_added_up() {
    let mut world = two_hosts("[service.autoscale.metrics]\nrequests_per_s = 20\n");
    let rate = view(&world, 0).metrics[0].value;
    assert_eq!(rate, Some(Milli::whole(10)), "30 a second, of three machines, from the balancer of one host");
    world.ask_of("shop", Load { requests: 180, ..cpus(30) });
    world.run_ms(40_000);
    assert_eq!((view(&world, 1).desired, ready(&world)), (9, 9));

    // A balancer that answers nobody may be sending anything.
    world.hosts[1].failing.insert(Kind::ReadTraffic, 1_000);
    world.run_ms(12_000);
    world.ask_of("shop", cpus(30));
    assert_eq!(seen(&mut world, 0, 60).last(), Some(&9));
    world.hosts[1].failing.clear();
    assert_eq!(seen(&mut world, 0, 100).last(), Some(&3));
}

#[test]
fn nobody_is_asked_while_nothing_is_autoscaled() {
    let mut world = World::two_hosts(2);
    world.run_ms(30_000);
    let asks = |command: &crate::engine::Command| {
        matches!(command, crate::engine::Command::ReadUsage | crate::engine::Command::ReadTraffic { .. })
    };
    assert_eq!(world.hosts[0].count(asks), 0);
}
