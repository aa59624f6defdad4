//! In maintenance a manager observes and reports, and leaves every machine alone.

use std::time::Duration;

use wire::cluster::{FaultKind, Phase};

use crate::engine::testing::World;
use crate::engine::{Command, Maintenance};

const NOTE: &str = "maintenance is on since noon, by uid 0";

fn begin(world: &mut World, host: usize, for_ms: Option<u64>) {
    let now = world.now;
    let until = for_ms.map(|ms| now + Duration::from_millis(ms));
    world.engine(host).set_maintenance(now, Some(Maintenance { until, note: NOTE.to_owned() }));
}

fn end(world: &mut World, host: usize) {
    let now = world.now;
    world.engine(host).set_maintenance(now, None);
}

/// How often something was done to a machine or on the wire.
fn deeds(world: &World, host: usize) -> usize {
    world.hosts[host].count(|command| match command {
        Command::Create(_)
        | Command::Stop(_)
        | Command::KeepSpares(_)
        | Command::Fence(_)
        | Command::HandOver { .. }
        | Command::Forward { .. }
        | Command::Probe(_)
        | Command::Resign { .. } => true,
        Command::Save(_)
        | Command::List
        | Command::ReadUsage
        | Command::ReadTraffic { .. }
        | Command::Watch { .. }
        | Command::Push { .. }
        | Command::Configure { .. }
        | Command::ReadLb { .. }
        | Command::TellUplink { .. }
        | Command::Rank { .. }
        | Command::AskTargets(_)
        | Command::Tell { .. }
        | Command::Gossip { .. }
        | Command::TakeBack(_) => false,
    })
}

#[test]
fn what_dies_stays_dead_until_it_ends_and_clients_are_kept_away_from_it() {
    let mut world = World::two_hosts(2);
    begin(&mut world, 0, None);
    world.kill("a-stateless-1");
    world.kill("a-lb");
    world.run_ms(60_000);
    assert_eq!(deeds(&world, 0), 0);
    assert_eq!(world.phase("a-stateless-1"), Phase::Dead);
    assert_eq!(world.phase("a-lb"), Phase::Dead);
    assert_eq!(world.upstreams(1).len(), 3, "the other balancer was told");

    end(&mut world, 0);
    world.run_ms(15_000);
    assert_eq!(world.missing(), Vec::<String>::new());
    assert!(world.hosts[0].said("maintenance.on") && world.hosts[0].said("maintenance.off"));
}

#[test]
fn what_is_silent_is_asked_on_and_not_called_dead() {
    let mut world = World::two_hosts(2);
    begin(&mut world, 0, None);
    world.freeze("a-stateless-1");
    world.run_ms(120_000);
    assert_eq!(world.phase("a-stateless-1"), Phase::Suspect);
    let asked = world.hosts[0].count(|command| matches!(command, Command::Watch { .. }));
    assert!((50..500).contains(&asked), "neither given up nor asked without pause: {asked}");
    world.thaw("a-stateless-1");
    world.run_ms(3_000);
    assert_eq!(world.phase("a-stateless-1"), Phase::Ready);

    // One that is silent at the end gets all of its retries, and then it is rebuilt.
    world.freeze("a-stateless-2");
    world.run_ms(60_000);
    assert_eq!(deeds(&world, 0), 0);
    end(&mut world, 0);
    world.run_ms(1_000);
    assert_eq!(deeds(&world, 0), 0);
    world.run_ms(20_000);
    assert_eq!(world.hosts[0].builds(), ["fence a-stateless-2", "create a-stateless-2 at 192.168.10.12"]);
    assert_eq!(world.missing(), Vec::<String>::new());
}

#[test]
fn it_ends_by_itself_and_shows_everywhere_meanwhile() {
    let mut world = World::two_hosts(1);
    begin(&mut world, 0, Some(10_000));
    world.kill("a-stateless-1");
    world.run_ms(9_000);
    assert_eq!(deeds(&world, 0), 0);
    for host in [0, 1] {
        let now = world.now;
        let view = world.engine(host).cluster(now);
        let own = view.hosts.iter().find(|host| host.name.as_str() == "a").expect("known");
        assert!(own.warnings.iter().any(|warning| warning.contains(NOTE)), "{own:?}");
    }
    world.run_ms(5_000);
    assert_eq!(world.missing(), Vec::<String>::new());
    let now = world.now;
    assert!(!world.engine(0).in_maintenance());
    assert!(world.engine(0).cluster(now).hosts.iter().all(|host| host.warnings.is_empty()));
}

#[test]
fn people_are_told_that_nothing_is_made_meanwhile() {
    let mut world = World::two_hosts(1);
    begin(&mut world, 0, None);
    for refused in [
        world.create(0, "stateless").map(|_| ()),
        world.delete(0, "a-stateless-1"),
        world.replace(0, "a-stateless-1"),
    ] {
        let problem = refused.expect_err("refused");
        assert_eq!(problem.status, 409);
        assert!(problem.detail.contains("manager maintenance off"), "{problem:?}");
    }
    world.run_ms(5_000);
    assert_eq!(deeds(&world, 0), 0);
    end(&mut world, 0);
    assert!(world.create(0, "stateless").is_ok());
}

#[test]
fn what_was_begun_before_is_finished_only_afterwards() {
    let mut world = World::two_hosts(2);
    world.delete(0, "a-stateless-2").expect("wanted until now");
    begin(&mut world, 0, None);
    // Draining, and its peers know: the stop is what is left.
    world.run_ms(60_000);
    assert_eq!(deeds(&world, 0), 0);
    assert_eq!(world.phase("a-stateless-2"), Phase::Draining);
    end(&mut world, 0);
    world.run_ms(10_000);
    assert_eq!(world.hosts[0].builds(), ["stop a-stateless-2", "fence a-stateless-2"]);
}

#[test]
fn a_manager_that_starts_in_it_adopts_and_touches_nothing() {
    let mut world = World::two_hosts(2);
    world.kill_manager(0);
    world.kill("a-stateless-1");
    world.freeze("a-stateless-2");
    world.forget_history();
    world.start_manager(0);
    begin(&mut world, 0, None);
    world.run_ms(60_000);
    assert_eq!(deeds(&world, 0), 0);
    end(&mut world, 0);
    world.run_ms(30_000);
    assert_eq!(world.missing(), Vec::<String>::new());
}

#[test]
fn whatever_happens_to_machines_nothing_is_done() {
    let mut world = World::two_hosts(4);
    begin(&mut world, 0, None);
    let ids = ["a-lb", "a-stateless-1", "a-stateless-2", "a-stateless-3", "a-stateless-4"];
    let faults = [FaultKind::Freeze, FaultKind::Kill, FaultKind::Thaw, FaultKind::Kill];
    for step in 0..200 {
        world.harm(ids[step % ids.len()], faults[step % faults.len()]);
        if step % 17 == 0 {
            world.stall_manager(0, 3_000);
        }
        world.run_ms(370);
    }
    assert_eq!(deeds(&world, 0), 0);
    end(&mut world, 0);
    world.run_ms(60_000);
    assert_eq!(world.missing(), Vec::<String>::new());
}
