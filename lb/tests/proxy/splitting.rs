//! Routes whose requests several pools share.

use serde_json::{Value, json};

use crate::backend::{Backend, Reply, ok};
use crate::balancer::Balancer;
use crate::client::Reader;

async fn two(balancer: &Balancer) -> [Backend; 2] {
    let backends = ["stable", "canary"].map(|name| Backend::start(move |_| Reply::Bytes(ok(name))));
    let [stable, canary] = backends;
    let (stable, canary) = (stable.await, canary.await);
    balancer.use_pools(&[("stable", &[&stable]), ("canary", &[&canary])]).await;
    [stable, canary]
}

fn split(stable: u32, canary: u32, by: Value) -> Value {
    let split = json!([{"pool": "stable", "weight": stable}, {"pool": "canary", "weight": canary}]);
    json!([{"name": "web", "split": split, "split_by": by}])
}

/// How many of `count` requests the canary gets; each has its number in a header field and a cookie.
async fn to_canary(balancer: &Balancer, count: usize) -> Vec<bool> {
    let mut client = Reader::connect(balancer.clients()).await;
    let mut found = Vec::new();
    for number in 0..count {
        let request =
            format!("GET / HTTP/1.1\r\nHost: t\r\nX-User: user-{number}\r\nCookie: id=user-{number}\r\n\r\n");
        let answer = client.ask(&request).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        found.push(answer.text() == "canary");
    }
    found
}

fn count(found: &[bool]) -> usize {
    found.iter().filter(|&&canary| canary).count()
}

#[tokio::test]
async fn each_pool_has_its_share() {
    let balancer = Balancer::start().await;
    let _backends = two(&balancer).await;
    balancer.use_routes(split(3, 1, Value::Null)).await;
    let share = count(&to_canary(&balancer, 800).await);
    // Six standard deviations: less than once in a hundred million runs.
    assert!((126..=274).contains(&share), "{share} of 800");
    for (pool, requests) in [("stable", 800 - share), ("canary", share)] {
        let counted = format!("lb_requests_total{{class=\"2xx\",pool=\"{pool}\",route=\"web\"}} {requests}");
        balancer.counts(&counted).await;
    }
    balancer.use_routes(split(1, 0, Value::Null)).await;
    assert_eq!(count(&to_canary(&balancer, 100).await), 0);
}

#[tokio::test]
async fn a_client_stays_where_it_is() {
    let balancer = Balancer::start().await;
    let _backends = two(&balancer).await;
    for by in [json!({"header": "X-User"}), json!({"cookie": "id"})] {
        balancer.use_routes(split(80, 20, by.clone())).await;
        let before = to_canary(&balancer, 300).await;
        assert!((20..=120).contains(&count(&before)), "{by}: {} of 300", count(&before));
        assert_eq!(to_canary(&balancer, 300).await, before, "{by}");
        balancer.use_routes(split(60, 40, by.clone())).await;
        let after = to_canary(&balancer, 300).await;
        assert!(count(&after) > count(&before), "{by}");
        let back = before.iter().zip(&after).filter(|(before, after)| **before && !**after).count();
        assert_eq!(back, 0, "{by}: a larger share takes clients and gives none back");
    }
    // All of these are one client.
    balancer.use_routes(split(50, 50, json!("client"))).await;
    assert!([0, 50].contains(&count(&to_canary(&balancer, 50).await)));
}

#[tokio::test]
async fn a_share_whose_pool_is_empty_goes_to_the_others() {
    let balancer = Balancer::start().await;
    let [stable, canary] = two(&balancer).await;
    balancer.use_routes(split(1, 1, json!({"header": "X-User"}))).await;
    let before = to_canary(&balancer, 60).await;
    assert!((1..60).contains(&count(&before)));
    balancer.use_pools(&[("stable", &[&stable]), ("canary", &[])]).await;
    assert_eq!(count(&to_canary(&balancer, 60).await), 0);
    balancer.use_pools(&[("stable", &[&stable]), ("canary", &[&canary])]).await;
    assert_eq!(to_canary(&balancer, 60).await, before);
}
