//! Requests with large bodies, which are passed on while they come: whole, beside their answers, and to another upstream as
//! long as that can have all of them.

use std::time::Duration;

use crate::backend::{Backend, Reply, nobody, ok};
use crate::balancer::{Balancer, SOON, eventually};
use crate::client::Reader;

/// More than is kept to be sent again.
const LARGE: usize = 1 << 20;

fn head(method: &str, length: usize) -> String {
    format!("{method} / HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n")
}

/// Text in which no two places look alike.
fn body(length: usize) -> String {
    (0..).flat_map(|number: u32| format!("{number:07} ").into_bytes()).map(char::from).take(length).collect()
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|request| Reply::Bytes(ok(&request.text()))).await;
    balancer.use_policy(serde_json::json!({"reuse_unrepeatable": true})).await;
    balancer.use_backends(&[&backend]).await;
    let body = body(LARGE);
    let mut client = Reader::connect(balancer.clients()).await;
    let before = backend.connections();
    for _ in 0..5 {
        let answer = client.ask(&(head("POST", LARGE) + &body)).await;
        assert_eq!((answer.status(), answer.headers["connection"].as_str()), (200, "keep-alive"));
        assert!(answer.text() == body, "{} bytes", answer.body.len());
    }
    assert!(backend.connections() - before < 5, "{} connections", backend.connections() - before);
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await.status(), 200);
}

#[tokio::test]
async fn an_answer_comes_beside_its_request() {
    let balancer = Balancer::start().await;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
    let backend = Backend::hasty(move |_| Reply::Tunnel(answer.clone().into())).await;
    balancer.use_backends(&[&backend]).await;
    let body = body(LARGE);
    let mut client = Reader::connect(balancer.clients()).await;
    client.send(&head("POST", LARGE)).await;
    let mut echoed = Vec::new();
    assert_eq!(client.head().await.expect("a head").status(), 200);
    for piece in body.as_bytes().chunks(100_000) {
        client.send(std::str::from_utf8(piece).expect("text")).await;
        let wanted = echoed.len() + piece.len();
        while echoed.len() < wanted {
            echoed.extend(client.some().await.expect("what was sent"));
        }
    }
    assert!(echoed == body.as_bytes(), "{} bytes", echoed.len());
}

#[tokio::test]
async fn a_client_that_takes_nothing_yet_can_send_on() {
    let balancer = Balancer::start().await;
    // Far more than sockets hold.
    let large = 16 << 20;
    let answer = body(large);
    let early = ok(&answer);
    let backend = Backend::hasty(move |_| Reply::Early(early.clone())).await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    client.send(&(head("POST", large) + &answer)).await;
    assert!(client.answer().await.text() == answer);
}

#[tokio::test]
async fn whoever_refuses_early_is_heard() {
    let balancer = Balancer::start().await;
    let refusal = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nno!";
    let backend = Backend::hasty(move |_| Reply::Bytes(refusal.to_vec())).await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    // Of a megabyte that is announced the client never sends more.
    client.send(&(head("POST", LARGE) + &body(1000))).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text().as_str()), (413, "no!"));
    assert_eq!(answer.headers["connection"], "close");
    assert!(client.closed_within(SOON).await);
    eventually("nobody waits for the rest", async || (backend.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn whoever_accepts_early_gets_the_rest() {
    let balancer = Balancer::start().await;
    let backend = Backend::hasty(|_| Reply::Early(ok("begun"))).await;
    balancer.use_backends(&[&backend]).await;
    let body = body(LARGE);
    let mut client = Reader::connect(balancer.clients()).await;
    client.send(&(head("POST", LARGE) + &body[..1000])).await;
    assert_eq!(client.answer().await.text(), "begun");
    client.send(&body[1000..]).await;
    eventually("all of it arrives", async || {
        backend.seen().iter().any(|request| request.text() == body).then_some(())
    })
    .await;
    // Nobody was told otherwise, so the connection goes on.
    let next = client.ask(&(head("POST", LARGE) + &body)).await;
    assert_eq!(next.text(), "begun");
}

#[tokio::test]
async fn what_nobody_has_read_goes_to_the_next() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|request| Reply::Bytes(ok(&request.text()))).await;
    let dead = nobody().await;
    let dead = serde_json::json!({"id": "dead", "address": dead.ip(), "port": dead.port()});
    balancer.use_upstreams(&[dead, backend.upstream()]).await;
    let body = body(LARGE);
    for _ in 0..4 {
        let mut client = Reader::connect(balancer.clients()).await;
        let answer = client.ask(&(head("POST", LARGE) + &body)).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.text() == body, "{} bytes", answer.body.len());
    }
}

#[tokio::test]
async fn a_broken_try_is_repeated_from_the_beginning_where_that_may_be_and_can_be() {
    let balancer = Balancer::start().await;
    let body = body(LARGE);
    for (method, first, status) in [("PUT", 10_000, 200), ("POST", 10_000, 502), ("PUT", 500_000, 502)] {
        let breaks = Backend::hasty(move |_| Reply::LeaveAfter(first / 2)).await;
        let whole = Backend::hasty(|_| Reply::Early(ok("begun"))).await;
        balancer.use_backends(&[&breaks]).await;
        let mut client = Reader::connect(balancer.clients()).await;
        client.send(&(head(method, LARGE) + &body[..first / 4])).await;
        eventually("it is tried", async || (!breaks.seen().is_empty()).then_some(())).await;
        balancer.use_backends(&[&breaks, &whole]).await;
        client.send(&body[first / 4..first]).await;
        let answer = client.answer().await;
        assert_eq!(answer.status(), status, "{method} {first}: {answer:?}");
        if status == 200 {
            client.send(&body[first..]).await;
            let has_all = async || whole.seen().iter().any(|seen| seen.text() == body).then_some(());
            eventually("it arrives", has_all).await;
        } else {
            assert!(whole.seen().is_empty(), "nobody has a part of it");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_takes_its_request_along() {
    let balancer = Balancer::start().await;
    let backend = Backend::hasty(|_| Reply::Early(Vec::new())).await;
    balancer.use_backends(&[&backend]).await;
    for ends_own_side in [false, true] {
        let mut client = Reader::connect(balancer.clients()).await;
        let before = backend.seen().len();
        client.send(&(head("POST", LARGE) + &body(200_000))).await;
        eventually("it arrives", async || (backend.seen().len() > before).then_some(())).await;
        if ends_own_side {
            client.end_own_side();
            assert_eq!(client.answer().await.status(), 400);
        }
        drop(client);
        eventually("the upstream's connection ends", async || (backend.open() == 0).then_some(())).await;
        assert_eq!(balancer.record(&backend).await["in_flight"], 0);
    }
    assert!(backend.seen().iter().all(|request| request.body.len() < LARGE), "no part is taken for a whole");
}

#[tokio::test]
async fn an_upload_has_the_time_it_needs_and_its_answer_the_usual_time() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|request| {
        if request.text().starts_with('0') { Reply::Bytes(ok("here")) } else { Reply::Nothing }
    })
    .await;
    balancer.use_policy(serde_json::json!({"request_timeout_ms": 500})).await;
    balancer.use_backends(&[&backend]).await;
    for (body, status) in [(body(LARGE), 200), ("x".repeat(LARGE), 504)] {
        let mut client = Reader::connect(balancer.clients()).await;
        client.send(&head("POST", LARGE)).await;
        for piece in body.as_bytes().chunks(LARGE / 8) {
            assert!(!client.readable_within(Duration::from_millis(120)).await);
            client.send(std::str::from_utf8(piece).expect("text")).await;
        }
        assert_eq!(client.answer().await.status(), status);
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_word_sends_when_it_has_it_or_is_told_no() {
    let balancer = Balancer::start().await;
    let go_on = Backend::hasty(|_| Reply::Early(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())).await;
    let no = Backend::hasty(|_| Reply::Bytes(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n".to_vec())).await;
    let asks = "PUT / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    balancer.use_backends(&[&go_on]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    client.send(asks).await;
    assert_eq!(client.head().await.expect("a word").status(), 100);
    client.send("hello").await;
    eventually("it arrives", async || go_on.seen().iter().any(|seen| seen.text() == "hello").then_some(()))
        .await;
    balancer.use_backends(&[&no]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    client.send(asks).await;
    let answer = client.head().await.expect("a word");
    assert_eq!((answer.status(), answer.headers["connection"].as_str()), (417, "close"));
    assert!(client.closed_within(SOON).await);
}
