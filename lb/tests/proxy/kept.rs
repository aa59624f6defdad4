//! What may not be repeated goes over a kept connection only where that is as good as a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::Reader;

const POST: &str = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\n7";

/// Far longer than a connection is as good as a new one for.
const PAUSE: Duration = Duration::from_millis(60);

async fn connects(balancer: &Balancer, backend: &Backend) -> u64 {
    balancer.record(backend).await["connects"].as_u64().expect("a count")
}

/// Sends `count` POSTs over `client`, each `after` the one before. All are answered with 200.
async fn posts(client: &mut Reader, count: usize, after: Duration) {
    for _ in 0..count {
        tokio::time::sleep(after).await;
        assert_eq!(client.ask(POST).await.status(), 200);
    }
}

/// Waits until POSTs that follow each other closely share connections.
async fn posts_share(balancer: &Balancer, backend: &Backend, client: &mut Reader) {
    // A busy machine may come between two of them, but not between all.
    eventually("POSTs share a connection", async || {
        let before = connects(balancer, backend).await;
        posts(client, 20, Duration::ZERO).await;
        (connects(balancer, backend).await < before + 20).then_some(())
    })
    .await;
}

#[tokio::test]
async fn posts_in_quick_succession_share_connections_and_one_after_a_pause_has_its_own() {
    let balancer = Balancer::start().await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    posts_share(&balancer, &backend, &mut client).await;
    let before = connects(&balancer, &backend).await;
    posts(&mut client, 10, PAUSE).await;
    assert_eq!(connects(&balancer, &backend).await, before + 10);
    // What may be repeated takes any.
    let before = connects(&balancer, &backend).await;
    for _ in 0..10 {
        tokio::time::sleep(PAUSE).await;
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await.status(), 200);
    }
    assert_eq!(connects(&balancer, &backend).await, before);
}

#[tokio::test]
async fn no_post_is_sent_to_an_upstream_that_closes_without_a_word() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|_| Reply::Last(ok("and goes"))).await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    posts(&mut client, 300, Duration::ZERO).await;
    assert_eq!((connects(&balancer, &backend).await, backend.seen().len()), (300, 300));
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_not_used() {
    let balancer = Balancer::start().await;
    let closes = Arc::new(AtomicBool::new(false));
    let last = closes.clone();
    let backend = Backend::start(move |_| {
        if last.load(Ordering::SeqCst) { Reply::Last(ok("last")) } else { Reply::Bytes(ok("kept")) }
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    for _ in 0..10 {
        closes.store(false, Ordering::SeqCst);
        posts_share(&balancer, &backend, &mut client).await;
        let others = backend.open();
        closes.store(true, Ordering::SeqCst);
        posts(&mut client, 1, Duration::ZERO).await;
        // As soon as it is closed, which the balancer may not know yet.
        while backend.open() > others {
            tokio::task::yield_now().await;
        }
        posts(&mut client, 1, Duration::ZERO).await;
    }
    assert_eq!(balancer.record(&backend).await["failures"], 0);
}
