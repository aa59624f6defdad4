//! WebSockets, with Python's `websockets` on both sides, and an upstream that is quicker than it should be.

use nix::sys::signal::Signal;

use crate::backend::{Backend, Reply};
use crate::balancer::Balancer;
use crate::client::Reader;
use crate::stage::{Peer, has_passed};

async fn served(limits: &str) -> (Balancer, Peer) {
    let balancer = Balancer::start_with(limits).await;
    let server = Peer::serving("websocket_server.py", &[]).await;
    balancer.use_upstreams(&[server.upstream()]).await;
    (balancer, server)
}

#[tokio::test]
async fn six_hundred_tunnels_lose_nothing_of_a_server_that_speaks_first() {
    let (balancer, _server) = served("").await;
    has_passed("websocket_client.py", balancer.clients(), &["race"]).await;
}

/// What comes together with the 101 is the tunnel's, and the request's empty body does not end it.
#[tokio::test]
async fn a_tunnel_opens_whole_however_quick_its_upstream_is() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|_| {
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst";
        Reply::Tunnel(head.into())
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    let request = "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
    for _ in 0..500 {
        let mut client = Reader::connect(balancer.clients()).await;
        client.send(request).await;
        assert_eq!(client.head().await.expect("head").status(), 101);
        let mut heard = Vec::new();
        while heard.len() < 5 {
            heard.extend(client.some().await.expect("the first words"));
        }
        assert_eq!(heard, b"first");
        client.send("again").await;
        assert_eq!(client.some().await.expect("an echo"), b"again");
    }
}

#[tokio::test]
async fn messages_pass_whole_and_either_side_may_close() {
    let (balancer, mut server) = served("").await;
    has_passed("websocket_client.py", balancer.clients(), &["messages"]).await;
    has_passed("websocket_client.py", balancer.clients(), &["closes"]).await;
    assert_eq!(server.line().await, "4002");
}

/// RFC 6455, section 7.1.5: without a Close frame it is 1006.
#[tokio::test]
async fn a_server_that_dies_is_an_abnormal_end() {
    let (balancer, mut server) = served("").await;
    let mut client = Peer::talking_to("websocket_client.py", balancer.clients(), &["hold"]);
    assert_eq!(client.line().await, "begun");
    server.kill().await;
    assert_eq!(client.line().await, "1006");
}

#[tokio::test]
async fn a_balancer_that_stops_ends_tunnels_when_their_time_is_over() {
    let (mut balancer, _server) = served("stop_timeout_ms = 700").await;
    let mut client = Peer::talking_to("websocket_client.py", balancer.clients(), &["hold"]);
    assert_eq!(client.line().await, "begun");
    let began = std::time::Instant::now();
    balancer.signal(Signal::SIGTERM);
    assert_eq!(client.line().await, "1006");
    assert!(began.elapsed() >= std::time::Duration::from_millis(600), "{:?}", began.elapsed());
    assert!(balancer.terminate().await.success());
}
