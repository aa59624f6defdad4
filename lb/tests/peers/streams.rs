//! What becomes of single streams, and of a connection's last ones, as hyper's `h2` sees it.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::stage::{Peer, has_passed};

async fn stage(limits: &str) -> (Balancer, Backend) {
    let balancer = Balancer::start_with(limits).await;
    let backend = Backend::start(|request| match request.path() {
        "/hang" => Reply::Parts(vec![(Duration::from_secs(60), ok("late"))]),
        "/slow" => Reply::Parts(vec![(Duration::from_millis(1_500), ok("slow"))]),
        "/long" => Reply::Bytes(ok(&"x".repeat(1_000))),
        "/broken" => Reply::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\nonly a part".to_vec()),
        _ => Reply::Bytes(ok("hello")),
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    (balancer, backend)
}

#[tokio::test]
async fn answers_keep_to_the_window_and_uploads_pass_as_they_come() {
    let (balancer, backend) = stage("").await;
    for case in ["window", "broken", "upload"] {
        has_passed("h2_client.py", balancer.clients(), &[case]).await;
    }
    let uploads: Vec<_> = backend.seen().into_iter().filter(|seen| seen.start.starts_with("POST")).collect();
    assert!(uploads.len() == 2 && uploads.iter().all(|seen| seen.body.len() == 50 && seen.whole));
}

#[tokio::test]
async fn a_reset_ends_the_request_at_the_upstream_and_no_other() {
    let (balancer, backend) = stage("").await;
    let mut client = Peer::talking_to("h2_client.py", balancer.clients(), &["reset"]);
    assert_eq!(client.line().await, "begun");
    eventually("the request arrives", async || {
        (balancer.record(&backend).await["in_flight"] == 1).then_some(())
    })
    .await;
    client.say("go").await;
    assert_eq!(client.line().await, "reset");
    eventually("it is given up", async || (balancer.record(&backend).await["in_flight"] == 0).then_some(()))
        .await;
    assert!(client.finish().await.0);
}

#[tokio::test]
async fn an_idle_connection_is_told_before_it_is_closed() {
    let (balancer, _backend) = stage("idle_timeout_ms = 500").await;
    has_passed("goodbye.py", balancer.clients(), &["idle"]).await;
}

#[tokio::test]
async fn a_balancer_that_stops_answers_what_it_was_asked_and_says_that_it_ends() {
    let (mut balancer, backend) = stage("").await;
    let mut client = Peer::talking_to("goodbye.py", balancer.clients(), &["stop"]);
    assert_eq!(client.line().await, "begun");
    eventually("the request arrives", async || (!backend.seen().is_empty()).then_some(())).await;
    balancer.signal(Signal::SIGTERM);
    let (ok, said) = client.finish().await;
    assert!(ok, "{said:?}");
    assert!(balancer.terminate().await.success());
}
