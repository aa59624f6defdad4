//! What errors look like: pages for people, problem documents for programs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::backend::{Backend, Reply};
use crate::balancer::{Balancer, eventually};
use crate::client::{Message, Reader};

/// Ways of forwarding: one that may be repeated, one that is passed on as it comes.
const WAYS: [(&str, &str, &str); 2] =
    [("GET", "", ""), ("POST", "Transfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n")];

const HTML: &str = "text/html; charset=utf-8";

async fn ask(
    balancer: &Balancer,
    (method, length, body): (&str, &str, &str),
    path: &str,
    more: &str,
) -> Message {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: t\r\n{length}{more}\r\n{body}");
    Reader::connect(balancer.clients()).await.ask(&request).await
}

async fn configure(balancer: &Balancer, error_pages: Value, routes: Value) {
    let pools = json!({"p": {"hold_ms": 0, "max_tries": 1}, "empty": {"hold_ms": 0}});
    let config = json!({"generation": 1, "routes": routes, "pools": pools, "error_pages": error_pages});
    let answer = balancer.put("/config", &config).await;
    assert_eq!(answer.0, 200, "{answer:?}");
}

#[tokio::test]
async fn people_get_pages_and_programs_get_problems() {
    let balancer = Balancer::start_with("header_bytes = 4096\nheader_timeout_ms = 500").await;
    let backend = Backend::start(|_| Reply::Nothing).await;
    balancer.use_pools(&[("p", &[&backend]), ("empty", &[])]).await;
    let pages = json!({
        "4xx": {"body": "all: {status} {title}"},
        "503": {"body": "{status} {title}: {detail} {route}", "content_type": "text/plain"},
    });
    let routes = json!([
        {"name": "slow", "path": "/slow", "pool": "p", "request_timeout_ms": 300, "error_pages": {
            "504": {"body": "<h1>{title}</h1>{color}"},
        }, "response_headers": {"set": {"X-Robots-Tag": "noindex"}}},
        {"name": "small", "path": "/small", "pool": "p", "body_bytes": 1, "error_pages": {"413": {"body": "too much"}}},
        {"name": "nobody", "path": "/nobody", "pool": "empty"},
        {"name": "gone", "path": "/gone", "respond": {"status": 410}},
    ]);
    configure(&balancer, pages, routes).await;
    for way in WAYS {
        for (path, status, kind, text) in [
            ("/", 404, HTML, "all: 404 No route"),
            ("/gone", 410, HTML, "all: 410 Gone"),
            ("/nobody", 503, "text/plain", "503 No upstream: no upstream can take this request now nobody"),
            ("/slow", 504, HTML, "<h1>Gateway timeout</h1>{color}"),
        ] {
            let answer = ask(&balancer, way, path, "Accept: text/html,*/*;q=0.8\r\n").await;
            let found = (answer.status(), answer.headers["content-type"].as_str(), answer.text());
            assert_eq!(found, (status, kind, text.to_owned()), "{way:?}");
            assert_eq!(answer.headers.contains_key("x-robots-tag"), path == "/slow", "{way:?} {path}");
            let answer = ask(&balancer, way, path, "Accept: application/json\r\n").await;
            let problem: Value = serde_json::from_slice(&answer.body).expect("a problem");
            assert_eq!((answer.status(), &problem["status"]), (status, &json!(status)), "{way:?}");
            assert_eq!(answer.headers["content-type"], "application/problem+json");
        }
    }
    for way in [("POST", "Content-Length: 4\r\n", "body"), WAYS[1]] {
        assert_eq!(ask(&balancer, way, "/small", "").await.text(), "too much", "{way:?}");
    }
    let mut client = Reader::connect(balancer.clients()).await;
    client.send("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let answer = client.answer_to("HEAD").await.expect("an answer");
    assert_eq!((answer.status(), answer.headers["content-length"].as_str()), (404, "17"));
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await.text(), "all: 404 No route");
}

#[tokio::test]
async fn what_is_refused_before_there_is_a_request_has_a_page_too() {
    let balancer = Balancer::start_with("header_bytes = 4096\nheader_timeout_ms = 500").await;
    configure(&balancer, json!({"4xx": {"body": "{status} {title}"}}), json!([])).await;
    let large = format!("GET / HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n", "x".repeat(5_000));
    for (request, status, text) in [
        (large.as_str(), 431, "431 Request header fields too large"),
        ("GET / HTTP/1.1\r\nHost:", 408, "408 Request timeout"),
    ] {
        let mut client = Reader::connect(balancer.clients()).await;
        let answer = client.ask(request).await;
        assert_eq!((answer.status(), answer.text().as_str()), (status, text));
        assert_eq!(answer.headers["connection"], "close");
        assert_eq!(answer.headers["content-type"], HTML);
        assert!(client.closed_within(Duration::from_secs(10)).await);
    }
}

#[tokio::test]
async fn a_page_can_take_the_place_of_what_an_upstream_says() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|request| {
        let status = request.path().trim_start_matches('/');
        let (length, body) = if status == "502" { (0, "") } else { (16, "stack trace here") };
        let answer = format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Length: {length}\r\nContent-Encoding: x\r\nSet-Cookie: a=b\r\n\r\n{body}"
        );
        Reply::Bytes(answer.into_bytes())
    })
    .await;
    balancer.use_pools(&[("p", &[&backend])]).await;
    let pages = json!({
        "5xx": {"body": "sorry: {status} {title}", "intercept": true},
        "501": {"body": "of ours only"},
    });
    let policy = json!({"outlier": {"consecutive_5xx": 0, "failure_ratio": 0.0}});
    let config = json!({
        "generation": 1, "routes": [{"name": "all", "pool": "p"}], "error_pages": pages, "pools": {"p": policy},
    });
    assert_eq!(balancer.put("/config", &config).await.0, 200);
    for way in WAYS {
        for (path, text) in [("/500", "sorry: 500 Internal Server Error"), ("/502", "sorry: 502 Bad Gateway")]
        {
            let answer = ask(&balancer, way, path, "").await;
            assert_eq!(answer.text(), text, "{way:?}");
            assert_eq!(answer.headers["content-type"], HTML);
            assert_eq!(answer.headers["set-cookie"], "a=b", "{way:?}: what it asks of the client stays");
            assert_eq!(
                answer.headers.get("content-encoding"),
                None,
                "{way:?}: what is about its body does not"
            );
            let answer = ask(&balancer, way, path, "Accept: application/json\r\n").await;
            assert_eq!(answer.headers["content-type"], "application/problem+json", "{way:?}");
            assert!(!answer.text().contains("trace"), "{way:?}");
        }
        for path in ["/200", "/404", "/501"] {
            assert_eq!(ask(&balancer, way, path, "").await.text(), "stack trace here", "{way:?} {path}");
        }
    }
    eventually("every request is counted as answered", async || {
        let record = balancer.record(&backend).await;
        (record["attempts"]["answered"] == record["requests"]).then_some(())
    })
    .await;
    // What is at hand keeps both connections.
    let before = backend.connections();
    let mut client = Reader::connect(balancer.clients()).await;
    for _ in 0..20 {
        let answer = client.ask("GET /500 HTTP/1.1\r\nHost: t\r\n\r\n").await;
        assert_eq!(answer.text(), "sorry: 500 Internal Server Error");
    }
    assert!(backend.connections() <= before + 1, "{} after {before}", backend.connections());
}
