//! Connections whose addresses are translated.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::balancer::{Balancer, upstream, upstream_v6};
use crate::cases::everything_dies;
use crate::client::{Client, is_even, spread};
use crate::namespaces::{eventually, in_namespaces, run};
use crate::server::Server;
use crate::{VIP, segment, set};

#[test]
fn servers_and_balancers_die_and_connections_go_on() {
    in_namespaces("nat::servers_and_balancers_die_and_connections_go_on", || {
        everything_dies("nftables", "Masq");
    });
}

#[test]
fn a_server_sees_the_balancer_or_as_its_gateway_the_client() {
    in_namespaces("nat::a_server_sees_the_balancer_or_as_its_gateway_the_client", || {
        segment();
        let server = Server::start("s1", 31);
        let balancer = Balancer::start("a", 10, 240);
        balancer.configure(&json!({}), &json!({}));
        balancer.push(&[upstream(&server)]);
        balancer.wait_until_it_gives(&[&server]);
        balancer.wait_until_it_holds();
        let is = |address: &str| address.parse::<IpAddr>().expect("an address");
        let came_from = |address: &str| {
            let mapped = format!("::ffff:{address}");
            server.clients().last().is_some_and(|client| *client == is(&mapped))
        };
        assert!(Client::connect(VIP).expect("connected").echoes());
        assert!(came_from("10.77.0.10"), "{:?}", server.clients());

        // Its way to the clients leads through the balancer.
        set("s1", "net.ipv4.conf.all.accept_redirects", "0");
        run("ip -n s1 route add 10.77.0.1/32 via 10.77.0.10");
        balancer.configure(&json!({"forwarding": "nftables-gateway"}), &json!({}));
        eventually("the server sees who the client is", || {
            Client::connect(VIP).is_ok_and(|mut client| client.echoes()) && came_from("10.77.0.1")
        });
    });
}

#[test]
fn ipv6_is_forwarded_too_and_weights_and_the_clients_address_count() {
    in_namespaces("nat::ipv6_is_forwarded_too_and_weights_and_the_clients_address_count", || {
        segment();
        let servers = Server::three();
        let balancer = Balancer::start("a", 10, 240);
        balancer.configure(&json!({}), &json!({}));
        balancer.push(&servers.iter().map(upstream_v6).collect::<Vec<Value>>());
        eventually("what the kernel has to be told is said", || {
            balancer.fault().is_some_and(|fault| fault.contains("net.ipv6.conf.all.forwarding = 1"))
        });
        set("a", "net.ipv6.conf.all.forwarding", "1");
        eventually("it is tried again", || balancer.fault().is_none());
        is_even(&Client::many(30, "fd77::10"), 3);
        // There is nobody of the other family.
        let refused = Client::connect("10.77.0.10").expect_err("nobody");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

        let mut weighed = servers.each_ref().map(upstream);
        weighed[0]["weight"] = json!(2);
        balancer.push(&weighed);
        balancer.wait_until_it_gives(&servers.each_ref());
        let clients = Client::many(40, "10.77.0.10");
        assert_eq!(spread(&clients), [("s1", 20), ("s2", 10), ("s3", 10)].into());

        balancer.configure(&json!({}), &json!({"balance": {"algorithm": "maglev", "hash_key": "client"}}));
        eventually("a client stays with its server", || {
            let clients = Client::many(6, "10.77.0.10");
            spread(&clients).len() == 1
        });
    });
}
