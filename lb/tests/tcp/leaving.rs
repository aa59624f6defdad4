//! What becomes of connections whose upstream or service is taken away.

use std::time::Duration;

use serde_json::{Value, json};

use crate::network::in_network;
use crate::stage::{
    PORT, Server, balancer_for, configure, connect, echoes, has_ended, hears, is_reset, service, use_pools,
};

fn draining(server: &Server) -> Value {
    let mut upstream = server.upstream();
    upstream["state"] = json!("draining");
    upstream
}

#[test]
fn who_drains_keeps_its_connections_and_is_cut_when_it_has_left_and_its_time_is_over() {
    in_network(
        "leaving::who_drains_keeps_its_connections_and_is_cut_when_it_has_left_and_its_time_is_over",
        async {
            let [old, new] = [Server::echo("old").await, Server::echo("new").await];
            let balancer = balancer_for(json!({}), json!({"drain_ms": 1_000}), &[&old]).await;
            let mut client = connect(&balancer).await;
            hears(&mut client, "old").await;
            use_pools(&balancer, json!({"db": [draining(&old), new.upstream()]})).await;
            let mut later = connect(&balancer).await;
            hears(&mut later, "new").await;
            echoes(&mut client, "as long as it drains").await;
            use_pools(&balancer, json!({"db": [new.upstream()]})).await;
            echoes(&mut client, "and a while after").await;
            is_reset(&mut client).await;
            has_ended(&balancer, "db", "drained", 1).await;
            echoes(&mut later, "who stays does not notice").await;
        },
    );
}

#[test]
fn who_leaves_without_having_drained_is_dead_and_its_clients_are_told_at_once() {
    in_network(
        "leaving::who_leaves_without_having_drained_is_dead_and_its_clients_are_told_at_once",
        async {
            let [old, new] = [Server::echo("old").await, Server::echo("new").await];
            // Longer than the test.
            let balancer = balancer_for(json!({}), json!({"drain_ms": 3_600_000}), &[&old]).await;
            let mut clients = Vec::new();
            for _ in 0..50 {
                let mut client = connect(&balancer).await;
                hears(&mut client, "old").await;
                clients.push(client);
            }
            use_pools(&balancer, json!({"db": [new.upstream()]})).await;
            for client in &mut clients {
                is_reset(client).await;
            }
            has_ended(&balancer, "db", "upstream_gone", 50).await;
            hears(&mut connect(&balancer).await, "new").await;
        },
    );
}

#[test]
fn a_service_that_is_taken_away_takes_nothing_new_and_lets_what_is_open_end() {
    in_network("leaving::a_service_that_is_taken_away_takes_nothing_new_and_lets_what_is_open_end", async {
        let server = Server::echo("hello").await;
        let balancer = balancer_for(json!({}), json!({"drain_ms": 1_500}), &[&server]).await;
        let [mut ends, mut stays] = [connect(&balancer).await, connect(&balancer).await];
        for client in [&mut ends, &mut stays] {
            hears(client, "hello").await;
        }
        let pools = json!({"db": [server.upstream()]});
        configure(&balancer, json!([]), json!({}), pools.clone()).await;
        crate::balancer::eventually("the port is closed", async || {
            let refused = tokio::net::TcpStream::connect((balancer.address, PORT)).await;
            refused.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused).then_some(())
        })
        .await;
        echoes(&mut ends, "a last word").await;
        tokio::io::AsyncWriteExt::shutdown(&mut ends).await.expect("ended");
        assert_eq!(crate::stage::rest(&mut ends).await.expect("the end"), b"");
        echoes(&mut stays, "not yet").await;
        is_reset(&mut stays).await;

        // One that comes back in time keeps its connections, wherever it is then, and its figures.
        configure(&balancer, json!([service(json!({}))]), json!({"db": {"drain_ms": 1_000}}), pools.clone())
            .await;
        let mut client = connect(&balancer).await;
        hears(&mut client, "hello").await;
        configure(&balancer, json!([]), json!({}), pools.clone()).await;
        let moved = json!([service(json!({"port": 3307}))]);
        configure(&balancer, moved, json!({}), pools).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        echoes(&mut client, "still there").await;
    });
}

#[test]
fn a_port_or_a_timeout_that_changes_breaks_nothing() {
    in_network("leaving::a_port_or_a_timeout_that_changes_breaks_nothing", async {
        let server = Server::echo("hello").await;
        let balancer = balancer_for(json!({}), json!({"drain_ms": 200}), &[&server]).await;
        let mut client = connect(&balancer).await;
        hears(&mut client, "hello").await;
        let pools = json!({"db": [server.upstream()]});
        let moved = service(json!({"port": 3307, "idle_timeout_ms": 5_000}));
        configure(&balancer, json!([moved]), json!({}), pools).await;
        let mut at_new = crate::stage::connect_at(&balancer, 3307).await;
        hears(&mut at_new, "hello").await;
        crate::stage::has_open(&balancer, "db", 2).await;
        echoes(&mut client, "from before").await;
    });
}
