//! Bodies pass as they come, both ways, and end when either side does.

use std::time::Duration;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::Reader;

#[tokio::test]
async fn events_pass_one_by_one() {
    let balancer = Balancer::start().await;
    let event = |wait| (Duration::from_millis(wait), b"7\r\ndata: x\r\n".to_vec());
    let backend = Backend::start(move |_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        Reply::Parts(vec![(Duration::ZERO, head.into()), event(0), event(300), event(60_000)])
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    client.send("GET /events HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert_eq!(client.head().await.expect("head").status(), 200);
    // The third event is a minute away: these two do not wait for it.
    for _ in 0..2 {
        assert_eq!(client.chunk().await.expect("event"), b"data: x");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request_at_the_upstream() {
    let balancer = Balancer::start_with("half_closed_ms = 300").await;
    let backend = Backend::start(|_| Reply::Parts(vec![(Duration::from_secs(60), ok("late"))])).await;
    balancer.use_backends(&[&backend]).await;
    for request in
        ["GET / HTTP/1.1\r\nHost: t\r\n\r\n", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi"]
    {
        let before = backend.seen().len();
        let mut client = Reader::connect(balancer.clients()).await;
        client.send(request).await;
        eventually("the request arrives", async || (backend.seen().len() > before).then_some(())).await;
        assert_eq!(backend.open(), 1);
        drop(client);
        eventually("the upstream's connection ends", async || (backend.open() == 0).then_some(())).await;
        assert_eq!(balancer.record(&backend).await["in_flight"], 0);
    }
}

#[tokio::test]
async fn a_body_passes_whole_up_and_down() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|request| Reply::Bytes(ok(&request.text()))).await;
    balancer.use_backends(&[&backend]).await;
    let body = "0123456789abcdef".repeat(64 << 10);
    let length = format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    for request in [length, chunked] {
        let mut client = Reader::connect(balancer.clients()).await;
        let answer = client.ask(&request).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.text() == body, "{} of {} bytes", answer.body.len(), body.len());
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await.status(), 200);
    }
}

#[tokio::test]
async fn a_slow_upload_takes_its_time_from_nobody() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|request| Reply::Bytes(ok(&request.text()))).await;
    balancer.use_policy(serde_json::json!({"request_timeout_ms": 400})).await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 8\r\n\r\n").await;
    for _ in 0..8 {
        client.send("x").await;
        assert!(!client.closed_within(Duration::from_millis(100)).await);
    }
    assert_eq!(client.answer().await.text(), "xxxxxxxx");
}

#[tokio::test]
async fn a_client_that_expects_a_go_ahead_gets_it() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|request| Reply::Bytes(ok(&request.text()))).await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    client.send("POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    // A client may also send on without the go-ahead, as this one does after a moment.
    let _ = client.closed_within(Duration::from_millis(100)).await;
    assert_eq!(client.ask("hi").await.text(), "hi");
}

#[tokio::test]
async fn a_slow_reader_costs_the_proxy_no_memory() {
    let balancer = Balancer::start().await;
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n".to_vec();
    answer.resize(answer.len() + (64 << 20), b'x');
    let backend = Backend::start(move |_| Reply::Bytes(answer.clone())).await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    client.head().await.expect("a head");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let metrics = balancer.get("/metrics").await.text().await.expect("text");
    let resident = metrics
        .lines()
        .find_map(|line| line.strip_prefix("process_resident_memory_bytes "))
        .and_then(|value| value.parse::<f64>().ok())
        .expect("resident memory");
    assert!(resident < 48e6, "{resident} bytes resident");
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_until_one_side_ends() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|request| {
        assert_eq!(request.headers["upgrade"], "websocket");
        assert_eq!(request.headers["connection"].to_ascii_lowercase(), "upgrade");
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        Reply::Tunnel(head.into())
    })
    .await;
    // Longer than the time a request may take until its answer begins.
    balancer.use_policy(serde_json::json!({"request_timeout_ms": 300})).await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    let request = "GET /chat HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
    let answer = client.ask(request).await;
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.headers["upgrade"], "websocket");
    for word in ["one", "two", "three"] {
        client.send(word).await;
        let mut echoed = Vec::new();
        while echoed.len() < word.len() {
            echoed.extend(client.some().await.expect("still open"));
        }
        assert_eq!(echoed, word.as_bytes());
        assert!(!client.closed_within(Duration::from_millis(200)).await);
    }
    drop(client);
    eventually("the tunnel ends", async || (backend.open() == 0).then_some(())).await;
}
