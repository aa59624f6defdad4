//! Upstreams that cannot be had, and what their connections find instead.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::balancer::eventually;
use crate::network::in_network;
use crate::stage::{
    PORT, Server, balancer_for, connect, echoes, has_ended, has_open, hears, is_turned_away, rest, use_pools,
};

/// An upstream at an address where nothing listens.
fn dead(port: u16) -> Value {
    json!({"id": format!("dead-{port}"), "address": "127.0.0.1", "port": port})
}

#[test]
fn who_refuses_is_left_for_the_next_one_and_ejected() {
    in_network("failing::who_refuses_is_left_for_the_next_one_and_ejected", async {
        let server = Server::echo("alive").await;
        let policy = json!({"balance": {"algorithm": "round_robin", "slow_start_ms": 0}});
        let balancer = balancer_for(json!({}), policy, &[]).await;
        use_pools(&balancer, json!({"db": [dead(1), dead(2), server.upstream()]})).await;
        for _ in 0..10 {
            let mut client = connect(&balancer).await;
            hears(&mut client, "alive").await;
        }
        let status = balancer.get_json("/status").await["tcp"]["db"].clone();
        assert_eq!(status["connect_failures"]["refused"], 2, "once each: {status}");
        for id in ["dead-1", "dead-2"] {
            assert_eq!(balancer.record_of("db", id).await["ejected"], true, "{id}");
        }
        assert_eq!(balancer.record_of("db", &server.id()).await["requests"], 10);
    });
}

#[test]
fn an_upstream_that_is_back_is_found_by_its_check_without_a_word_of_http() {
    in_network("failing::an_upstream_that_is_back_is_found_by_its_check_without_a_word_of_http", async {
        let [one, two] = [Server::echo("one").await, Server::echo("two").await];
        let balancer = balancer_for(json!({}), json!({"eject_min_ms": 100}), &[&one, &two]).await;
        let (address, id) = (one.address.to_string(), one.id());
        one.stop().await;
        eventually("it is ejected", async || {
            let mut client = connect(&balancer).await;
            hears(&mut client, "two").await;
            (balancer.record_of("db", &id).await["ejected"] == true).then_some(())
        })
        .await;
        let again = Server::start_at(&address, async |mut tcp| {
            let mut word = [0; 4];
            let _ = tcp.write_all(b"new").await;
            // Its check connects, and says nothing.
            if tokio::io::AsyncReadExt::read(&mut tcp, &mut word).await.is_ok_and(|read| read > 0) {
                assert_eq!(&word, b"word");
            }
        })
        .await;
        eventually("it is used again", async || {
            let mut client = connect(&balancer).await;
            client.write_all(b"word").await.expect("sent");
            let mut name = [0; 3];
            tokio::io::AsyncReadExt::read_exact(&mut client, &mut name).await.expect("a name");
            (&name == b"new").then_some(())
        })
        .await;
        assert_eq!(again.address.to_string(), address);
    });
}

#[test]
fn while_there_is_nobody_connections_are_held_and_go_on_with_a_push() {
    in_network("failing::while_there_is_nobody_connections_are_held_and_go_on_with_a_push", async {
        let policy = json!({"hold_ms": 10_000, "hold_requests": 2});
        let balancer = balancer_for(json!({}), policy, &[]).await;
        use_pools(&balancer, json!({"db": [dead(1)]})).await;
        let mut held = [connect(&balancer).await, connect(&balancer).await];
        for client in &mut held {
            client.write_all(b"waiting").await.expect("sent");
        }
        has_open(&balancer, "db", 2).await;
        is_turned_away(&balancer, PORT).await;
        has_ended(&balancer, "db", "no_upstream", 1).await;
        let server = Server::echo("").await;
        use_pools(&balancer, json!({"db": [server.upstream()]})).await;
        for client in &mut held {
            hears(client, "waiting").await;
        }
    });
}

#[test]
fn an_upstream_has_no_more_than_its_fill_and_the_rest_wait() {
    in_network("failing::an_upstream_has_no_more_than_its_fill_and_the_rest_wait", async {
        let server = Server::echo("in").await;
        let limits = json!({"max_connections": 2, "max_pending": 1, "pending_timeout_ms": 10_000});
        let balancer = balancer_for(json!({}), json!({"upstream_limits": limits}), &[&server]).await;
        let mut inside = vec![connect(&balancer).await, connect(&balancer).await];
        for client in &mut inside {
            hears(client, "in").await;
        }
        let mut waiting = connect(&balancer).await;
        eventually("it waits", async || {
            (balancer.get_json("/status").await["pools"]["db"]["waiting"] == 1).then_some(())
        })
        .await;
        is_turned_away(&balancer, PORT).await;
        has_ended(&balancer, "db", "no_room", 1).await;
        assert_eq!(server.connections(), 2);
        inside.pop();
        hears(&mut waiting, "in").await;
        assert_eq!(balancer.record_of("db", &server.id()).await["most_in_flight"], 2);
    });
}

#[test]
fn a_service_has_no_more_than_its_fill() {
    in_network("failing::a_service_has_no_more_than_its_fill", async {
        let server = Server::echo("in").await;
        let balancer = balancer_for(json!({"max_connections": 1}), json!({}), &[&server]).await;
        let mut inside = connect(&balancer).await;
        hears(&mut inside, "in").await;
        is_turned_away(&balancer, PORT).await;
        has_ended(&balancer, "db", "service_full", 1).await;
        inside.shutdown().await.expect("ended");
        assert_eq!(rest(&mut inside).await.expect("the end"), b"");
        has_open(&balancer, "db", 0).await;
        hears(&mut connect(&balancer).await, "in").await;
    });
}

#[test]
fn suspects_and_backups_are_used_only_when_there_is_nobody_better() {
    in_network("failing::suspects_and_backups_are_used_only_when_there_is_nobody_better", async {
        let [one, two, spare] =
            [Server::echo("one").await, Server::echo("two").await, Server::echo("spare").await];
        let balancer = balancer_for(json!({}), json!({}), &[]).await;
        let with = |server: &Server, key: &str, value: Value| {
            let mut upstream = server.upstream();
            upstream[key] = value;
            upstream
        };
        let backup = with(&spare, "backup", json!(true));
        // Frozen: its connections are taken by its system, but its manager has not heard of it.
        let suspect = with(&one, "state", json!("suspect"));
        use_pools(&balancer, json!({"db": [suspect, two.upstream(), backup]})).await;
        for _ in 0..20 {
            hears(&mut connect(&balancer).await, "two").await;
        }
        use_pools(&balancer, json!({"db": [suspect, with(&two, "state", json!("draining")), backup]})).await;
        hears(&mut connect(&balancer).await, "spare").await;
        use_pools(&balancer, json!({"db": [suspect]})).await;
        hears(&mut connect(&balancer).await, "one").await;
    });
}

#[test]
fn least_requests_counts_open_connections() {
    in_network("failing::least_requests_counts_open_connections", async {
        let servers = [Server::echo("x").await, Server::echo("x").await, Server::echo("x").await];
        let policy = json!({"balance": {"algorithm": "least_requests", "slow_start_ms": 0}});
        let balancer = balancer_for(json!({}), policy, &servers.each_ref()).await;
        let mut clients = Vec::new();
        for _ in 0..30 {
            let mut client = connect(&balancer).await;
            hears(&mut client, "x").await;
            clients.push(client);
        }
        assert_eq!(servers.each_ref().map(Server::connections), [10, 10, 10]);
        for client in &mut clients {
            echoes(client, "still there").await;
        }
    });
}

#[test]
fn a_client_stays_where_its_address_is_hashed_to() {
    in_network("failing::a_client_stays_where_its_address_is_hashed_to", async {
        let servers = [Server::echo("1").await, Server::echo("2").await, Server::echo("3").await];
        let policy = json!({"balance": {"algorithm": "maglev", "slow_start_ms": 0}});
        let balancer = balancer_for(json!({}), policy, &servers.each_ref()).await;
        let mut used = std::collections::BTreeSet::new();
        for last in 1..=30 {
            let mut names = std::collections::BTreeSet::new();
            for _ in 0..3 {
                let socket = tokio::net::TcpSocket::new_v4().expect("socket");
                socket.bind(format!("127.1.1.{last}:0").parse().expect("address")).expect("bound");
                let mut client = socket.connect((balancer.address, PORT).into()).await.expect("connected");
                let mut name = [0];
                tokio::io::AsyncReadExt::read_exact(&mut client, &mut name).await.expect("a name");
                names.insert(name);
            }
            assert_eq!(names.len(), 1, "client {last}");
            used.extend(names);
        }
        assert_eq!(used.len(), 3, "all are somebody's");
    });
}

#[test]
fn who_does_not_take_connections_in_time_is_left_for_the_next_one() {
    in_network("failing::who_does_not_take_connections_in_time_is_left_for_the_next_one", async {
        // Its backlog is full, so its system lets further ones wait.
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
        full.bind(&"127.0.0.1:7001".parse::<std::net::SocketAddr>().expect("address").into()).expect("bound");
        full.listen(0).expect("listening");
        let mut fill = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect("127.0.0.1:7001"))
                .await
        {
            fill.push(connected.expect("connected"));
        }
        let server = Server::echo("alive").await;
        let policy = json!({"balance": {"algorithm": "round_robin", "slow_start_ms": 0}});
        let balancer = balancer_for(json!({"connect_timeout_ms": 50}), policy, &[]).await;
        let stuck = json!({"id": "stuck", "address": "127.0.0.1", "port": 7001});
        use_pools(&balancer, json!({"db": [stuck, server.upstream()]})).await;
        for _ in 0..8 {
            hears(&mut connect(&balancer).await, "alive").await;
        }
        let status = balancer.get_json("/status").await["tcp"]["db"].clone();
        assert_eq!(status["connect_failures"]["timeout"], 3, "then it is ejected: {status}");
        assert_eq!(balancer.record_of("db", "stuck").await["ejected"], true);
    });
}
