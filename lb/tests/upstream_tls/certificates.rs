//! Whose certificates are believed, and what becomes of those who show others.

use serde_json::json;

use crate::authority::Authority;
use crate::backend::Backend;
use crate::balancer::{Balancer, eventually};
use crate::client::{get, post};
use crate::front::{Front, NAME, figure, pem, serve};

#[tokio::test]
async fn who_shows_the_wrong_certificate_gets_nothing_and_requests_go_elsewhere() {
    let balancer = Balancer::start().await;
    let (ca, stranger) = (Authority::new("test CA"), Authority::new("another CA"));
    let good = Front::new(&ca.server(&[NAME])).await;
    for (bad, reason) in [
        (stranger.server(&[NAME]), "tls_unknown_issuer"),
        (ca.expired(&[NAME]), "tls_expired"),
        (ca.server(&["other.internal"]), "tls_wrong_name"),
    ] {
        let bad = Front::new(&bad).await;
        let tls = json!({"ca": pem(&ca), "server_name": NAME});
        let policy = json!({"balance": {"algorithm": "round_robin"}});
        serve_anew(&balancer, &[&bad, &good], tls, policy).await;
        let name = format!("lb_upstream_tls_failures_total{{reason=\"{reason}\"}}");
        for n in 0..6 {
            assert_eq!(get(balancer.clients(), &format!("/{n}")).await.status(), 200, "{reason}");
            // Nothing of it was sent to the other one, so it may go elsewhere.
            assert_eq!(post(balancer.clients(), &format!("/{n}"), "body").await.status(), 200, "{reason}");
        }
        assert!(figure(&balancer, &name).await >= 1.0, "{reason}");
        let id = bad.id();
        eventually("it is ejected", async || {
            (balancer.record_of("p", &id).await["ejected"] == true).then_some(())
        })
        .await;
        assert_eq!(bad.backend.seen().len(), 0, "{reason}");
    }
    assert_eq!(good.had("POST"), 18);
}

/// As `serve`, at a new generation.
async fn serve_anew(
    balancer: &Balancer,
    fronts: &[&Front],
    tls: serde_json::Value,
    policy: serde_json::Value,
) {
    let status = balancer.get_json("/status").await;
    let generation = status["config_generation"].as_u64().expect("a generation") + 1;
    crate::front::push(balancer, generation, tls, policy).await;
    let upstreams: Vec<_> = fronts.iter().map(|front| front.upstream()).collect();
    balancer.use_upstreams(&upstreams).await;
}

#[tokio::test]
async fn a_plain_upstream_is_none_of_a_pool_with_tls() {
    let balancer = Balancer::start().await;
    let ca = Authority::new("test CA");
    let good = Front::new(&ca.server(&[NAME])).await;
    let plain = Backend::healthy().await;
    serve(&balancer, &[], json!({"ca": pem(&ca), "server_name": NAME}), json!({})).await;
    balancer.use_upstreams(&[plain.upstream(), good.upstream()]).await;
    for n in 0..10 {
        assert_eq!(post(balancer.clients(), &format!("/{n}"), "body").await.status(), 200);
    }
    assert_eq!((plain.seen().len(), good.had("POST")), (0, 10));
}

#[tokio::test]
async fn without_a_name_the_address_counts_and_with_verify_off_nothing_does() {
    let balancer = Balancer::start().await;
    let ca = Authority::new("test CA");
    let front = Front::new(&ca.server(&["127.0.0.1"])).await;
    serve(&balancer, &[&front], json!({"ca": pem(&ca)}), json!({})).await;
    assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    // Addresses are not told (RFC 6066, section 3).
    assert_eq!(front.seen.names.lock().expect("lock")[0], "");
    let stranger = Front::new(&Authority::new("another CA").server(&["x"])).await;
    serve_anew(&balancer, &[&stranger], json!({"verify": false}), json!({})).await;
    assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    assert!(stranger.handshakes() > 0);
}

#[tokio::test]
async fn checks_speak_tls_and_take_out_whose_certificate_is_bad() {
    let balancer = Balancer::start().await;
    let ca = Authority::new("test CA");
    let good = Front::new(&ca.server(&[NAME])).await;
    let expired = Front::new(&ca.expired(&[NAME])).await;
    let check = json!({"active": true, "interval_ms": 50, "edge_interval_ms": 50});
    let tls = json!({"ca": pem(&ca), "server_name": NAME});
    serve(&balancer, &[&good, &expired], tls, json!({"check": check})).await;
    let (bad, well) = (expired.id(), good.id());
    eventually("the bad one is ejected, without a request", async || {
        (balancer.record_of("p", &bad).await["ejected"] == true).then_some(())
    })
    .await;
    eventually("the good one was asked", async || (good.handshakes() > 2).then_some(())).await;
    assert_eq!(balancer.record_of("p", &well).await["ejected"], false);
}
