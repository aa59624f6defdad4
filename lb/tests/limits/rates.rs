//! How often clients may ask.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::backend::Backend;
use crate::balancer::{Balancer, eventually};
use crate::stage::{ALL_WAYS, client_at, configure, get_by_http2, get_from, metric};

async fn stage() -> (Balancer, Backend) {
    let balancer = Balancer::start().await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    (balancer, backend)
}

/// How many of `count` requests from `from` were answered with 200; all others have to be 429.
async fn passed(from: &str, balancer: &Balancer, path: &str, fields: &str, count: usize) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        match get_from(from, balancer, path, fields).await.status() {
            200 => passed += 1,
            status => assert_eq!(status, 429),
        }
    }
    passed
}

#[tokio::test]
async fn each_client_has_its_own_burst_and_is_told_when_to_come_again() {
    let (balancer, backend) = stage().await;
    let routes = json!([
        {"name": "r", "path": "/r", "pool": "p", "rate_limits": [{"rate": "3/h"}]},
        {"name": "other", "pool": "p"},
    ]);
    configure(&balancer, 1, routes.clone(), json!({"trusted_proxies": ["127.4.0.1"]})).await;
    for (method, length, body) in ALL_WAYS {
        let request = format!("{method} /r HTTP/1.1\r\nHost: t\r\n{length}\r\n{body}");
        assert_eq!(client_at("127.1.0.1", &balancer).await.ask(&request).await.status(), 200, "{method}");
    }
    let before = backend.seen().len();
    for (method, length, body) in ALL_WAYS {
        let request = format!("{method} /r HTTP/1.1\r\nHost: t\r\n{length}\r\n{body}");
        let mut client = client_at("127.1.0.1", &balancer).await;
        let answer = client.ask(&request).await;
        assert_eq!(answer.status(), 429, "{method}");
        let after: u64 = answer.headers["retry-after"].parse().expect("seconds");
        assert!((1_100..=1_200).contains(&after), "a third of an hour: {after}");
        assert_eq!(answer.headers["ratelimit-policy"], "\"limit\";q=3;w=3600");
        assert_eq!(answer.headers["ratelimit"], format!("\"limit\";r=0;t={after}"));
        if method == "GET" {
            // The connection goes on.
            assert_eq!(client.ask("GET /other HTTP/1.1\r\nHost: t\r\n\r\n").await.status(), 200);
        }
    }
    assert_eq!(backend.seen().len(), before + 1, "only /other got there");
    assert_eq!(get_by_http2("127.1.0.1", &balancer, "/r", &[]).await.0.status(), 429);
    // Another client, and others behind a proxy.
    assert_eq!(passed("127.1.0.2", &balancer, "/r", "", 5).await, 3);
    assert_eq!(passed("127.4.0.1", &balancer, "/r", "X-Forwarded-For: 127.1.0.3\r\n", 5).await, 3);
    assert_eq!(passed("127.4.0.1", &balancer, "/r", "X-Forwarded-For: 127.1.0.1\r\n", 5).await, 0);
    assert_eq!(passed("127.1.0.4", &balancer, "/r", "X-Forwarded-For: 127.1.0.5\r\n", 5).await, 3);
    // What is known outlives a configuration that says the same, and not one that says something else.
    configure(&balancer, 2, routes, json!({"trusted_proxies": ["127.4.0.1"], "deny": ["192.0.2.1"]})).await;
    assert_eq!(passed("127.1.0.1", &balancer, "/r", "", 1).await, 0);
    let series = r#"lb_requests_limited_total{outcome="refused",pool="p",route="r"}"#;
    assert_eq!(metric(&balancer, series).await, 4.0 + 2.0 + 2.0 + 5.0 + 2.0 + 1.0);
    let routes = json!([{"name": "r", "pool": "p", "rate_limits": [{"rate": "2/h"}]}]);
    configure(&balancer, 3, routes, json!({})).await;
    assert_eq!(passed("127.1.0.1", &balancer, "/r", "", 5).await, 2);
}

#[tokio::test]
async fn requests_are_counted_by_what_is_asked_for() {
    let (balancer, _backend) = stage().await;
    let limit = |by| json!([{"rate": "2/h", "by": by}]);
    let routes = json!([
        {"name": "all", "path": "/all", "pool": "p", "rate_limits": limit(json!("all"))},
        {"name": "key", "path": "/key", "pool": "p", "rate_limits": limit(json!({"header": "X-Key"}))},
        {"name": "cookie", "path": "/cookie", "pool": "p", "rate_limits": limit(json!({"cookie": "id"}))},
        {"name": "two", "path": "/two", "pool": "p", "rate_limits": [
            {"rate": "1000/s", "by": "all", "burst": 3}, {"rate": "1/h"},
        ]},
        {"name": "free", "path": "/free", "pool": "p"},
    ]);
    configure(&balancer, 1, routes, json!({})).await;
    let first = passed("127.1.0.1", &balancer, "/all", "", 1).await;
    assert_eq!(first + passed("127.1.0.2", &balancer, "/all", "", 4).await, 2);
    for (path, fields) in [
        ("/key", ["X-Key: a\r\n", "X-Key: b\r\n"]),
        ("/cookie", ["Cookie: x=y; id=a\r\n", "Cookie: id=b\r\n"]),
    ] {
        for one in fields {
            let first = passed("127.1.0.1", &balancer, path, one, 1).await;
            assert_eq!(first + passed("127.1.0.2", &balancer, path, one, 4).await, 2, "{one}");
        }
        // Those without go by their addresses.
        for from in ["127.1.0.1", "127.1.0.2"] {
            assert_eq!(passed(from, &balancer, path, "", 4).await, 2, "{path} {from}");
        }
    }
    // What one limit refuses does not count for another one.
    assert_eq!(passed("127.1.0.1", &balancer, "/two", "", 20).await, 1);
    assert_eq!(passed("127.1.0.2", &balancer, "/two", "", 20).await, 1);
    assert_eq!(passed("127.1.0.1", &balancer, "/free", "", 20).await, 20);
}

#[tokio::test]
async fn a_limit_for_everybody_counts_all_routes_and_those_without() {
    let (balancer, _backend) = stage().await;
    let routes = json!([{"name": "a", "path": "/a", "pool": "p"}, {"name": "b", "path": "/b", "respond": {"status": 200}}]);
    configure(&balancer, 1, routes, json!({"rate_limits": [{"rate": "3/h"}]})).await;
    let from = "127.1.0.1";
    for (path, status) in [("/a", 200), ("/b", 200), ("/c", 404), ("/a", 429), ("/b", 429), ("/c", 429)] {
        assert_eq!(get_from(from, &balancer, path, "").await.status(), status, "{path}");
    }
    assert_eq!(get_from("127.1.0.2", &balancer, "/a", "").await.status(), 200);
}

#[tokio::test]
async fn who_comes_too_soon_can_be_made_to_wait() {
    let (balancer, backend) = stage().await;
    let limits = json!([{"rate": "10/s", "burst": 1, "delay_ms": 60_000}]);
    configure(&balancer, 1, json!([{"name": "r", "pool": "p", "rate_limits": limits}]), json!({})).await;
    let begun = Instant::now();
    let asked = (0..6).map(|_| get_from("127.1.0.1", &balancer, "/", ""));
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert!(begun.elapsed() >= Duration::from_millis(490), "five waited, the last for half a second");
    let series = r#"lb_requests_limited_total{outcome="delayed",pool="p",route="r"}"#;
    assert_eq!(metric(&balancer, series).await, 5.0);
    // Who leaves while it waits is not asked for.
    let limits = json!([{"rate": "1/m", "burst": 1, "delay_ms": 60_000}]);
    configure(&balancer, 2, json!([{"name": "r", "pool": "p", "rate_limits": limits}]), json!({})).await;
    assert_eq!(get_from("127.1.0.1", &balancer, "/", "").await.status(), 200);
    let mut waits = client_at("127.1.0.1", &balancer).await;
    waits.send("GET /left HTTP/1.1\r\nHost: t\r\n\r\n").await;
    eventually("it waits", async || (metric(&balancer, series).await == 6.0).then_some(())).await;
    socket2::SockRef::from(&waits.tcp).set_linger(Some(Duration::ZERO)).expect("option");
    drop(waits);
    eventually("it is gone", async || {
        (metric(&balancer, "lb_requests_in_flight").await == 0.0).then_some(())
    })
    .await;
    assert!(backend.seen().iter().all(|request| request.path() != "/left"));
}
