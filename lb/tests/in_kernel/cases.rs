//! What both ways of forwarding have to pass.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::balancer::{Balancer, upstream};
use crate::client::{Client, is_even, spread};
use crate::namespaces::eventually;
use crate::server::Server;
use crate::{CHECKED_MS, JITTER, VIP, segment};

/// Two balancers, of which `a` holds the address, and three servers that both forward to.
pub(crate) fn two_balancers(forwarding: &str) -> (Balancer, Balancer, [Server; 3]) {
    segment();
    let servers = Server::three();
    if forwarding == "nftables-dsr" {
        servers.iter().for_each(Server::has_the_public_address);
    }
    let balancers = [("a", 10, 240), ("b", 20, 230)].map(|(name, last, priority)| {
        let balancer = Balancer::start(name, last, priority);
        balancer.configure(&json!({"forwarding": forwarding}), &json!({}));
        balancer.push(&servers.iter().map(upstream).collect::<Vec<Value>>());
        balancer
    });
    balancers.iter().for_each(|balancer| balancer.wait_until_it_gives(&servers.each_ref()));
    balancers[0].wait_until_it_holds();
    let [a, b] = balancers;
    (a, b, servers)
}

/// 50 connections are spread evenly, a server that is killed leaves within the interval of its checks, and so does one whose
/// machine is lost, whose clients hear of it; the balancer is killed and the other one goes on.
pub(crate) fn everything_dies(forwarding: &str, forward: &str) {
    let (a, b, [mut s1, s2, s3]) = two_balancers(forwarding);
    let mut clients = Client::many(50, VIP);
    is_even(&clients, 3);
    assert!(clients.iter_mut().all(Client::echoes));
    for server in [&s1, &s2, &s3] {
        let row = a.row(server).expect("a row");
        let count = spread(&clients)[server.name].to_string();
        assert_eq!(row[2..], [forward, "1", &count, "0"], "{}", a.get("/connections"));
    }
    assert_eq!(a.shows(&[]), a.get("/connections"));
    let listed = a.shows(&["-c"]);
    assert_eq!(listed.lines().filter(|line| line.contains("ESTABLISHED")).count(), 50, "{listed}");
    eventually("the kernel's count is taken in", || {
        a.get("/metrics").contains("lb_tcp_connections_accepted_total{service=\"db\"} 50")
    });
    assert_eq!(a.fault(), None);

    s1.kill();
    let since = Instant::now();
    eventually("a dead server is given nothing", || !a.gives(&s1));
    let took = since.elapsed();
    println!("{forwarding}: a killed server left after {} ms", took.as_millis());
    // What a check takes, and what we do to see it, comes on top.
    let interval = Duration::from_millis(CHECKED_MS).mul_f64(1.0 + JITTER);
    assert!(took < interval + Duration::from_millis(250), "{took:?}");
    is_even(&Client::many(20, VIP), 2);

    s2.unplug();
    eventually("a lost server is given nothing", || !a.gives(&s2));
    clients.retain(|client| client.server != "s1");
    let (mut lost, mut left): (Vec<_>, Vec<_>) =
        clients.into_iter().partition(|client| client.server == "s2");
    assert!(!lost.is_empty());
    // They say nothing, and hear of it all the same.
    lost.iter_mut().for_each(Client::is_reset);
    assert!(left.iter_mut().all(Client::echoes), "those of the other server go on");

    a.lose_power();
    let since = Instant::now();
    b.wait_until_it_holds();
    eventually("a new connection succeeds", || Client::connect(VIP).is_ok());
    println!("{forwarding}: the first connection {} ms after the balancer died", since.elapsed().as_millis());
    is_even(&Client::many(20, VIP), 1);
    drop(s3);
}
