//! Which requests share a connection or a session.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::authority::Authority;
use crate::balancer::{Balancer, eventually};
use crate::client::{Reader, get, post};
use crate::front::{Front, LARGE, NAME, figure, pem, serve};

#[tokio::test]
async fn connections_are_kept_and_sessions_resumed_on_both_paths() {
    let balancer = Balancer::start().await;
    let ca = Authority::new("test CA");
    let front = Front::new(&ca.server(&[NAME])).await;
    serve(&balancer, &[&front], json!({"ca": pem(&ca), "server_name": NAME}), json!({})).await;
    let mut client = Reader::connect(balancer.clients()).await;
    for n in 0..20 {
        let answer = client.ask(&format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        assert_eq!((answer.status(), answer.whole), (200, true));
    }
    assert!(front.handshakes() <= 2, "{}", front.handshakes());
    let full = front.seen.full.load(Ordering::SeqCst);
    for n in 0..10 {
        // After it no kept connection is proven any more: a POST gets one of its own.
        sleep(Duration::from_millis(50)).await;
        assert_eq!(post(balancer.clients(), &format!("/{n}"), "body").await.status(), 200);
        // Too large to be kept, and in a chunk: it streams, over Pingora's own path.
        let large = "x".repeat(200 << 10);
        let head = format!("POST /large/{n} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunked = format!("{head}{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
        let answer = Reader::connect(balancer.clients()).await.ask(&chunked).await;
        assert_eq!((answer.status(), answer.text()), (200, large.len().to_string()));
    }
    assert_eq!(front.seen.full.load(Ordering::SeqCst), full, "all of them resumed");
    assert!(front.seen.resumed.load(Ordering::SeqCst) >= 20);
    assert!(figure(&balancer, "lb_upstream_tls_handshakes_total{kind=\"resumed\"}").await >= 20.0);
}

#[tokio::test]
async fn where_the_host_is_the_name_connections_are_not_shared_between_hosts() {
    let balancer = Balancer::start().await;
    let ca = Authority::new("test CA");
    let front = Front::new(&ca.server(&["a.internal", "b.internal"])).await;
    let tls = json!({"ca": pem(&ca), "server_name": "{host}"});
    serve(&balancer, &[&front], tls, json!({"hold_ms": 0})).await;
    let mut client = Reader::connect(balancer.clients()).await;
    for _ in 0..3 {
        for host in ["a.internal", "B.internal:8000"] {
            let answer = client.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert_eq!(answer.status(), 200, "{host}");
        }
    }
    let names = front.seen.names.lock().expect("lock").clone();
    assert!(
        names.contains(&"a.internal".to_owned()) && names.contains(&"b.internal".to_owned()),
        "{names:?}"
    );
    assert!(names.len() <= 4, "{names:?}");
    // The certificate is for neither of these.
    for host in ["c.internal", ""] {
        let answer = client.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert!([502, 503].contains(&answer.status()), "{host}: {}", answer.status());
    }
}

#[tokio::test]
async fn a_pool_without_tls_beside_it_is_plain() {
    let balancer = Balancer::start().await;
    let plain = crate::backend::Backend::healthy().await;
    balancer.use_backends(&[&plain]).await;
    assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    assert!(figure(&balancer, "lb_upstream_tls_handshakes_total{kind=\"full\"}").await < 1.0);
}

#[tokio::test]
async fn large_answers_and_tunnels_pass() {
    let balancer = Balancer::start().await;
    let ca = Authority::new("test CA");
    let front = Front::new(&ca.server(&[NAME])).await;
    serve(&balancer, &[&front], json!({"ca": pem(&ca), "server_name": NAME}), json!({})).await;
    let large = get(balancer.clients(), "/large").await;
    assert_eq!((large.status(), large.body.len(), large.whole), (200, LARGE, true));
    let mut client = Reader::connect(balancer.clients()).await;
    let request = "GET /tunnel HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
    assert_eq!(client.ask(request).await.status(), 101);
    for word in ["one", "two", "three"] {
        client.send(word).await;
        let mut echoed = Vec::new();
        while echoed.len() < word.len() {
            echoed.extend(client.some().await.expect("still open"));
        }
        assert_eq!(echoed, word.as_bytes());
    }
    drop(client);
    // What is left is the kept one of the large answer.
    eventually("the tunnel ends", async || (front.seen.open.load(Ordering::SeqCst) <= 1).then_some(())).await;
}
