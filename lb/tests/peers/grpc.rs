//! gRPC's own library on both sides.

use std::time::Duration;

use serde_json::json;

use crate::balancer::{Balancer, eventually};
use crate::stage::{Peer, has_passed, use_h2c};

async fn served() -> (Balancer, Peer) {
    let balancer = Balancer::start().await;
    let server = Peer::serving("grpc_server.py", &[]).await;
    use_h2c(&balancer, json!({}), &[&server]).await;
    (balancer, server)
}

#[tokio::test]
async fn calls_of_every_kind_pass_with_their_metadata() {
    let (balancer, _server) = served().await;
    for case in ["unary", "many", "streams", "talk", "errors"] {
        has_passed("grpc_client.py", balancer.clients(), &[case]).await;
    }
}

#[tokio::test]
async fn an_upstream_hears_that_its_caller_waits_no_more() {
    let (balancer, mut server) = served().await;
    has_passed("grpc_client.py", balancer.clients(), &["deadline"]).await;
    assert_eq!(server.line().await, "hanging");
    assert_eq!(server.line().await, "cancelled");
    has_passed("grpc_client.py", balancer.clients(), &["cancel"]).await;
    assert_eq!(server.line().await, "cancelled");
    let id = server.upstream()["id"].as_str().expect("id").to_owned();
    eventually("nothing is in flight", async || {
        (balancer.record_of("p", &id).await["in_flight"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_the_balancer_says_itself_is_a_status_of_grpc() {
    let (balancer, server) = served().await;
    use_policy(&balancer, 2, json!({"protocol": "h2c", "request_timeout_ms": 500})).await;
    has_passed("grpc_client.py", balancer.clients(), &["late"]).await;
    use_policy(&balancer, 3, json!({"protocol": "h2c", "hold_ms": 50})).await;
    balancer.use_upstreams(&[]).await;
    has_passed("grpc_client.py", balancer.clients(), &["unavailable"]).await;
    // Nobody listens there any more.
    let upstream = server.upstream();
    assert!(server.finish().await.0);
    balancer.use_upstreams(&[upstream]).await;
    has_passed("grpc_client.py", balancer.clients(), &["unavailable"]).await;
    let config = json!({"generation": 4, "routes": []});
    assert_eq!(balancer.put("/config", &config).await.0, 200);
    has_passed("grpc_client.py", balancer.clients(), &["unrouted"]).await;
}

async fn use_policy(balancer: &Balancer, generation: u64, policy: serde_json::Value) {
    let config = json!({
        "generation": generation, "routes": [{"name": "all", "pool": "p"}], "pools": {"p": policy},
    });
    let answer = balancer.put("/config", &config).await;
    assert_eq!(answer.0, 200, "{answer:?}");
}

/// What leaves the set finishes what it was asked, and what comes next goes to the others.
#[tokio::test]
async fn no_call_fails_while_servers_are_exchanged() {
    let (balancer, first) = served().await;
    let second = Peer::serving("grpc_server.py", &[]).await;
    let mut caller = Peer::talking_to("grpc_client.py", balancer.clients(), &["steady"]);
    assert_eq!(caller.line().await, "begun");
    let set = async |peers: &[(&Peer, &str)]| {
        let upstreams: Vec<_> = peers
            .iter()
            .map(|(peer, state)| {
                let mut upstream = peer.upstream();
                upstream["state"] = json!(state);
                upstream
            })
            .collect();
        balancer.use_upstreams(&upstreams).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    set(&[(&first, "ready"), (&second, "ready")]).await;
    set(&[(&first, "ready"), (&second, "draining")]).await;
    set(&[(&first, "ready")]).await;
    set(&[(&first, "ready"), (&second, "ready")]).await;
    set(&[(&first, "draining"), (&second, "ready")]).await;
    set(&[(&second, "ready")]).await;
    // Stopped in order: GOAWAY, with nothing in flight there.
    assert!(first.finish().await.0);
    let (ok, said) = caller.finish().await;
    let calls: u32 = said.last().expect("a number").parse().expect("a number");
    assert!(ok && calls > 20, "{said:?}");
}

/// One caller has one call under way: no more than that one is lost, and the next ones go to the other server.
#[tokio::test]
async fn a_server_that_is_killed_or_frozen_costs_what_it_was_asked() {
    for freezes in [false, true] {
        let (balancer, mut first) = served().await;
        let second = Peer::serving("grpc_server.py", &[]).await;
        use_policy(&balancer, 2, json!({"protocol": "h2c", "balance": {"algorithm": "round_robin"}})).await;
        balancer.use_upstreams(&[first.upstream(), second.upstream()]).await;
        let mut caller = Peer::talking_to("grpc_client.py", balancer.clients(), &["survive"]);
        assert_eq!(caller.line().await, "begun");
        tokio::time::sleep(Duration::from_millis(300)).await;
        if freezes {
            first.freeze()
        } else {
            first.kill().await
        }
        tokio::time::sleep(Duration::from_millis(2_000)).await;
        let (ok, said) = caller.finish().await;
        let failed: u32 = said.last().expect("a number").parse().expect("a number");
        println!("frozen {freezes}: {failed} failed");
        assert!(ok && failed <= 2, "{said:?}");
    }
}
