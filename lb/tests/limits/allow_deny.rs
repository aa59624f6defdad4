//! Who may ask at all.

use serde_json::json;

use crate::backend::Backend;
use crate::balancer::Balancer;
use crate::stage::{ALL_WAYS, client_at, configure, get_by_http2, get_from, metric};

const INSIDE: &str = "127.1.0.1";
const OUTCAST: &str = "127.1.0.66";
const OUTSIDE: &str = "127.2.0.1";

#[tokio::test]
async fn first_deny_then_allow_for_everybody_and_for_a_route() {
    let balancer = Balancer::start().await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    let routes = json!([
        {"name": "admin", "path": "/admin", "pool": "p", "allow": ["127.1.0.0/16"], "deny": ["127.1.0.66"]},
        {"name": "fixed", "path": "/fixed", "respond": {"status": 204}, "allow": ["127.1.0.0/16"]},
        {"name": "all", "path": "/all", "pool": "p"},
    ]);
    configure(&balancer, 1, routes, json!({"deny": ["127.3.0.0/16"], "trusted_proxies": ["127.4.0.1"]}))
        .await;
    for (from, fields, path, status) in [
        (INSIDE, "", "/admin", 200),
        (OUTCAST, "", "/admin", 403),
        (OUTSIDE, "", "/admin", 403),
        (INSIDE, "", "/fixed", 204),
        (OUTSIDE, "", "/fixed", 403),
        (OUTSIDE, "", "/all", 200),
        (OUTCAST, "", "/all", 200),
        ("127.3.0.1", "", "/all", 403),
        ("127.3.0.1", "", "/nowhere", 403),
        (OUTSIDE, "", "/nowhere", 404),
        // It is the client that counts, and not who says so without being asked.
        ("127.4.0.1", "X-Forwarded-For: 127.1.0.7\r\n", "/admin", 200),
        ("127.4.0.1", "X-Forwarded-For: 127.3.0.7\r\n", "/all", 403),
        (OUTSIDE, "X-Forwarded-For: 127.1.0.7\r\n", "/admin", 403),
    ] {
        let answer = get_from(from, &balancer, path, fields).await;
        assert_eq!(answer.status(), status, "{from} {fields} {path}");
        if status == 403 {
            let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("a problem");
            assert_eq!(problem["title"], "Forbidden");
        }
        let fields: Vec<_> = fields
            .trim_end()
            .split_once(": ")
            .into_iter()
            .map(|(_, value)| ("x-forwarded-for", value))
            .collect();
        assert_eq!(get_by_http2(from, &balancer, path, &fields).await.0.status(), status, "{from} {path}");
    }
    let before = backend.seen().len();
    for (method, length, body) in ALL_WAYS {
        let request = format!("{method} /admin HTTP/1.1\r\nHost: t\r\n{length}\r\n{body}");
        assert_eq!(client_at(OUTSIDE, &balancer).await.ask(&request).await.status(), 403, "{method}");
    }
    assert_eq!(backend.seen().len(), before, "upstreams hear nothing of it");
    for (series, expected) in [
        (r#"lb_requests_limited_total{outcome="denied",pool="p",route="admin"}"#, 9.0),
        (r#"lb_requests_limited_total{outcome="denied",pool="",route="fixed"}"#, 2.0),
        (r#"lb_requests_limited_total{outcome="denied",pool="p",route="all"}"#, 4.0),
        (r#"lb_requests_limited_total{outcome="denied",pool="",route=""}"#, 2.0),
    ] {
        assert_eq!(metric(&balancer, series).await, expected, "{series}");
    }
}
