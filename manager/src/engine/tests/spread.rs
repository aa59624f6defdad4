//! Several public addresses over several balancers: spread evenly, again after a loss and after the return.

use std::time::Duration;

use wire::cluster::ClusterView;
use wire::switchover::{SwitchoverOrder, SwitchoverState};

use crate::config::Config;
use crate::engine::testing::{Kind, World, parse};
use crate::engine::{Command, Maintenance};

/// Enough for everything to become calm and be moved.
const WHILE_MS: u64 = 40_000;

/// Host number `index` of `count`, with these `[[vip]]`.
fn host(index: usize, count: usize, vips: &str) -> Config {
    let peers: Vec<String> =
        (0..count).filter(|peer| *peer != index).map(|peer| format!("\"192.168.10.{}\"", peer + 1)).collect();
    parse(&format!(
        "name = \"{}\"\naddress = \"192.168.10.{own}\"\npeers = [{}]\ngateway = \"192.168.10.{own}\"\n\
         hypervisor = \"namespaces\"\naddress_pool = [\"192.168.10.{own}0-192.168.10.{own}6\"]\n{vips}\
         [[service]]\nname = \"stateless\"\nreplicas = 1\n",
        ["a", "b", "c"][index],
        peers.join(", "),
        own = index + 1,
    ))
}

fn vips(count: u8, more: &str) -> String {
    (0..count)
        .map(|at| format!("[[vip]]\naddress = \"192.168.10.{}\"\nvrid = {}\n{more}", 120 + at, 50 + at))
        .collect()
}

fn hosts(count: usize, vips: &str) -> World {
    World::of((0..count).map(|index| host(index, count, vips)))
}

fn view(world: &World) -> ClusterView {
    world.hosts[0].engine.as_ref().expect("it runs").cluster(world.now)
}

fn moved(world: &World) -> usize {
    world.hosts.iter().map(|host| host.count(|command| matches!(command, Command::HandOver { .. }))).sum()
}

#[test]
fn three_hosts_with_six_addresses_have_two_each_also_after_a_loss_and_the_return() {
    let mut world = hosts(3, &vips(6, ""));
    world.run_ms(WHILE_MS);
    assert_eq!(world.held(), [2, 2, 2]);
    world.forget_history();
    world.hosts[1].boot = Duration::from_secs(10);
    world.kill("b-lb");
    world.run_ms(1_000);
    assert_eq!((world.held(), moved(&world)), (vec![3, 0, 3], 0), "the priorities alone see to that");
    let view = view(&world);
    assert!(view.vips.iter().all(|vip| vip.order.len() == 3), "{:?}", view.vips);
    assert!(view.vips.iter().all(|vip| vip.should.as_ref().is_some_and(|host| host.as_str() != "b")));
    world.run_ms(WHILE_MS);
    assert_eq!((world.held(), moved(&world)), (vec![2, 2, 2], 2), "one by one, and no other");
    // Nothing else moves.
    world.run_ms(300_000);
    assert_eq!(moved(&world), 2);
}

#[test]
fn nothing_moves_before_it_is_calm_nor_while_somebody_works_on_a_host() {
    let mut world = hosts(3, &vips(6, ""));
    world.run_ms(WHILE_MS);
    let (now, note) = (world.now, "somebody is at work".to_owned());
    world.engine(2).set_maintenance(now, Some(Maintenance { until: None, note }));
    world.kill("b-lb");
    world.run_ms(WHILE_MS);
    assert_eq!(world.held(), [3, 0, 3]);
    let now = world.now;
    world.engine(2).set_maintenance(now, None);
    world.run_ms(2_000);
    assert_eq!(world.held(), [3, 0, 3], "not calm for long enough");
    world.run_ms(WHILE_MS);
    assert_eq!(world.held(), [2, 2, 2]);
}

#[test]
fn a_move_that_fails_is_tried_again_later() {
    let mut world = hosts(2, &vips(2, ""));
    world.run_ms(WHILE_MS);
    assert_eq!(world.held(), [1, 1]);
    for host in &mut world.hosts {
        host.failing.insert(Kind::HandOver, 2);
    }
    world.kill("a-lb");
    world.run_ms(8_000);
    assert_eq!(world.held(), [0, 2], "it failed");
    world.run_ms(60_000);
    assert_eq!(world.held(), [1, 1]);
}

#[test]
fn one_address_of_two_hosts_stays_where_it_is() {
    let mut world = hosts(2, &vips(1, ""));
    world.run_ms(5_000);
    let first = world.vip_holder();
    world.switch_over(0, SwitchoverOrder::default()).expect("it can");
    world.run_ms(2_000);
    assert_eq!(world.switchover(0).map(|view| view.state), Some(SwitchoverState::Done));
    assert_ne!(world.vip_holder(), first);
    world.forget_history();
    world.run_ms(120_000);
    assert_eq!(moved(&world), 0);
}

#[test]
fn an_order_that_people_said_is_kept_to_and_a_role_is_left_alone() {
    let mut world = hosts(3, &vips(3, "order = [\"c\", \"a\"]\n"));
    world.run_ms(WHILE_MS);
    assert_eq!(world.held(), [0, 0, 3]);
    world.kill("c-lb");
    world.run_ms(500);
    assert_eq!(world.held(), [3, 0, 0]);
    world.run_ms(WHILE_MS);
    assert_eq!(world.held(), [0, 0, 3]);

    let mut world = hosts(2, &vips(2, "role = \"master\"\n"));
    world.run_ms(WHILE_MS);
    let before = world.held();
    assert_eq!((before.iter().max(), moved(&world)), (Some(&2), 0), "as the balancers elected");
    assert!(view(&world).vips.iter().all(|vip| vip.order.is_empty() && vip.should.is_none()));
}

#[test]
fn all_that_one_holds_can_be_sent_away_at_once_also_by_another_manager() {
    let mut world = hosts(3, &vips(6, ""));
    world.run_ms(WHILE_MS);
    let order = SwitchoverOrder { from: Some("b".into()), ..SwitchoverOrder::default() };
    world.switch_over(0, order.clone()).expect("it can");
    world.run_ms(2_000);
    assert_eq!(world.held(), [3, 0, 3]);
    let nothing = world.switch_over(1, order).expect_err("it holds none");
    assert!(
        nothing.status == 409 && nothing.detail.contains("holds no public address"),
        "{}",
        nothing.detail
    );
    let unknown = SwitchoverOrder { from: Some("z".into()), ..SwitchoverOrder::default() };
    assert_eq!(world.switch_over(0, unknown).expect_err("no such host").status, 404);
    let both = SwitchoverOrder {
        from: Some("a".into()),
        vip: Some([192, 168, 10, 120].into()),
        ..SwitchoverOrder::default()
    };
    assert_eq!(world.switch_over(0, both).expect_err("one or the other").status, 400);
}

#[test]
fn a_balancer_that_is_stopped_hands_each_address_to_the_next_of_its_order() {
    let mut world = hosts(3, &vips(6, ""));
    world.run_ms(WHILE_MS);
    world.forget_history();
    world.replace(0, "a-lb").expect("it runs");
    while world.hosts[0].builds().is_empty() {
        world.run_ms(1);
    }
    assert_eq!((world.held(), moved(&world)), (vec![0, 3, 3], 1), "all at once, and each where it belongs");
    world.run_ms(WHILE_MS);
    assert_eq!(world.held(), [2, 2, 2]);
}
