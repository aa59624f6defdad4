//! Connections that servers answer directly.

use std::net::IpAddr;

use serde_json::json;

use crate::balancer::{Balancer, upstream};
use crate::cases::{everything_dies, two_balancers};
use crate::client::Client;
use crate::namespaces::{eventually, in_namespaces};
use crate::server::Server;
use crate::{PORT, VIP, segment};

#[test]
fn servers_and_balancers_die_and_connections_go_on() {
    in_namespaces("direct::servers_and_balancers_die_and_connections_go_on", || {
        everything_dies("nftables-dsr", "Route");
    });
}

#[test]
fn a_server_sees_the_client_and_a_connection_stays_while_the_set_changes() {
    in_namespaces("direct::a_server_sees_the_client_and_a_connection_stays_while_the_set_changes", || {
        let (a, _b, [s1, s2, s3]) = two_balancers("nftables-dsr");
        let mut clients = Client::many(9, VIP);
        let expected: IpAddr = "::ffff:10.77.0.1".parse().expect("an address");
        assert!([&s1, &s2, &s3].iter().all(|server| server.clients().contains(&expected)));
        // One comes back, another one drains: nobody is moved.
        let mut draining = upstream(&s3);
        draining["state"] = json!("draining");
        a.push(&[upstream(&s2), draining, upstream(&s1)]);
        eventually("a draining server is given nothing", || !a.gives(&s3));
        assert!(clients.iter_mut().all(Client::echoes));
        // What ends is not counted among what is open.
        let count = |column: usize| a.row(&s1).expect("a row")[column].clone();
        assert_eq!(count(4), "3");
        assert_eq!(a.row(&s3).expect("a row")[3..], ["0", "3", "0"], "it has its connections still");
        clients.retain(|client| client.server != "s1");
        eventually("ended connections are told apart", || (count(4), count(5)) == ("0".into(), "3".into()));
    });
}

#[test]
fn where_the_client_decides_a_connection_outlives_its_balancer() {
    in_namespaces("direct::where_the_client_decides_a_connection_outlives_its_balancer", || {
        let (a, b, _servers) = two_balancers("nftables-dsr");
        let policy = json!({"balance": {"algorithm": "maglev", "hash_key": "client"}});
        for balancer in [&a, &b] {
            balancer.configure(&json!({"forwarding": "nftables-dsr"}), &policy);
            eventually("it is in use", || balancer.ruleset().contains("jhash ip saddr mod 1021"));
        }
        let mut clients = Client::many(5, VIP);
        a.lose_power();
        b.wait_until_it_holds();
        assert!(clients.iter_mut().all(Client::echoes));
    });
}

#[test]
fn what_cannot_be_passed_on_is_said() {
    in_namespaces("direct::what_cannot_be_passed_on_is_said", || {
        segment();
        let server = Server::start("s1", 31);
        let balancer = Balancer::start("a", 10, 240);
        balancer.configure(&json!({"forwarding": "nftables-dsr"}), &json!({}));
        for (port, address, words) in [
            (PORT + 1, "10.77.0.31", "expected 3306, the service's"),
            (PORT, "10.99.0.1", "has to be on the same segment"),
            (PORT, "127.0.0.1", "an address of this machine alone"),
            (PORT, "fd77::31", "an address of IPv4"),
        ] {
            balancer.push(&[json!({"id": "s1", "address": address, "port": port})]);
            eventually(words, || balancer.fault().is_some_and(|fault| fault.contains(words)));
        }
        balancer.push(&[]);
        eventually("nobody", || {
            balancer.fault().is_some_and(|fault| fault.contains("no upstream is in use"))
        });
        drop(server);
    });
}
