//! Which route a request takes, and what routes answer by themselves.

use serde_json::{Value, json};

use crate::backend::{Backend, Reply, ok};
use crate::balancer::Balancer;
use crate::client::{Message, Reader};

/// A route that answers with its own name.
fn named(name: &str, asks: Value) -> Value {
    let mut route = asks;
    route["name"] = json!(name);
    route["respond"] = json!({"status": 200, "body": name});
    route
}

async fn ask(balancer: &Balancer, line: &str, fields: &str) -> Message {
    let text = format!("{line} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
    Reader::connect(balancer.clients()).await.ask(&text).await
}

#[tokio::test]
async fn the_first_route_that_fits_in_everything_decides() {
    let balancer = Balancer::start().await;
    let routes = json!([
        named("exact", json!({"path_exact": "/exact"})),
        named("regex", json!({"path_regex": "^/items/[0-9]+$"})),
        named("host", json!({"hosts": ["one.example"], "path": "/api"})),
        named("below", json!({"hosts": ["*.one.example"]})),
        named("method", json!({"methods": ["DELETE", "PURGE"]})),
        named("canary", json!({"headers": [{"name": "X-Canary", "exact": "yes"}]})),
        named("mobile", json!({"headers": [{"name": "User-Agent", "regex": "(?i)android|iphone"}]})),
        named(
            "anonymous",
            json!({"path": "/private", "headers": [{"name": "Authorization", "present": false}]})
        ),
        named("version", json!({"query": [{"name": "v", "prefix": "2"}, {"name": "old", "present": false}]})),
        named("rest", json!({"hosts": ["rest.example"]})),
    ]);
    balancer.use_routes(routes).await;
    for (line, fields, expected) in [
        ("GET /exact", "Host: rest.example\r\n", "exact"),
        ("GET /exact/", "Host: rest.example\r\n", "rest"),
        ("GET /items/17?x", "Host: rest.example\r\n", "regex"),
        ("GET /items/x", "Host: rest.example\r\n", "rest"),
        ("GET /api/x", "Host: ONE.example:8000\r\n", "host"),
        ("GET /%61pi/x", "Host: one.example\r\n", "host"),
        ("GET /x/../api/x", "Host: one.example\r\n", "host"),
        ("GET //api", "Host: one.example\r\n", "host"),
        ("GET /x", "Host: a.b.one.example\r\n", "below"),
        ("PURGE /x", "Host: rest.example\r\n", "method"),
        ("GET /x", "Host: rest.example\r\nX-Canary: no\r\nx-canary: yes\r\n", "canary"),
        ("GET /x", "Host: rest.example\r\nUser-Agent: An iPhone\r\n", "mobile"),
        ("GET /private/x", "Host: rest.example\r\n", "anonymous"),
        ("GET /private/x", "Host: rest.example\r\nAuthorization: x\r\n", "rest"),
        ("GET /x?a=1&v=2.1", "Host: rest.example\r\n", "version"),
        ("GET /x?v=2.1&old", "Host: rest.example\r\n", "rest"),
    ] {
        let answer = ask(&balancer, line, fields).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, expected), "{line} {fields}");
    }
    let answer = ask(&balancer, "GET /x", "Host: other.example\r\n").await;
    assert_eq!(answer.status(), 404, "{answer:?}");
    balancer.counts("lb_requests_total{class=\"2xx\",pool=\"\",route=\"host\"} 4").await;
}

#[tokio::test]
async fn redirects_lead_elsewhere_and_keep_the_connection() {
    let balancer = Balancer::start().await;
    let routes = json!([
        {"name": "tls", "hosts": ["plain.example"], "redirect": {"scheme": "https", "status": 308}},
        {"name": "moved", "path": "/old", "redirect": {"replace_prefix": "/new", "status": 301}},
        {"name": "user", "path_regex": "^/u/(.+)$", "redirect": {"host": "users.example", "path": "/$1"}},
    ]);
    balancer.use_routes(routes).await;
    let mut client = Reader::connect(balancer.clients()).await;
    for (request, status, location) in [
        ("GET /a?b HTTP/1.1\r\nHost: plain.example:8000\r\n\r\n", 308, "https://plain.example/a?b"),
        ("GET /old/x%20y?z=1 HTTP/1.1\r\nHost: t\r\n\r\n", 301, "/new/x%20y?z=1"),
        ("GET /u/7?z HTTP/1.1\r\nHost: t\r\n\r\n", 302, "http://users.example/7?z"),
    ] {
        let answer = client.ask(request).await;
        assert_eq!((answer.status(), answer.headers["location"].as_str()), (status, location), "{answer:?}");
    }
    // Nobody wants the body, and a client that is still sending it is told so.
    let request = "POST /a HTTP/1.1\r\nHost: plain.example\r\nContent-Length: 99\r\n\r\nhi";
    let answer = Reader::connect(balancer.clients()).await.ask(request).await;
    assert_eq!((answer.status(), answer.headers["connection"].as_str()), (308, "close"));
    client.send("HEAD /old HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let answer = client.answer_to("HEAD").await.expect("an answer");
    assert_eq!(answer.headers["location"], "/new");
    // RFC 9112, section 3.2: HTTP/1.0 knows requests without a host.
    let answer = Reader::connect(balancer.clients()).await.ask("GET /u/7 HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.headers["location"], "http://users.example/7");
}

#[tokio::test]
async fn fixed_answers_need_no_upstream() {
    let balancer = Balancer::start().await;
    let routes = json!([
        {"name": "robots", "path_exact": "/robots.txt", "respond": {
            "status": 200, "body": "User-agent: *\nDisallow: /\n", "headers": {"X-From": "{route} {client}"},
        }, "response_headers": {"set": {"X-Frame-Options": "DENY"}}},
        {"name": "gone", "path": "/gone", "respond": {"status": 410}},
        {"name": "none", "path": "/none", "respond": {"status": 204}},
    ]);
    balancer.use_routes(routes).await;
    assert_eq!(balancer.get("/health/ready").await.status(), 200, "there is nothing that it cannot do");
    let mut client = Reader::connect(balancer.clients()).await;
    let address = client.tcp.local_addr().expect("address").ip();
    let answer = client.ask("GET /robots.txt HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert_eq!(answer.text(), "User-agent: *\nDisallow: /\n");
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["x-from"], format!("robots {address}"));
    assert_eq!(answer.headers["x-frame-options"], "DENY");
    let answer = client.ask("GET /gone/x HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert_eq!((answer.status(), answer.headers["content-type"].as_str()), (410, "application/problem+json"));
    let answer = client.ask("GET /none HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert_eq!((answer.status(), answer.headers.get("content-length")), (204, None));
    client.send("HEAD /robots.txt HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let answer = client.answer_to("HEAD").await.expect("an answer");
    assert_eq!((answer.status(), answer.headers["content-length"].as_str()), (200, "26"));
    let answer = client.ask("GET /robots.txt HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert_eq!(answer.status(), 200, "the connection goes on");
}

#[tokio::test]
async fn a_route_has_its_own_limits() {
    let balancer = Balancer::start_with("body_bytes = 1000").await;
    let backend = Backend::start(|request| match request.path() {
        "/slow/x" => Reply::Nothing,
        _ => Reply::Bytes(ok(&request.body.len().to_string())),
    })
    .await;
    balancer.use_pools(&[("p", &[&backend])]).await;
    let routes = json!([
        {"name": "upload", "path": "/upload", "pool": "p", "body_bytes": 200_000},
        {"name": "small", "path": "/small", "pool": "p", "body_bytes": 4},
        {"name": "slow", "path": "/slow", "pool": "p", "request_timeout_ms": 300},
        {"name": "rest", "pool": "p"},
    ]);
    balancer.use_routes(routes).await;
    for (path, size, status) in [
        ("/upload", 200_000, 200),
        ("/upload", 200_001, 413),
        ("/small", 4, 200),
        ("/small", 5, 413),
        ("/rest", 1_000, 200),
        ("/rest", 1_001, 413),
    ] {
        let body = "x".repeat(size);
        let known = format!("POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {size}\r\n\r\n{body}");
        let chunked = format!(
            "POST {path} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"
        );
        for request in [known, chunked] {
            let answer = Reader::connect(balancer.clients()).await.ask(&request).await;
            let head = request.lines().nth(2).expect("a field");
            assert_eq!(answer.status(), status, "{path} {size} {head}: {answer:?}");
        }
    }
    for fields in ["", "Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n"] {
        let body = if fields.starts_with('T') { "0\r\n\r\n" } else { "" };
        let request = format!("POST /slow/x HTTP/1.1\r\nHost: t\r\n{fields}\r\n{body}");
        let begun = std::time::Instant::now();
        assert_eq!(Reader::connect(balancer.clients()).await.ask(&request).await.status(), 504, "{fields}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(15), "the pool's policy says 30 s");
    }
}
