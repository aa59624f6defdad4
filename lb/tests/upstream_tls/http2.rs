//! HTTP/2 over TLS to upstreams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::authority::{Authority, Issued};
use crate::balancer::Balancer;
use crate::client::{get, post};
use crate::front::{Front, NAME, config, figure, pem, push};

/// A server of HTTP/2 over TLS that says what it was asked. It ends when it is dropped.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    async fn start(own: &Issued) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("address");
        let mut config = config(own, None, rustls::DEFAULT_VERSIONS);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (connections.clone(), requests.clone());
        let task = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.expect("accepted");
                let (acceptor, counts) = (acceptor.clone(), counts.clone());
                tasks.spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    counts.0.fetch_add(1, Ordering::SeqCst);
                    let Ok(mut connection) = h2::server::handshake(tls).await else { return };
                    let mut answers = JoinSet::new();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        counts.1.fetch_add(1, Ordering::SeqCst);
                        answers.spawn(answer(request, respond));
                    }
                });
            }
        });
        Server { address, connections, requests, _task: AbortOnDropHandle::new(task) }
    }

    fn upstream(&self) -> serde_json::Value {
        let port = self.address.port();
        json!({"id": format!("h-{port}"), "address": self.address.ip(), "port": port})
    }
}

async fn answer(request: http::Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let (head, mut body) = request.into_parts();
    let mut length = 0;
    while let Some(Ok(part)) = body.data().await {
        length += part.len();
        let _ = body.flow_control().release_capacity(part.len());
    }
    let said = format!("{} {}", head.uri, length);
    let Ok(mut stream) = respond.send_response(http::Response::new(()), false) else { return };
    let _ = stream.send_data(Bytes::from(said), true);
}

#[tokio::test]
async fn requests_share_connections_and_say_that_they_go_over_tls() {
    let balancer = Balancer::start().await;
    let ca = Authority::new("test CA");
    let server = Server::start(&ca.server(&[NAME])).await;
    let tls = json!({"ca": pem(&ca), "server_name": NAME});
    push(&balancer, 1, tls, json!({"protocol": "h2", "check": {"active": false}})).await;
    balancer.use_upstreams(&[server.upstream()]).await;
    let at = balancer.clients();
    for n in 0..30 {
        let answer = get(at, &format!("/{n}?q")).await;
        assert_eq!((answer.status(), answer.text()), (200, format!("https://test/{n}?q 0")));
        assert_eq!(post(at, "/post", "body").await.text(), "https://test/post 4");
    }
    let large = "x".repeat(3 << 20);
    assert_eq!(post(at, "/large", &large).await.text(), format!("https://test/large {}", large.len()));
    let together = (0..50).map(|n| tokio::spawn(async move { get(at, &format!("/{n}")).await.status() }));
    for status in together.collect::<Vec<_>>() {
        assert_eq!(status.await.expect("asked"), 200);
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), 111);
    // One for each worker, and some where requests came while it was being opened.
    let connections = server.connections.load(Ordering::SeqCst);
    assert!(connections < 40, "{connections}");
}

#[tokio::test]
async fn who_does_not_agree_on_http2_is_asked_nothing_and_a_death_costs_no_get() {
    let balancer = Balancer::start().await;
    let ca = Authority::new("test CA");
    let own = ca.server(&[NAME]);
    let (one, two) = (Server::start(&own).await, Server::start(&own).await);
    let old = Front::new(&own).await;
    let tls = json!({"ca": pem(&ca), "server_name": NAME});
    let policy = json!({"protocol": "h2", "balance": {"algorithm": "round_robin"}});
    push(&balancer, 1, tls, policy).await;
    balancer.use_upstreams(&[old.upstream(), one.upstream(), two.upstream()]).await;
    for n in 0..12 {
        assert_eq!(post(balancer.clients(), &format!("/{n}"), "body").await.status(), 200);
    }
    assert_eq!(old.backend.seen().len(), 0);
    let name = "lb_upstream_tls_failures_total{reason=\"tls_protocol\"}";
    assert!(figure(&balancer, name).await >= 1.0);
    assert!(one.requests.load(Ordering::SeqCst) > 0 && two.requests.load(Ordering::SeqCst) > 0);
    drop(one);
    for n in 0..20 {
        assert_eq!(get(balancer.clients(), &format!("/{n}")).await.status(), 200);
    }
}
