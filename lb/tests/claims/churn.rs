//! Claim 9: sets may be swapped as fast as they come, and who has left is left alone in time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;
use tokio::time::MissedTickBehavior;

use crate::balancer::{Balancer, eventually};
use crate::client::{Reader, get, post};
use crate::load::{Ask, load};
use crate::stage::{Machine, balance, in_namespaces};

/// Managers that push at the same time, so that the disk they wait for is no limit.
const MANAGERS: usize = 4;

/// Each of them pushes so often. More is for the bench: here it would be the processors that are measured.
const EVERY: Duration = Duration::from_millis(15);

/// Pushes one set after the other: each of `machines` and then none of them is missing. Returns how many were taken
/// into use; the others came when a later one was.
async fn swap(balancer: &Balancer, machines: &[Machine], length: Duration) -> usize {
    let manager = async |first: usize| {
        let address = SocketAddr::new(balancer.clients().ip(), 8443);
        let socket = TcpSocket::new_v4().expect("socket");
        socket.bind((address.ip(), 0).into()).expect("changes are taken from its own address");
        let mut connection = Reader::new(socket.connect(address).await.expect("connected"));
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begun = Instant::now();
        let mut taken = 0;
        for out in (0..=machines.len()).cycle().skip(first) {
            ticks.tick().await;
            if begun.elapsed() >= length {
                break;
            }
            let there = machines.iter().enumerate().filter(|(index, _)| *index != out);
            let upstreams: Vec<_> = there.map(|(_, machine)| machine.upstream()).collect();
            let body = balancer.next_set(&upstreams).to_string();
            let request = format!(
                "PUT /upstreams HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            match connection.ask(&request).await.status() {
                200 => taken += 1,
                status => assert_eq!(status, 409),
            }
        }
        taken
    };
    futures_util::future::join_all((0..MANAGERS).map(manager)).await.into_iter().sum()
}

#[test]
fn swaps_cost_no_request_and_leave_no_sockets() {
    in_namespaces("churn::swaps_cost_no_request_and_leave_no_sockets", async {
        let machines = Machine::start_all(3).await;
        let balancer = balance(&machines).await;
        balancer.use_policy(json!({"drain_ms": 1_000})).await;
        let length = Duration::from_secs(4);
        let gets = load(balancer.clients(), Ask::Get("/random/number"), 150, length);
        let posts = load(balancer.clients(), Ask::Post("/count"), 50, length);
        let slow = load(balancer.clients(), Ask::Get("/stress?seconds=0.3"), 20, length);
        let swaps = swap(&balancer, &machines, length).await;
        println!("{} swaps a second", swaps / 4);
        assert!(swaps > 200, "{swaps}");
        gets.ends_well().await;
        posts.ends_well().await;
        slow.ends_well().await;
        balancer.use_upstreams(&[machines[0].upstream()]).await;
        for gone in &machines[1..] {
            eventually("no socket to it is left", async || (gone.sockets() == 0).then_some(())).await;
        }
    });
}

/// A request that will be answered with `size` bytes; the first of them have come.
async fn download(balancer: &Balancer, size: usize) -> Reader {
    let mut client = Reader::connect(balancer.clients()).await;
    client.send(&format!("GET /bytes/{size} HTTP/1.1\r\nHost: t\r\n\r\n")).await;
    assert_eq!(client.head().await.expect("a head").status(), 200);
    client
}

#[test]
fn who_has_left_keeps_no_socket_once_its_time_is_over() {
    in_namespaces("churn::who_has_left_keeps_no_socket_once_its_time_is_over", async {
        const DRAIN: Duration = Duration::from_secs(2);
        let machines = Machine::start_all(2).await;
        let [leaving, other] = &machines[..] else { panic!("two") };
        let balancer = balance(&machines[..1]).await;
        balancer.use_policy(json!({"drain_ms": 2_000, "first_byte_max_ms": 20_000})).await;
        let clients = balancer.clients();

        // Connections of every kind: kept ones of both ways that a request can take, and one that is in use.
        let ask = async |n: usize| match n % 2 {
            0 => get(clients, "/stress?seconds=0.1").await.status(),
            _ => post(clients, "/count", "1").await.status(),
        };
        assert_eq!(futures_util::future::join_all((0..20).map(ask)).await, [200; 20]);
        let mut download = download(&balancer, 100_000_000).await;
        leaving.stop();
        let hanging = tokio::spawn(async move { post(clients, "/count", "2").await });
        eventually("it has the POST", async || (leaving.unread() == 1).then_some(())).await;
        let before = leaving.sockets();
        assert!(before >= 3, "{before}");

        // It drains before it leaves: what it was asked is not void.
        let mut draining = leaving.upstream();
        draining["state"] = "draining".into();
        balancer.use_upstreams(&[draining, other.upstream()]).await;
        let left = Instant::now();
        balancer.use_upstreams(&[other.upstream()]).await;
        assert_eq!(get(clients, "/random/number").await.status(), 200, "the other one serves");
        assert!(!hanging.is_finished() && leaving.sockets() >= 2, "both are in use");

        eventually("no socket to it is left", async || (leaving.sockets() == 0).then_some(())).await;
        assert!(left.elapsed() >= DRAIN, "{:?}", left.elapsed());
        let answer = hanging.await.expect("no panic");
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!((answer.status(), &problem["type"]), (502, &json!("/problems/broken-off")));
        let mut rest = Vec::new();
        let error = download.tcp.read_to_end(&mut rest).await.expect_err("the end of a part is no end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        eventually("it is forgotten", async || {
            let figures = balancer.get("/metrics").await.text().await.ok()?;
            figures.lines().any(|line| line == "lb_upstreams_leaving 0").then_some(())
        })
        .await;
    });
}
