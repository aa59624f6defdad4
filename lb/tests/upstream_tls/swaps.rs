//! CAs and certificates change while requests go on.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::authority::Authority;
use crate::balancer::{Balancer, eventually};
use crate::client::get;
use crate::front::{Front, NAME, pem, push, serve};

#[tokio::test]
async fn connections_of_the_old_settings_are_closed_and_the_new_ones_count_at_once() {
    let balancer = Balancer::start().await;
    let (ca, other) = (Authority::new("test CA"), Authority::new("another CA"));
    let front = Front::new(&ca.server(&[NAME])).await;
    let tls = |ca: &Authority| json!({"ca": pem(ca), "server_name": NAME});
    let policy = json!({"hold_ms": 0});
    serve(&balancer, &[&front], tls(&ca), policy.clone()).await;
    assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    let kept = async || (front.seen.open.load(Ordering::SeqCst) == 1).then_some(());
    eventually("one is kept", kept).await;
    // The same again changes nothing.
    push(&balancer, 2, tls(&ca), json!({"hold_ms": 0, "max_tries": 5})).await;
    for _ in 0..10 {
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    }
    // One for each worker.
    assert!(front.handshakes() <= 2, "{}", front.handshakes());
    push(&balancer, 3, tls(&other), policy.clone()).await;
    let none = async || (front.seen.open.load(Ordering::SeqCst) == 0).then_some(());
    eventually("none is kept", none).await;
    assert_eq!(get(balancer.clients(), "/").await.status(), 503);
    // Both, as while one takes the place of the other.
    let both = json!({"ca": pem(&other) + &pem(&ca), "server_name": NAME});
    push(&balancer, 4, both, policy).await;
    eventually("it is back", async || (get(balancer.clients(), "/").await.status() == 200).then_some(()))
        .await;
}
