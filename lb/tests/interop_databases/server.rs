//! A server that ends with its test, and what a balancer finds out about it.

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::balancer::{Balancer, eventually};

/// A running program; it is ended when it is dropped.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts it and waits until it listens.
    pub(crate) async fn start(command: &mut Command, at: (IpAddr, u16)) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Server(child.expect("deploy/test.sh interop installs it"));
        eventually("it listens", async || tokio::net::TcpStream::connect(at).await.ok()).await;
        server
    }
}

/// Has the balancer `ask` the servers at these ports of its own address.
pub(crate) async fn check(balancer: &Balancer, ask: Value, ports: &[u16]) {
    let generation = balancer.get_json("/status").await["config_generation"].as_u64().expect("a number") + 1;
    let check =
        json!({"active": true, "interval_ms": 20, "edge_interval_ms": 20, "timeout_ms": 5_000, "ask": ask});
    let config = json!({"generation": generation, "routes": [], "pools": {"p": {"check": check}}});
    let answer = balancer.put("/config", &config).await;
    assert_eq!(answer.0, 200, "{answer:?}");
    let address = balancer.address;
    let upstream =
        |port: &u16| json!({"id": format!("db-{port}-{generation}"), "address": address, "port": port});
    balancer.use_upstreams(&ports.iter().map(upstream).collect::<Vec<_>>()).await;
}

/// Waits until the balancer's check of the server at `port` comes to this: its role, or a part of the reason why it fails.
pub(crate) async fn comes_to(balancer: &Balancer, port: u16, expected: Result<&str, &str>) {
    let what = format!("{port}: {expected:?}");
    let wait = eventually(&what, async || {
        let status = balancer.get_json("/status").await;
        let upstreams = status["pools"]["p"]["upstreams"].as_array()?;
        let prefix = format!("db-{port}-");
        let upstream =
            upstreams.iter().find(|one| one["id"].as_str().is_some_and(|id| id.starts_with(&prefix)))?;
        let last = &upstream["check"]["last"];
        let is_so = match expected {
            Ok(role) => last["passed"] == true && upstream["check"]["role"] == role,
            Err(reason) => {
                last["passed"] == false && last["reason"].as_str().is_some_and(|said| said.contains(reason))
            }
        };
        is_so.then_some(())
    });
    wait.await;
}
