//! Redis: a primary and a replica of it.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::balancer::Balancer;
use crate::server::{Server, check, comes_to};

const PRIMARY: u16 = 6379;
const REPLICA: u16 = 6380;

async fn redis((address, port): (IpAddr, u16), directory: &Path, words: &[&str]) -> Server {
    let mut command = Command::new("redis-server");
    command.arg("--dir").arg(directory);
    command.args([
        "--bind",
        &address.to_string(),
        "--port",
        &port.to_string(),
        "--save",
        "",
        "--daemonize",
        "no",
    ]);
    Server::start(
        command.args(["--requirepass", "secret", "--masterauth", "secret"]).args(words),
        (address, port),
    )
    .await
}

#[tokio::test]
async fn redis_says_who_is_the_primary_to_whoever_knows_its_password() {
    let balancer = Balancer::start().await;
    let address = balancer.address;
    let directory = tempfile::tempdir().expect("a directory");
    let primary = redis((address, PRIMARY), directory.path(), &[]).await;
    let follows = [address.to_string(), PRIMARY.to_string()].join(" ");
    let _replica = redis((address, REPLICA), directory.path(), &["--replicaof", &follows]).await;
    check(&balancer, json!({"redis": {"password": "secret"}}), &[PRIMARY, REPLICA]).await;
    comes_to(&balancer, PRIMARY, Ok("writer")).await;
    comes_to(&balancer, REPLICA, Ok("standby")).await;
    for ask in [json!({"redis": {}}), json!({"redis": {"user": "default", "password": "planted"}})] {
        check(&balancer, ask, &[PRIMARY]).await;
        comes_to(&balancer, PRIMARY, Err("the login was refused")).await;
    }
    for path in ["/config", "/status"] {
        let shown = balancer.get(path).await.text().await.expect("text");
        assert!(!shown.contains("planted"), "{path}: {shown}");
    }
    drop(primary);
    check(&balancer, json!({"redis": {"password": "secret"}}), &[PRIMARY]).await;
    comes_to(&balancer, PRIMARY, Err("the connection was refused")).await;
}
