//! What routes change in requests and answers, on every way of forwarding.

use serde_json::json;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::Balancer;
use crate::client::Reader;

/// One that may be repeated, one that may not, and one that is passed on as it comes, with its body.
const ALL_WAYS: [(&str, &str, &str); 3] = [
    ("GET", "", ""),
    ("POST", "Content-Length: 4\r\n", "body"),
    ("POST", "Transfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n"),
];

/// Answers with the head and body it received.
async fn echo() -> Backend {
    Backend::start(|request| {
        let headers: String =
            request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let body = format!("{}\n{headers}\n{}", request.start, request.text());
        let answer = String::from_utf8(ok(&body)).expect("text");
        Reply::Bytes(answer.replacen("\r\n", "\r\nServer: inner/1.0\r\nX-Both: theirs\r\n", 1).into_bytes())
    })
    .await
}

#[tokio::test]
async fn upstreams_and_clients_see_what_the_route_makes_of_it() {
    let balancer = Balancer::start().await;
    let backend = echo().await;
    balancer.use_pools(&[("p", &[&backend])]).await;
    let routes = json!([{
        "name": "api", "path": "/api", "pool": "p",
        "rewrite": {"replace_prefix": "/v2", "host": "inner.example"},
        "request_headers": {
            "remove": ["Cookie", "X-Forwarded-For"],
            "set": {"X-Real-IP": "{client}", "X-Was": "{scheme}://{host}{path}?{query}"},
            "add": {"X-Both": "ours"},
        },
        "response_headers": {
            "remove": ["Server"], "set": {"X-Route": "{route} {method} {path}"}, "add": {"X-Both": "ours"},
        },
    }, {"name": "rest", "pool": "p"}]);
    balancer.use_routes(routes).await;
    for (method, length, body) in ALL_WAYS {
        let mut client = Reader::connect(balancer.clients()).await;
        let address = client.tcp.local_addr().expect("address").ip();
        let request = |path: &str| {
            format!(
                "{method} {path} HTTP/1.1\r\nHost: example.org:81\r\n{length}Cookie: a=b\r\nX-Both: theirs\r\n\
                 X-Real-IP: 6.6.6.6\r\n\r\n{body}"
            )
        };
        let answer = client.ask(&request("/api/a%2Fb?c=d")).await;
        let seen = answer.text();
        for expected in [
            &format!("{method} /v2/a%2Fb?c=d HTTP/1.1\n"),
            "host: inner.example\n",
            "x-forwarded-host: example.org:81\n",
            &format!("x-real-ip: {address}\n"),
            "x-was: http://example.org/api/a%2Fb?c=d\n",
            "x-both: theirs, ours\n",
        ] {
            assert!(seen.contains(expected), "{method} {length}: {expected:?} in\n{seen}");
        }
        for gone in ["cookie:", "x-forwarded-for:"] {
            assert!(!seen.contains(gone), "{method} {length}: {gone} in\n{seen}");
        }
        assert_eq!(answer.headers.get("server"), None, "{answer:?}");
        assert_eq!(answer.headers["x-route"], format!("api {method} /api/a%2Fb"));
        assert_eq!(answer.headers["x-both"], "theirs, ours");
        // The other route is not touched by it, on the same connection.
        let answer = client.ask(&request("/apiary")).await;
        assert!(answer.text().contains("cookie: a=b\n"), "{}", answer.text());
        assert_eq!(answer.headers["server"], "inner/1.0");
    }
}

#[tokio::test]
async fn an_upgrade_is_rewritten_too() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|request| {
        assert_eq!(request.path(), "/socket?room=1");
        assert_eq!(request.headers["x-room"], "room=1");
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        Reply::Tunnel(head.into())
    })
    .await;
    balancer.use_pools(&[("p", &[&backend])]).await;
    let routes = json!([{
        "name": "chat", "path": "/chat", "pool": "p", "rewrite": {"path": "/socket"},
        "request_headers": {"set": {"X-Room": "{query}"}},
    }]);
    balancer.use_routes(routes).await;
    let mut client = Reader::connect(balancer.clients()).await;
    let request = "GET /chat?room=1 HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: x\r\n\r\n";
    assert_eq!(client.ask(request).await.status(), 101);
    client.send("word").await;
    assert_eq!(client.some().await.expect("still open"), b"word");
}
