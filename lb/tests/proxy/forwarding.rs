//! What upstreams and clients see of each other through the proxy.

use crate::backend::{Backend, Reply, ok};
use crate::balancer::Balancer;
use crate::client::{Message, Reader, get};

/// Answers with the head and body it received.
async fn echo() -> Backend {
    Backend::start(|request| {
        let headers: String =
            request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        Reply::Bytes(ok(&format!("{}\n{headers}\n{}", request.start, request.text())))
    })
    .await
}

/// All ways of forwarding: one that may be repeated, one that may not, and one that is passed on as it comes.
const ALL_WAYS: [(&str, &str); 3] =
    [("GET", ""), ("POST", "Content-Length: 4\r\n"), ("POST", "Transfer-Encoding: chunked\r\n")];

/// The body that goes with the `fields` of one of them.
fn body_of(fields: &str) -> &'static str {
    match fields {
        "" => "",
        fields if fields.starts_with("Content-Length") => "body",
        _ => "4\r\nbody\r\n0\r\n\r\n",
    }
}

#[tokio::test]
async fn the_client_is_named_and_connection_fields_are_dropped_both_ways() {
    let balancer = Balancer::start().await;
    let backend = echo().await;
    balancer.use_backends(&[&backend]).await;
    for (method, length) in ALL_WAYS {
        let request = format!(
            "{method} /a/b?c=d HTTP/1.1\r\nHost: example.org:81\r\n{length}X-Forwarded-For: 198.51.100.7\r\n\
             Connection: close, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nX-Kept: 2\r\n\r\n{}",
            body_of(length)
        );
        let mut client = Reader::connect(balancer.clients()).await;
        let client_ip = client.tcp.local_addr().expect("address").ip();
        let answer = client.ask(&request).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert_eq!(answer.headers["via"], "1.1 lb");
        let seen = answer.text();
        for expected in [
            &format!("{method} /a/b?c=d HTTP/1.1\n"),
            "host: example.org:81\n",
            &format!("x-forwarded-for: {client_ip}\n"),
            "x-forwarded-proto: http\n",
            "x-forwarded-host: example.org:81\n",
            "via: 1.1 lb\n",
            "x-kept: 2\n",
        ] {
            assert!(seen.contains(expected), "{method}: {expected:?} in\n{seen}");
        }
        for dropped in ["connection:", "x-secret:", "keep-alive:", "te:"] {
            assert!(!seen.contains(&format!("\n{dropped}")), "{method}: {dropped} in\n{seen}");
        }
    }
}

#[tokio::test]
async fn an_absolute_target_is_made_a_path() {
    let balancer = Balancer::start().await;
    let backend = echo().await;
    balancer.use_backends(&[&backend]).await;
    for (method, length) in ALL_WAYS {
        let request = format!(
            "{method} http://example.org/a?b HTTP/1.1\r\nHost: example.org\r\n{length}\r\n{}",
            body_of(length)
        );
        let seen = Reader::connect(balancer.clients()).await.ask(&request).await.text();
        assert!(seen.starts_with(&format!("{method} /a?b HTTP/1.1\n")), "{seen}");
        assert!(seen.contains("host: example.org\n"), "{seen}");
    }
}

#[tokio::test]
async fn connection_fields_of_answers_are_dropped() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
                    Keep-Alive: timeout=5\r\nX-Kept: 1\r\n\r\nok";
        Reply::Bytes(head.into())
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    for (method, length) in ALL_WAYS {
        let request = format!("{method} / HTTP/1.1\r\nHost: t\r\n{length}\r\n{}", body_of(length));
        let answer = Reader::connect(balancer.clients()).await.ask(&request).await;
        assert_eq!(answer.headers.get("x-hop"), None, "{method}: {answer:?}");
        assert_eq!(answer.headers.get("keep-alive"), None, "{method}: {answer:?}");
        assert_eq!(answer.headers["x-kept"], "1");
    }
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection_also_when_sent_ahead() {
    let balancer = Balancer::start().await;
    let backend =
        Backend::start(|request| Reply::Bytes(ok(&format!("{} {}", request.path(), request.text())))).await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    client
        .send(
            "GET /1 HTTP/1.1\r\nHost: t\r\n\r\nPOST /2 HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc\
             GET /3 HTTP/1.1\r\nHost: t\r\n\r\n",
        )
        .await;
    for expected in ["/1 ", "/2 abc", "/3 "] {
        assert_eq!(client.answer().await.text(), expected);
    }
    assert_eq!(client.ask("GET /4 HTTP/1.1\r\nHost: t\r\n\r\n").await.text(), "/4 ");
}

#[tokio::test]
async fn kept_upstream_connections_are_used_again() {
    let balancer = Balancer::start().await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    for _ in 0..50 {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await.status(), 200);
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn answers_without_a_body_end_where_they_should() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|request| {
        Reply::Bytes(match request.path() {
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n".into(),
            "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n".into(),
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".into(),
            "/head-chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            _ => ok("last"),
        })
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    for (method, path, status) in
        [("GET", "/204", 204), ("GET", "/304", 304), ("HEAD", "/head", 200), ("HEAD", "/head-chunked", 200)]
    {
        client.send(&format!("{method} {path} HTTP/1.1\r\nHost: t\r\n\r\n")).await;
        let answer = client.answer_to(method).await.expect("an answer");
        assert_eq!((answer.status(), answer.body.len()), (status, 0), "{path}");
    }
    assert_eq!(client.ask("GET /last HTTP/1.1\r\nHost: t\r\n\r\n").await.text(), "last");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn an_http_1_0_client_gets_no_chunks() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|_| {
        Reply::Bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".into())
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    // HTTP/1.0 knows no chunks.
    for &(method, length) in &ALL_WAYS[..2] {
        let request = format!(
            "{method} / HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n{length}\r\n{}",
            body_of(length)
        );
        let answer = Reader::connect(balancer.clients()).await.ask(&request).await;
        assert_eq!(answer.headers.get("transfer-encoding"), None, "{method}");
        assert_eq!(answer.headers["connection"], "close", "{method}");
        assert_eq!(answer.text(), "hello", "{method}");
    }
}

#[tokio::test]
async fn an_answer_of_unknown_length_leaves_the_connection_usable() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|_| Reply::Last("HTTP/1.1 200 OK\r\n\r\nuntil the end".into())).await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    for _ in 0..3 {
        let answer: Message = client.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
        assert_eq!(answer.headers["transfer-encoding"], "chunked");
        assert_eq!((answer.text().as_str(), answer.whole), ("until the end", true));
    }
}

#[tokio::test]
async fn routes_choose_the_pool_by_host_and_path() {
    let balancer = Balancer::start().await;
    let one = Backend::start(|_| Reply::Bytes(ok("one"))).await;
    let two = Backend::start(|_| Reply::Bytes(ok("two"))).await;
    let set =
        serde_json::json!({"generation": 1, "pools": {"one": [one.upstream()], "two": [two.upstream()]}});
    assert_eq!(balancer.put("/upstreams", &set).await.0, 200);
    assert_eq!(get(balancer.clients(), "/").await.status(), 404);
    let config = serde_json::json!({"generation": 1, "routes": [
        {"name": "host", "hosts": ["two.example"], "pool": "two"},
        {"name": "path", "path": "/two", "pool": "two"},
        {"name": "rest", "pool": "one"},
    ]});
    assert_eq!(balancer.put("/config", &config).await.0, 200);
    for (host, path, expected) in
        [("t", "/", "one"), ("t", "/two/x", "two"), ("t", "/twofold", "one"), ("Two.Example:80", "/", "two")]
    {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = Reader::connect(balancer.clients()).await.ask(&request).await;
        assert_eq!(answer.text(), expected, "{host}{path}");
    }
}
