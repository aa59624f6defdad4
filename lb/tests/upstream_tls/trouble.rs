//! Upstreams with TLS that die or stand still: no GET is lost by it, and no POST is executed twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::authority::Authority;
use crate::balancer::{Balancer, eventually};
use crate::client::{get, post};
use crate::front::{Front, NAME, pem, serve};

/// Clients that ask again and again until told to stop.
async fn under_load(balancer: &Balancer, trouble: impl AsyncFnOnce()) -> usize {
    let (done, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (done, asked, at) = (done.clone(), asked.clone(), balancer.clients());
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    let answer = get(at, "/load").await;
                    assert!(answer.status() == 200 && answer.whole, "{answer:?}");
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let some_more = async |count: usize| {
        let until = asked.load(Ordering::SeqCst) + count;
        eventually("requests are answered", async || (asked.load(Ordering::SeqCst) >= until).then_some(()))
            .await;
    };
    some_more(40).await;
    trouble().await;
    some_more(100).await;
    done.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no request failed");
    }
    asked.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_death_and_a_standstill_cost_no_get() {
    let balancer = Balancer::start().await;
    let ca = Authority::new("test CA");
    let own = ca.server(&[NAME]);
    let (one, two, three) = (Front::new(&own).await, Front::new(&own).await, Front::new(&own).await);
    let tls = json!({"ca": pem(&ca), "server_name": NAME});
    serve(&balancer, &[&one, &two, &three], tls, json!({})).await;
    under_load(&balancer, async || one.kill()).await;
    assert!(two.had("GET") > 0 && three.had("GET") > 0);
    let id = two.id();
    under_load(&balancer, async || {
        two.freeze(true);
        eventually("it is ejected", async || {
            (balancer.record_of("p", &id).await["ejected"] == true).then_some(())
        })
        .await;
    })
    .await;
    two.freeze(false);
    eventually("it is back", async || (balancer.record_of("p", &id).await["ejected"] == false).then_some(()))
        .await;
}

#[tokio::test]
async fn a_post_whose_handshake_gets_no_answer_is_sent_elsewhere_and_executed_once() {
    let balancer = Balancer::start().await;
    let ca = Authority::new("test CA");
    let own = ca.server(&[NAME]);
    let (frozen, well) = (Front::new(&own).await, Front::new(&own).await);
    frozen.freeze(true);
    let tls = json!({"ca": pem(&ca), "server_name": NAME, "timeout_ms": 300});
    // Nobody else notices: the handshake's own limit has to.
    let policy = json!({
        "balance": {"algorithm": "round_robin"}, "eject_after": 100, "check": {"active": false},
    });
    serve(&balancer, &[&frozen, &well], tls, policy).await;
    for n in 0..6 {
        assert_eq!(post(balancer.clients(), &format!("/{n}"), "body").await.status(), 200);
        let large = "x".repeat(100 << 10);
        assert_eq!(post(balancer.clients(), &format!("/large/{n}"), &large).await.status(), 200);
    }
    assert_eq!((frozen.had("POST"), well.had("POST")), (0, 12));
}
