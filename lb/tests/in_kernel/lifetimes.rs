//! What becomes of connections when servers leave and services go, and of rules when balancers do.

use serde_json::json;

use crate::balancer::{Balancer, terminate, upstream};
use crate::client::Client;
use crate::namespaces::{eventually, in_namespaces};
use crate::server::Server;
use crate::{VIP, segment};

/// A balancer that forwards to one server, or to two.
fn one(more: &serde_json::Value, policy: &serde_json::Value, servers: &[&Server]) -> Balancer {
    let balancer = Balancer::start("a", 10, 240);
    balancer.configure(more, policy);
    balancer.push(&servers.iter().map(|server| upstream(server)).collect::<Vec<_>>());
    balancer.wait_until_it_gives(servers);
    balancer.wait_until_it_holds();
    balancer
}

#[test]
fn a_drained_server_keeps_its_connections_for_its_time_and_a_dead_one_has_none() {
    let name = "lifetimes::a_drained_server_keeps_its_connections_for_its_time_and_a_dead_one_has_none";
    in_namespaces(name, || {
        segment();
        let [s1, s2] = [Server::start("s1", 31), Server::start("s2", 32)];
        let balancer = one(&json!({}), &json!({"drain_ms": 3_000}), &[&s1, &s2]);
        let mut clients = Client::many(2, VIP);
        clients.sort_by(|one, other| one.server.cmp(&other.server));
        let [mut first, mut second] = <[Client; 2]>::try_from(clients).expect("two");

        let mut draining = upstream(&s1);
        draining["state"] = json!("draining");
        balancer.push(&[draining, upstream(&s2)]);
        balancer.push(&[upstream(&s2)]);
        eventually("the drained server is given nothing", || !balancer.gives(&s1));
        assert!(first.echoes(), "its time is not over");
        first.is_reset();
        assert!(second.echoes());

        // Out of the set without having drained: it is dead.
        balancer.push(&[]);
        second.is_reset();
        let refused = Client::connect(VIP).expect_err("nobody is left");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        eventually("that is said", || balancer.fault().is_some_and(|fault| fault.contains("no upstream")));
        drop((s1, s2));
    });
}

#[test]
fn the_kernel_goes_on_without_the_balancer_which_takes_over_and_clears_up() {
    let name = "lifetimes::the_kernel_goes_on_without_the_balancer_which_takes_over_and_clears_up";
    in_namespaces(name, || {
        segment();
        let server = Server::start("s1", 31);
        let mut balancer = one(&json!({}), &json!({}), &[&server]);
        // Not the public address, which goes with the balancer.
        let mut client = Client::connect("10.77.0.10").expect("connected");
        balancer.kill_all();
        assert!(client.echoes());
        assert!(Client::connect("10.77.0.10").expect("connected").echoes());

        let before = balancer.owner().expect("an owner");
        balancer.start_again();
        eventually("the next one takes over", || balancer.owner().is_some_and(|owner| owner != before));
        assert!(client.echoes());

        // Somebody else takes the rules away.
        crate::namespaces::run("nsenter --net=/run/netns/a nft flush ruleset");
        eventually("they are made anew", || balancer.ruleset().contains("10.77.0.31 . 3306"));
        assert!(Client::connect("10.77.0.10").expect("connected").echoes());

        balancer.stop();
        assert_eq!(balancer.tables(), "");
    });
}

#[test]
fn a_program_that_takes_the_place_of_another_one_keeps_the_rules_when_that_ends() {
    let name = "lifetimes::a_program_that_takes_the_place_of_another_one_keeps_the_rules_when_that_ends";
    in_namespaces(name, || {
        segment();
        let server = Server::start("s1", 31);
        let mut balancer = one(&json!({}), &json!({}), &[&server]);
        let mut client = Client::connect("10.77.0.10").expect("connected");
        let before = balancer.owner().expect("an owner");
        let mut second = balancer.second_proxy();
        eventually("the second one takes over", || balancer.owner().is_some_and(|owner| owner != before));
        let second_owner = balancer.owner();
        // The first one notices, and leaves it alone.
        eventually("the first one says so", || {
            balancer.fault().is_some_and(|fault| fault.contains("has taken over"))
        });
        assert_eq!(balancer.owner(), second_owner);
        balancer.stop();
        assert_eq!(balancer.owner(), second_owner);
        assert!(client.echoes());
        assert!(Client::connect("10.77.0.10").expect("connected").echoes());
        terminate(&mut second);
        assert_eq!(balancer.tables(), "");
    });
}

#[test]
fn a_service_that_was_taken_away_has_its_time_too_and_leaves_nothing() {
    in_namespaces("lifetimes::a_service_that_was_taken_away_has_its_time_too_and_leaves_nothing", || {
        segment();
        let server = Server::start("s1", 31);
        let balancer = one(&json!({}), &json!({"drain_ms": 3_000}), &[&server]);
        let mut client = Client::connect(VIP).expect("connected");
        balancer.put_config(json!([]), json!({}));
        eventually("nothing new is taken", || Client::connect(VIP).is_err());
        assert!(client.echoes(), "its time is not over");
        client.is_reset();
        eventually("nothing is left", || balancer.tables().is_empty());
        drop(server);
    });
}

#[test]
fn a_connection_that_is_silent_for_too_long_is_forgotten() {
    in_namespaces("lifetimes::a_connection_that_is_silent_for_too_long_is_forgotten", || {
        segment();
        let server = Server::start("s1", 31);
        // A service of systemd sees them like this (ProtectKernelTunables): forwarding is set in another way.
        crate::namespaces::run("mount --bind /proc/sys /proc/sys");
        crate::namespaces::run("mount -o remount,bind,ro /proc/sys");
        let balancer = one(&json!({"idle_timeout_ms": 1_000}), &json!({}), &[&server]);
        assert_eq!(balancer.fault(), None);
        let mut client = Client::connect(VIP).expect("connected");
        eventually("it is not among the open ones", || {
            balancer.row(&server).is_some_and(|row| row[4] == "0")
        });
        assert!(!client.echoes(), "nobody knows it");
        drop(server);
    });
}

#[test]
fn when_another_one_becomes_the_primary_connections_to_the_former_one_end_first() {
    let name = "lifetimes::when_another_one_becomes_the_primary_connections_to_the_former_one_end_first";
    in_namespaces(name, || {
        segment();
        let [mut s1, s2] = [Server::start("s1", 31), Server::start("s2", 32)];
        let balancer = Balancer::start("a", 10, 240);
        let check = json!({
            "active": true, "interval_ms": 200, "edge_interval_ms": 100, "timeout_ms": 200, "fall": 2, "rise": 1,
            "ask": {"tcp": {}}
        });
        balancer.configure(&json!({}), &json!({"primary_only": true, "check": check}));
        balancer.push(&[upstream(&s1), upstream(&s2)]);
        balancer.wait_until_it_holds();
        eventually("there is a primary", || Client::connect(VIP).is_ok());
        let mut clients = Client::many(4, VIP);
        assert!(clients.iter().all(|client| client.server == "s1"));
        s1.unplug();
        clients.iter_mut().for_each(Client::is_reset);
        eventually("the other one is the primary", || {
            Client::connect(VIP).is_ok_and(|client| client.server == "s2")
        });
        s1.kill();
        drop(s2);
    });
}
