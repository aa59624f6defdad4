//! Upstreams come and go under load, and the proxy itself ends in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::{Reader, get, post};

#[tokio::test]
async fn swapping_upstreams_under_load_loses_nothing() {
    let balancer = Balancer::start().await;
    let backends = [Backend::healthy().await, Backend::healthy().await, Backend::healthy().await];
    balancer.use_backends(&[&backends[0]]).await;
    let clients = balancer.clients();
    let done = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..8)
        .map(|n| {
            let done = done.clone();
            tokio::spawn(async move {
                let mut kept = Reader::connect(clients).await;
                let mut count = 0;
                while !done.load(Ordering::SeqCst) {
                    assert_eq!(kept.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await.status(), 200);
                    let fresh =
                        if n % 2 == 0 { get(clients, "/").await } else { post(clients, "/", "x").await };
                    assert_eq!(fresh.status(), 200);
                    count += 2;
                }
                count
            })
        })
        .collect();
    for swap in 0..60 {
        let pair = [&backends[swap % 3], &backends[(swap + 1) % 3]];
        balancer.use_backends(&pair[..1 + swap % 2]).await;
    }
    done.store(true, Ordering::SeqCst);
    let mut requests = 0;
    for worker in load {
        requests += worker.await.expect("every request answered");
    }
    println!("{requests} requests during 60 swaps");
    assert!(backends.iter().all(|backend| !backend.seen().is_empty()));
}

#[tokio::test]
async fn a_post_is_answered_by_who_leaves_the_set_meanwhile() {
    let balancer = Balancer::start().await;
    let soon = || Reply::Parts(vec![(Duration::from_millis(50), ok("finished"))]);
    let one = Backend::start(move |_| soon()).await;
    let two = Backend::healthy().await;
    let clients = balancer.clients();
    for length in ["Content-Length: 1\r\n\r\n7", "Transfer-Encoding: chunked\r\n\r\n1\r\n7\r\n0\r\n\r\n"] {
        balancer.use_backends(&[&one]).await;
        let before = one.seen().len();
        let asked = format!("POST / HTTP/1.1\r\nHost: t\r\n{length}");
        let begun = tokio::spawn(async move { Reader::connect(clients).await.ask(&asked).await });
        eventually("the request arrives", async || (one.seen().len() > before).then_some(())).await;
        balancer.use_backends(&[&two]).await;
        assert_eq!(begun.await.expect("no panic").text(), "finished");
    }
    assert!(two.seen().is_empty());
}

#[tokio::test]
async fn connections_to_an_upstream_that_is_gone_from_the_set_are_closed() {
    let balancer = Balancer::start().await;
    let [one, two] = [Backend::healthy().await, Backend::healthy().await];
    balancer.use_backends(&[&one]).await;
    assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    assert_eq!(one.open(), 1);
    balancer.use_backends(&[&two]).await;
    eventually("the connection is closed", async || (one.open() == 0).then_some(())).await;
    let metrics = balancer.get("/metrics").await.text().await.expect("text");
    assert!(!metrics.contains(&one.id()), "{metrics}");
    assert!(metrics.contains(&two.id()), "{metrics}");
}

#[tokio::test]
async fn a_draining_upstream_gets_nothing_new_and_finishes_what_it_has() {
    let balancer = Balancer::start().await;
    let slow = || Reply::Parts(vec![(Duration::from_millis(500), ok("finished"))]);
    let one = Backend::start(move |_| slow()).await;
    let two = Backend::healthy().await;
    balancer.use_backends(&[&one]).await;
    let clients = balancer.clients();
    let begun = tokio::spawn(async move { get(clients, "/").await.text() });
    eventually("the request arrives", async || (!one.seen().is_empty()).then_some(())).await;
    let mut draining = one.upstream();
    draining["state"] = "draining".into();
    balancer.use_upstreams(&[draining, two.upstream()]).await;
    for _ in 0..20 {
        assert_eq!(get(clients, "/").await.text(), "hello");
    }
    assert_eq!(begun.await.expect("no panic"), "finished");
    assert_eq!(one.seen().len(), 1);
}

#[tokio::test]
async fn an_orderly_stop_finishes_requests_and_ends_with_zero() {
    let mut balancer = Balancer::start().await;
    let backend = Backend::start(|_| Reply::Parts(vec![(Duration::from_millis(600), ok("finished"))])).await;
    balancer.use_backends(&[&backend]).await;
    let mut idle = Reader::connect(balancer.clients()).await;
    let clients = balancer.clients();
    let begun = tokio::spawn(async move {
        Reader::connect(clients).await.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await.text()
    });
    eventually("the request arrives", async || (!backend.seen().is_empty()).then_some(())).await;
    let asked = Instant::now();
    let status = balancer.terminate().await;
    assert!(status.success(), "{status}");
    // The connection without a request is not waited for.
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(begun.await.expect("no panic"), "finished");
    assert!(idle.closed_within(Duration::from_secs(1)).await);
}
