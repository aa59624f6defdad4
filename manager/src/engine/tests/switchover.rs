//! Public addresses move because somebody asked for it.

use std::time::Duration;

use wire::switchover::{Switchover, SwitchoverOrder, SwitchoverState};

use crate::engine::Command;
use crate::engine::testing::{Kind, World};

fn order(world: &mut World, host: usize, to: Option<&str>) -> Result<Switchover, wire::Problem> {
    let order = SwitchoverOrder { to: to.map(Into::into), ..SwitchoverOrder::default() };
    world.switch_over(host, order)
}

#[test]
fn the_address_moves_there_and_back_and_every_step_is_told() {
    let mut world = World::two_hosts(2);
    for (from, to) in [(0, "b-lb"), (1, "a-lb"), (0, "b-lb")] {
        world.forget_history();
        let begun = order(&mut world, from, None).expect("it can");
        assert_eq!((begun.state, begun.to.as_str()), (SwitchoverState::Preparing, to));
        world.run_ms(2_000);
        assert_eq!(world.vip_holder(), Some(to.into()));
        let ended = world.switchover(from).expect("there was one");
        assert_eq!((ended.state, ended.to.as_str(), ended.reason), (SwitchoverState::Done, to, None));
        for kind in ["asked", "closed", "held", "released", "done"] {
            assert!(world.hosts[from].said_of_switchover(kind), "{kind}");
        }
        assert_eq!(world.missing(), Vec::<String>::new());
    }
}

#[test]
fn any_manager_can_be_asked() {
    let mut world = World::two_hosts(1);
    let begun = order(&mut world, 1, Some("b")).expect("it can");
    assert_eq!((begun.state, begun.from.as_str()), (SwitchoverState::Forwarded, "a-lb"));
    world.run_ms(2_000);
    assert_eq!(world.vip_holder(), Some("b-lb".into()));
    assert_eq!(world.switchover(1).map(|ended| ended.state), Some(SwitchoverState::Done));
    assert_eq!(world.switchover(0).map(|ended| ended.state), Some(SwitchoverState::Done));
}

#[test]
fn what_another_manager_refuses_is_said_here() {
    let mut world = World::two_hosts(1);
    order(&mut world, 0, None).expect("it can");
    order(&mut world, 1, None).expect("it is passed on");
    world.run_ms(1_000);
    let ended = world.switchover(1).expect("there was one");
    assert_eq!(ended.state, SwitchoverState::Failed);
    assert!(ended.reason.as_deref().is_some_and(|reason| reason.contains("already")), "{ended:?}");
}

#[test]
fn one_that_cannot_take_it_is_refused_with_the_reason() {
    let mut world = World::two_hosts(1);
    let refused = |world: &mut World, to| order(world, 0, to).expect_err("refused");
    let unknown = refused(&mut world, Some("c"));
    assert!(unknown.status == 404 && unknown.detail.contains("there is: a, b"), "{}", unknown.detail);
    let same = refused(&mut world, Some("a"));
    assert!(same.status == 409 && same.detail.contains("already"), "{}", same.detail);
    let strange = SwitchoverOrder { vip: Some([192, 0, 2, 1].into()), ..SwitchoverOrder::default() };
    assert_eq!(world.switch_over(0, strange).expect_err("no such address").status, 404);
    let hasty = SwitchoverOrder { timeout_ms: 0, ..SwitchoverOrder::default() };
    assert_eq!(world.switch_over(0, hasty).expect_err("no time at all").status, 400);

    world.hosts[1].boot = Duration::from_secs(3);
    world.kill("b-lb");
    world.run_ms(500);
    let dead = refused(&mut world, None);
    assert!(dead.status == 409 && dead.detail.contains("b-lb is not ready but"), "{}", dead.detail);
    world.run_ms(4_000);
    world.kill_manager(1);
    world.run_ms(3_000);
    let deaf = refused(&mut world, None);
    assert!(deaf.status == 409 && deaf.detail.contains("not heard"), "{}", deaf.detail);
    assert_eq!(world.hosts[0].count(|command| matches!(command, Command::HandOver { .. })), 0);
}

#[test]
fn it_waits_until_the_other_balancer_knows_what_this_one_does() {
    let mut world = World::two_hosts(2);
    world.hosts[1].delays.insert(Kind::Push, Duration::from_millis(800));
    world.create(0, "stateless").expect("there is room");
    world.until("a-stateless-3", wire::cluster::Phase::Ready);
    world.run_ms(50);
    order(&mut world, 0, None).expect("it can");
    world.run_ms(300);
    let waiting = world.switchover(0).expect("there is one");
    assert_eq!(waiting.state, SwitchoverState::Preparing);
    assert!(waiting.reason.is_some_and(|reason| reason.contains("newest upstreams")));
    world.run_ms(2_500);
    assert_eq!(world.switchover(0).map(|ended| ended.state), Some(SwitchoverState::Done));
    assert_eq!(world.vip_holder(), Some("b-lb".into()));
}

#[test]
fn where_the_balancer_fails_all_stays_as_it_is_and_it_can_be_tried_again() {
    let mut world = World::two_hosts(1);
    world.hosts[0].failing.insert(Kind::HandOver, 1);
    order(&mut world, 0, None).expect("it can");
    world.run_ms(1_000);
    let failed = world.switchover(0).expect("there was one");
    assert_eq!((failed.state, failed.reason.as_deref()), (SwitchoverState::Failed, Some("told to")));
    assert_eq!(world.vip_holder(), Some("a-lb".into()));
    order(&mut world, 0, None).expect("it can");
    world.run_ms(1_000);
    assert_eq!(world.vip_holder(), Some("b-lb".into()));
}

#[test]
fn a_balancer_that_dies_on_the_way_ends_it() {
    let mut world = World::two_hosts(1);
    world.hosts[0].delays.insert(Kind::HandOver, Duration::from_secs(5));
    order(&mut world, 0, None).expect("it can");
    world.run_ms(100);
    world.kill("a-lb");
    world.run_ms(3_000);
    let ended = world.switchover(0).expect("there was one");
    assert_eq!(ended.state, SwitchoverState::Failed);
    assert!(ended.reason.is_some_and(|reason| reason.contains("lost")));
    assert_eq!(world.missing(), Vec::<String>::new());
}

#[test]
fn a_balancer_that_had_handed_over_once_does_so_again_before_it_is_stopped() {
    let mut world = World::two_hosts(1);
    order(&mut world, 0, None).expect("it can");
    world.run_ms(1_000);
    order(&mut world, 1, None).expect("it can");
    world.run_ms(1_000);
    assert_eq!(world.vip_holder(), Some("a-lb".into()));
    world.replace(0, "a-lb").expect("it runs");
    while world.hosts[0].builds().is_empty() {
        world.run_ms(1);
    }
    assert_eq!(world.vip_holder(), Some("b-lb".into()));
    assert!(world.hosts[0].said_of_switchover("done"));
}
