//! Many connections that say nothing for most of the time.

use serde_json::json;
use tokio::net::TcpStream;

use crate::network::in_network;
use crate::stage::{Server, balancer_for, connect, echoes, has_open};

/// How many there are.
const MANY: usize = 4_000;

/// What one may cost at most, in KiB: no buffers.
const EACH_KIB: u64 = 4;

#[test]
fn thousands_that_are_silent_cost_little_and_all_are_served() {
    in_network("crowds::thousands_that_are_silent_cost_little_and_all_are_served", async {
        let limits =
            nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("limits");
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, limits.1, limits.1)
            .expect("allowed");
        let server = Server::echo("").await;
        let balancer = balancer_for(json!({}), json!({}), &[&server]).await;
        let mut one = connect(&balancer).await;
        echoes(&mut one, "warm").await;
        let before = balancer.memory_kib();
        let mut clients: Vec<TcpStream> = Vec::with_capacity(MANY);
        for _ in 0..MANY {
            let mut client = connect(&balancer).await;
            echoes(&mut client, "hello").await;
            clients.push(client);
        }
        has_open(&balancer, "db", MANY as u64 + 1).await;
        let grown = balancer.memory_kib().saturating_sub(before);
        println!("{MANY} connections cost {grown} KiB, {} bytes each", (grown << 10) / MANY as u64);
        assert!(grown < EACH_KIB * MANY as u64, "{grown} KiB");
        for client in &mut clients {
            echoes(client, "and again").await;
        }
        drop(clients);
        has_open(&balancer, "db", 1).await;
        assert_eq!(balancer.record_of("db", &server.id()).await["in_flight"], 1);
    });
}
