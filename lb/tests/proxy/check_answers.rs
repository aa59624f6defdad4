//! Upstreams that are checked by other means than an HTTP request to where requests go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::{Backend, Reply, nobody, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::get;

/// The check of a pool: often, and by `ask` at `port`.
fn often(ask: Value, port: u16) -> Value {
    json!({"check": {
        "active": true, "ask": ask, "port": port, "interval_ms": 30, "edge_interval_ms": 20,
        "timeout_ms": 3000, "fall": 2, "rise": 2,
    }})
}

/// Waits until the last check of `backend` came to `result`.
async fn comes_to(balancer: &Balancer, backend: &Backend, result: &str) -> Value {
    eventually(result, async || {
        let last = balancer.record(backend).await["check"]["last"].clone();
        (last["result"] == result).then_some(last)
    })
    .await
}

/// Requests bring `backend` back, and it has its share again.
async fn comes_back(balancer: &Balancer, backend: &Backend) {
    balancer.is_ejected(backend, false).await;
    let before = backend.seen().len();
    eventually("it has requests again", async || {
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
        (backend.seen().len() > before + 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn by_tcp_the_answer_has_to_be_the_right_one() {
    let mood = Arc::new(AtomicU8::new(b'+'));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("address").port();
    let answering = mood.clone();
    let server = tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.expect("accepted");
            let mut asked = [0; 6];
            if tcp.read_exact(&mut asked).await.is_ok() {
                assert_eq!(&asked, b"PING\r\n");
                // In two pieces, as it may come.
                let first = [answering.load(Ordering::SeqCst), b'P'];
                let _ = tcp.write_all(&first).await;
                let _ = tcp.flush().await;
                tokio::task::yield_now().await;
                let _ = tcp.write_all(b"ONG\r\n").await;
            }
        }
    });
    let balancer = Balancer::start().await;
    let [checked, other] = [Backend::healthy().await, Backend::healthy().await];
    balancer.use_policy(often(json!({"tcp": {"send": "PING\r\n", "expect": "+PONG"}}), port)).await;
    balancer.use_backends(&[&checked, &other]).await;
    let last = comes_to(&balancer, &checked, "passed").await;
    assert!(last["took_ms"].as_f64().expect("a number") > 0.0, "{last}");
    mood.store(b'-', Ordering::SeqCst);
    let last = comes_to(&balancer, &checked, "body").await;
    assert_eq!(last["reason"], "the answer does not contain what is expected");
    // Both have the same place to be asked at, and one of them is needed.
    eventually("one is ejected", async || {
        let [one, two] = [balancer.record(&checked).await, balancer.record(&other).await];
        (one["ejected"] != two["ejected"]).then_some(())
    })
    .await;
    mood.store(b'+', Ordering::SeqCst);
    comes_back(&balancer, &checked).await;
    comes_back(&balancer, &other).await;
    // Nobody to be asked at all.
    server.abort();
    let last = comes_to(&balancer, &checked, "refused").await;
    assert_eq!(last["passed"], false);
}

#[tokio::test]
async fn by_tcp_the_connection_may_be_all() {
    let balancer = Balancer::start().await;
    let [checked, other] = [Backend::healthy().await, Backend::healthy().await];
    balancer.use_policy(often(json!({"tcp": {}}), checked.address.port())).await;
    balancer.use_backends(&[&checked, &other]).await;
    comes_to(&balancer, &checked, "passed").await;
    assert_eq!(balancer.record(&checked).await["ejected"], false);
    let closed = nobody().await;
    let mut policy = often(json!({"tcp": {}}), closed.port());
    policy["outlier"] = json!({"panic_below": 0.0});
    let config = json!({
        "generation": 2, "routes": [{"name": "all", "pool": "p"}], "pools": {"p": policy},
    });
    assert_eq!(balancer.put("/config", &config).await.0, 200);
    comes_to(&balancer, &checked, "refused").await;
    assert_eq!(get(balancer.clients(), "/").await.status(), 200, "one is kept, whatever its checks say");
}

/// It is never ejected, and no new request comes to try it: only its checks say that it may be back.
#[tokio::test]
async fn the_only_upstream_is_found_when_it_comes_back_though_its_checks_go_elsewhere() {
    let balancer = Balancer::start().await;
    let [only, checked] = [Backend::healthy().await, Backend::healthy().await];
    balancer
        .use_policy(json!({
            "hold_ms": 15_000, "check": {"ask": {"tcp": {}}, "port": checked.address.port()},
        }))
        .await;
    balancer.use_backends(&[&only]).await;
    only.stop().await;
    let clients = balancer.clients();
    let waiting = tokio::spawn(async move { get(clients, "/").await.status() });
    eventually("it was tried", async || {
        (balancer.record(&only).await["failures"].as_u64() > Some(0)).then_some(())
    })
    .await;
    assert!(!waiting.is_finished());
    let _again = Backend::start_at(only.address, |_| Reply::Bytes(ok("again"))).await;
    assert_eq!(waiting.await.expect("no panic"), 200);
    assert_eq!(balancer.record(&only).await["ejections"], 0);
}

/// A gRPC server that knows the service `orders` and answers with `status` about it.
async fn grpc_server(status: Arc<AtomicU8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.expect("accepted");
            tokio::spawn(serve_grpc(tcp, status.clone()));
        }
    });
    address
}

async fn serve_grpc(tcp: TcpStream, status: Arc<AtomicU8>) {
    let mut connection = h2::server::handshake(tcp).await.expect("HTTP/2");
    while let Some(Ok((request, mut reply))) = connection.accept().await {
        let status = status.clone();
        tokio::spawn(async move {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            assert_eq!(request.headers()["content-type"], "application/grpc");
            assert_eq!(request.headers()["te"], "trailers");
            let mut body = request.into_body();
            let mut asked = Vec::new();
            while let Some(bytes) = body.data().await {
                asked.extend_from_slice(&bytes.expect("bytes"));
            }
            let head = Response::builder().header("content-type", "application/grpc");
            if asked != b"\0\0\0\0\x08\x0a\x06orders" {
                // No message: all is in the head, as gRPC has it.
                let refused = head.header("grpc-status", "5").body(()).expect("head");
                reply.send_response(refused, true).expect("sent");
                return;
            }
            let mut sending = reply.send_response(head.body(()).expect("head"), false).expect("sent");
            let message = [0, 0, 0, 0, 2, 8, status.load(Ordering::SeqCst)];
            sending.send_data(Bytes::copy_from_slice(&message), false).expect("sent");
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("value"));
            sending.send_trailers(trailers).expect("sent");
        });
    }
}

#[tokio::test]
async fn by_grpc_the_service_has_to_be_serving() {
    let status = Arc::new(AtomicU8::new(1));
    let port = grpc_server(status.clone()).await.port();
    let balancer = Balancer::start().await;
    let backends = [Backend::healthy().await, Backend::healthy().await];
    balancer.use_policy(often(json!({"grpc": {"service": "orders"}}), port)).await;
    balancer.use_backends(&[&backends[0], &backends[1]]).await;
    for backend in &backends {
        comes_to(&balancer, backend, "passed").await;
    }
    status.store(2, Ordering::SeqCst);
    let last = comes_to(&balancer, &backends[0], "not_serving").await;
    assert_eq!(last["reason"], "serving status NOT_SERVING");
    eventually("one is ejected", async || {
        let [one, two] = [balancer.record(&backends[0]).await, balancer.record(&backends[1]).await];
        (one["ejected"] != two["ejected"]).then_some(())
    })
    .await;
    status.store(1, Ordering::SeqCst);
    for backend in &backends {
        comes_back(&balancer, backend).await;
    }
    for (generation, ask, result, reason) in [
        (2, json!({"grpc": {"service": "payments"}}), "grpc_status", "grpc-status 5"),
        (3, json!({"http": {}}), "broken", "the connection was closed, or another protocol was spoken"),
    ] {
        let pools = json!({"p": often(ask, port)});
        let config =
            json!({"generation": generation, "routes": [{"name": "all", "pool": "p"}], "pools": pools});
        assert_eq!(balancer.put("/config", &config).await.0, 200);
        assert_eq!(comes_to(&balancer, &backends[0], result).await["reason"], reason);
    }
}

#[tokio::test]
async fn an_open_port_is_no_sign_of_life_and_slowness_no_death() {
    let balancer = Balancer::start().await;
    let slow = || async {
        Backend::start(|request| match request.path() {
            "/slow" => Reply::Parts(vec![(Duration::from_millis(1_500), ok("slow"))]),
            _ => Reply::Bytes(ok("fast")),
        })
        .await
    };
    let backends = [slow().await, slow().await];
    // The check says nothing about whether the process answers; an upstream in doubt is asked all the same.
    balancer.use_policy(json!({"check": {"ask": {"tcp": {}}}, "first_byte_cold_ms": 200})).await;
    balancer.use_backends(&[&backends[0], &backends[1]]).await;
    let clients = balancer.clients();
    let waiting: Vec<_> =
        (0..6).map(|_| tokio::spawn(async move { get(clients, "/slow").await.text() })).collect();
    for request in waiting {
        assert_eq!(request.await.expect("no panic"), "slow");
    }
    assert_eq!(backends[0].seen().len() + backends[1].seen().len(), 6, "each is executed once");
    backends[0].freeze(true);
    eventually("it is found to be silent", async || {
        assert_eq!(get(clients, "/").await.status(), 200);
        (balancer.record(&backends[0]).await["ejections"].as_u64() > Some(0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_process_that_hangs_is_found_without_a_request() {
    // Another balancer, because it is a real process that answers HTTP.
    let hanging = Balancer::start().await;
    let other = Backend::start(|_| Reply::Bytes(ok(""))).await;
    let balancer = Balancer::start().await;
    let ask = json!({"http": {"method": "HEAD", "path": "/health/live"}});
    balancer
        .use_policy(json!({"check": {
            "active": true, "ask": ask, "interval_ms": 50, "edge_interval_ms": 20, "timeout_ms": 200,
        }, "balance": {"algorithm": "round_robin"}}))
        .await;
    let upstream = json!({"id": "hanging", "address": hanging.address, "port": 8080});
    balancer.use_upstreams(&[upstream, other.upstream()]).await;
    let check = async || balancer.record_of("p", "hanging").await;
    eventually("it is well", async || (check().await["check"]["last"]["passed"] == true).then_some(())).await;
    hanging.signal(Signal::SIGSTOP);
    let record = eventually("it is ejected", async || {
        let record = check().await;
        (record["ejected"] == true).then_some(record)
    })
    .await;
    assert_eq!(record["check"]["last"]["result"], "timeout", "{record}");
    assert_eq!((&record["requests"], &record["ejected_for_answers"]), (&json!(0), &json!(false)));
    for _ in 0..10 {
        assert_eq!(get(balancer.clients(), "/health/live").await.status(), 200);
    }
    assert_eq!(check().await["requests"], 0, "all went to the other");
    hanging.signal(Signal::SIGCONT);
    eventually("it is used again", async || {
        get(balancer.clients(), "/health/live").await;
        let record = check().await;
        (record["ejected"] == false && record["requests"].as_u64() > Some(1)).then_some(())
    })
    .await;
}
