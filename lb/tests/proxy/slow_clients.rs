//! Clients that take their time, each in its own way: they have a deadline, and cost nobody else anything.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, SOON, eventually};
use crate::client::{Reader, get};

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
const KEPT: &str = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5000\r\n\r\n";
const STREAMED: &str = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 500000\r\n\r\n";

async fn problem(client: &mut Reader) -> (u16, String) {
    let answer = client.answer().await;
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{answer:?}");
    assert_eq!(answer.headers["connection"], "close", "{answer:?}");
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert!(client.closed_within(SOON).await);
    (answer.status(), problem["detail"].as_str().expect("a detail").to_owned())
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_408_on_either_path() {
    let balancer = Balancer::start_with("body_grace_ms = 400\nbody_min_bytes_per_s = 100").await;
    let backend = Backend::start(|request| Reply::Bytes(ok(&request.text()))).await;
    balancer.use_backends(&[&backend]).await;
    for head in [KEPT, STREAMED, CHUNKED] {
        let mut client = Reader::connect(balancer.clients()).await;
        client.send(head).await;
        // A burst is no credit for later.
        if head != CHUNKED {
            client.send(&"x".repeat(1000)).await;
        }
        assert_eq!(
            problem(&mut client).await,
            (408, "the request's body came too slowly".to_owned()),
            "{head}"
        );
    }
    eventually("nobody has an upstream still", async || (backend.open() == 0).then_some(())).await;
    assert!(backend.seen().is_empty(), "no part is taken for a whole");
    balancer.counts("lb_requests_total{class=\"4xx\",pool=\"p\",route=\"default\"} 3").await;
}

#[tokio::test]
async fn a_body_that_comes_fast_enough_but_never_ends_408() {
    let balancer = Balancer::start_with("body_timeout_ms = 1000\nbody_min_bytes_per_s = 1").await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    client.send(CHUNKED).await;
    let started = Instant::now();
    while !client.readable_within(Duration::from_millis(50)).await {
        client.send("3\r\nabc\r\n").await;
    }
    assert!(started.elapsed() >= Duration::from_millis(800), "{:?}", started.elapsed());
    assert_eq!(problem(&mut client).await.0, 408);
}

#[tokio::test]
async fn a_client_that_takes_too_little_is_reset() {
    let balancer = Balancer::start_with("send_timeout_ms = 500\nsend_min_bytes_per_s = 1000").await;
    let backend =
        Backend::start(|_| Reply::Endless(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n".to_vec()))
            .await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    eventually("it is asked", async || (backend.open() == 1).then_some(())).await;
    let started = Instant::now();
    eventually("the upstream is let go", async || (backend.open() == 0).then_some(())).await;
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    let mut taken = 0;
    while let Some(part) = client.some().await {
        taken += part.len();
    }
    assert!(taken < 64 << 20, "{taken}");
}

#[tokio::test]
async fn a_client_that_ended_its_side_has_its_answers() {
    let balancer = Balancer::start().await;
    let late = |text: &str| Reply::Parts(vec![(Duration::from_millis(700), ok(text))]);
    let backend = Backend::start(move |request| late(&request.text())).await;
    balancer.use_backends(&[&backend]).await;
    let get = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
    let post = format!("{CHUNKED}2\r\nhi\r\n0\r\n\r\n");
    for (sent, texts) in
        [(get.to_owned(), &[""][..]), (post.clone(), &["hi"]), (format!("{get}{post}{get}"), &["", "hi", ""])]
    {
        let mut client = Reader::connect(balancer.clients()).await;
        client.send(&sent).await;
        client.end_own_side();
        for text in texts {
            assert_eq!(client.answer().await.text(), *text, "{sent}");
        }
        assert!(client.closed_within(SOON).await);
    }
    let mut client = Reader::connect(balancer.clients()).await;
    client.send("GET / HTTP/1.1\r\nHos").await;
    client.end_own_side();
    assert_eq!(problem(&mut client).await.0, 400);
    let mut client = Reader::connect(balancer.clients()).await;
    client.send(&KEPT.replace("5000", "3")).await;
    client.send("ab").await;
    client.end_own_side();
    assert_eq!(problem(&mut client).await.0, 400);
}

/// So many clients of each kind.
const MANY: usize = 2_000;

const LIMITS: &str = "header_timeout_ms = 4000\nbody_grace_ms = 4000\nsend_timeout_ms = 4000\n\
    body_min_bytes_per_s = 100\nsend_min_bytes_per_s = 100";

/// What one of them may cost the process, in bytes.
const EACH: u64 = 256 << 10;

/// Has many clients send `head`, then a byte of `drip` a second, while others are served.
async fn many(kind: &str, head: &str, drip: &[u8]) {
    let most = getrlimit(Resource::RLIMIT_NOFILE).expect("known").1;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("raised");
    let balancer = Balancer::start_with(LIMITS).await;
    let large = "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n";
    let backend = Backend::start(move |request| match request.path() {
        "/large" => Reply::Endless(large.into()),
        _ => Reply::Bytes(ok("hello")),
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    let before = balancer.memory_kib();
    let mut clients = JoinSet::new();
    for _ in 0..MANY {
        let (address, head) = (balancer.clients(), head.to_owned());
        clients.spawn(async move {
            let mut client = Reader::connect(address).await;
            client.send(&head).await;
            client
        });
    }
    let mut clients = clients.join_all().await;
    let started = Instant::now();
    let mut load = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let (mut peak, mut open) = (0, MANY);
    while open > MANY / 100 {
        for tick in 0..200 {
            ticks.tick().await;
            load.spawn(quick(balancer.clients()));
            if tick % 100 == 0 {
                peak = peak.max(balancer.memory_kib());
            }
        }
        for client in clients.iter_mut().filter(|_| !drip.is_empty()) {
            let _ = client.tcp.try_write(drip);
        }
        open = open_connections(&balancer).await;
        assert!(started.elapsed() < 4 * SOON, "{open} of them are still there");
    }
    let closed = started.elapsed();
    let asked = load.len();
    let slowest = load.join_all().await.into_iter().max().expect("some");
    let each = peak.saturating_sub(before) * 1024 / MANY as u64;
    println!(
        "{kind}: {MANY} closed after {closed:?}; {asked} others, 0 failed, the slowest {slowest:?}; \
         {each} bytes of resident memory each"
    );
    assert!(each < EACH, "{each}");
    if !drip.is_empty() {
        let mut told = 0;
        for client in &mut clients {
            told += usize::from(client.head().await.is_some_and(|answer| answer.status() == 408));
        }
        assert_eq!(told, MANY);
    }
}

/// One of those who are not slow: how long its answer took.
async fn quick(address: SocketAddr) -> Duration {
    let started = Instant::now();
    let answer = tokio::time::timeout(SOON, get(address, "/")).await.expect("in time");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    started.elapsed()
}

async fn open_connections(balancer: &Balancer) -> usize {
    let metrics = balancer.get("/metrics").await.text().await.expect("text");
    let line =
        metrics.lines().find_map(|line| line.strip_prefix("lb_connections_open ")).expect("the figure");
    line.parse().expect("a number")
}

#[tokio::test]
async fn two_thousand_drip_their_heads() {
    many("heads", "GET / HTTP/1.1\r\nHost: t\r\nX: ", b"x").await;
}

#[tokio::test]
async fn two_thousand_drip_bodies_that_are_kept() {
    many("kept bodies", KEPT, b"x").await;
}

#[tokio::test]
async fn two_thousand_drip_bodies_that_stream() {
    many("streamed bodies", &format!("{CHUNKED}ffff\r\n"), b"x").await;
}

#[tokio::test]
async fn two_thousand_take_no_answer() {
    many("answers", "GET /large HTTP/1.1\r\nHost: t\r\n\r\n", b"").await;
}
