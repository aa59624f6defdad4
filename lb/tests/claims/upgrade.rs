//! Claim 12: another program takes the place of the one that runs, under load, and no client notices.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::client::{Reader, get};
use crate::load::{Ask, load};
use crate::stage::{Machine, balance, in_namespaces, use_machines};

/// Asks again and again on one connection, as long as it is kept, and then on the next; until `length` is over.
async fn kept(clients: std::net::SocketAddr, length: Duration) -> usize {
    let end = tokio::time::Instant::now() + length;
    let mut asked = 0;
    while tokio::time::Instant::now() < end {
        let mut connection = Reader::connect(clients).await;
        loop {
            connection.send("GET /random/number HTTP/1.1\r\nHost: t\r\n\r\n").await;
            let answer = connection.answer_to("GET").await.expect("an answer on a kept connection");
            assert!(answer.status() == 200 && answer.whole, "{answer:?}");
            asked += 1;
            if answer.headers.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                break;
            }
            if tokio::time::Instant::now() >= end {
                return asked;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    asked
}

#[test]
fn another_program_takes_over_without_an_error() {
    in_namespaces("upgrade::another_program_takes_over_without_an_error", async {
        let machines = Machine::start_all(3).await;
        let mut balancer = balance(&machines).await;
        let clients = balancer.clients();
        let length = Duration::from_secs(5);
        let gets = load(clients, Ask::Get("/random/number"), 300, length);
        let slow = load(clients, Ask::Get("/stress?seconds=0.3"), 20, length);
        let posts = load(clients, Ask::Post("/count"), 100, length);
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            balancer.upgrade().await;
        }
        gets.ends_well().await;
        slow.ends_well().await;
        posts.ends_well().await;
    });
}

#[test]
fn what_the_first_program_took_last_is_in_use_by_the_second() {
    in_namespaces("upgrade::what_the_first_program_took_last_is_in_use_by_the_second", async {
        let mut machines = Machine::start_all(2).await;
        let mut balancer = balance(&machines[..1]).await;
        // The other one has begun with the first machine.
        balancer.upgrade_after(async |balancer| use_machines(balancer, &machines[1..]).await).await;
        assert!(machines[1].record(&balancer).await.is_some(), "it has read what was stored");
        machines[0].kill();
        assert_eq!(get(balancer.clients(), "/random/number").await.status(), 200);
        use_machines(&balancer, &machines[1..]).await;
    });
}

/// Loses what clients send once they are connected, and lets it through again: `nft` does what it is told.
fn nft(rules: &str) {
    let mut nft =
        Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft of nftables");
    nft.stdin.take().expect("input").write_all(rules.as_bytes()).expect("written");
    assert!(nft.wait().expect("waited for").success(), "{rules}");
}

#[test]
fn handshakes_under_way_are_ended_by_the_other_program() {
    in_namespaces("upgrade::handshakes_under_way_are_ended_by_the_other_program", async {
        let machines = Machine::start_all(1).await;
        let mut balancer = balance(&machines).await;
        let clients = balancer.clients();
        nft(&format!(
            "table inet handshakes {{\nchain in {{\ntype filter hook input priority 0;\n\
             tcp dport {} tcp flags & (syn | ack | fin | rst) == ack drop;\n}}\n}}\n",
            clients.port()
        ));
        // For these the handshake has ended, for the balancer it has not: it misses the last packet of each.
        let mut connections = Vec::new();
        for _ in 0..20 {
            let mut connection = Reader::connect(clients).await;
            connection.send("GET /random/number HTTP/1.1\r\nHost: t\r\n\r\n").await;
            connections.push(connection);
        }
        balancer.upgrade().await;
        nft("delete table inet handshakes");
        for mut connection in connections {
            assert_eq!(connection.answer_to("GET").await.expect("an answer").status(), 200);
        }
    });
}

#[test]
fn kept_connections_are_told_before_another_program_takes_over() {
    in_namespaces("upgrade::kept_connections_are_told_before_another_program_takes_over", async {
        let machines = Machine::start_all(3).await;
        let mut balancer = balance(&machines).await;
        let clients = balancer.clients();
        let length = Duration::from_secs(3);
        let asking: Vec<_> = (0..20).map(|_| tokio::spawn(kept(clients, length))).collect();
        tokio::time::sleep(Duration::from_millis(500)).await;
        balancer.upgrade().await;
        for client in asking {
            assert!(client.await.expect("no request failed") > 10);
        }
    });
}
