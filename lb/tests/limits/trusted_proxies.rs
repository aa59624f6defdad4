//! Who the client is behind proxies.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::balancer::{Balancer, eventually};
use crate::stage::{ALL_WAYS, client_at, configure, echo, get_by_http2, get_from};

/// The proxy that is trusted, one that is trusted too, and a stranger.
const PROXY: &str = "127.1.0.1";
const OTHER_PROXY: &str = "127.1.0.2";
const STRANGER: &str = "127.2.0.1";

const SAID: &str = "X-Forwarded-For: 203.0.113.9, 198.51.100.7, 127.1.0.2\r\nX-Forwarded-Proto: https\r\n\
                    Forwarded: for=192.0.2.1\r\nX-Real-IP: 203.0.113.9\r\n";

async fn stage(settings: &str) -> (Balancer, Backend) {
    let balancer = Balancer::start_also_with(settings).await;
    let backend = echo().await;
    balancer.use_backends(&[&backend]).await;
    (balancer, backend)
}

fn routes() -> Value {
    json!([{
        "name": "all", "pool": "p",
        "request_headers": {"set": {"X-Client": "{client} {scheme}"}},
        "response_headers": {"set": {"X-Client": "{client} {scheme}"}},
    }])
}

fn lines(text: &str, about: &[&str]) -> Vec<String> {
    let is_about = |line: &&str| about.iter().any(|name| line.starts_with(&format!("{name}:")));
    text.lines().filter(is_about).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_trusted_proxy_says_who_the_client_is_and_a_stranger_does_not() {
    let (balancer, _backend) = stage("").await;
    configure(&balancer, 1, routes(), json!({"trusted_proxies": ["127.1.0.0/16"]})).await;
    for (from, client, chain) in [
        (PROXY, "198.51.100.7 https", "198.51.100.7, 127.1.0.2, 127.1.0.1"),
        (STRANGER, "127.2.0.1 http", "127.2.0.1"),
    ] {
        let scheme = client.split(' ').next_back().expect("a scheme");
        let mut expected = vec![
            format!("x-client: {client}"),
            format!("x-forwarded-for: {chain}"),
            format!("x-forwarded-proto: {scheme}"),
        ];
        if from == PROXY {
            expected.push("x-real-ip: 203.0.113.9".to_owned());
        }
        let about = ["x-client", "x-forwarded-for", "x-forwarded-proto", "x-real-ip", "forwarded"];
        for (method, length, body) in ALL_WAYS {
            let request = format!("{method} / HTTP/1.1\r\nHost: t\r\n{length}{SAID}\r\n{body}");
            let mut reader = client_at(from, &balancer).await;
            let answer = reader.ask(&request).await;
            assert_eq!(lines(&answer.text(), &about), expected, "{from} {method}");
            assert_eq!(answer.headers["x-client"], client);
            // The next request on the connection is somebody else's.
            let answer = reader.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
            assert_eq!(answer.headers["x-client"], format!("{from} http"));
        }
        let fields = [
            ("x-forwarded-for", "203.0.113.9, 198.51.100.7, 127.1.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "203.0.113.9"),
        ];
        let (head, body) = get_by_http2(from, &balancer, "/", &fields).await;
        assert_eq!(lines(&String::from_utf8(body).expect("text"), &about), expected, "{from} HTTP/2");
        assert_eq!(head.headers()["x-client"], client);
    }
}

#[tokio::test]
async fn forwarded_is_read_and_written_where_that_is_asked_for() {
    let (balancer, _backend) = stage("").await;
    let about = ["forwarded", "x-forwarded-for", "x-client"];
    let said = "Forwarded: for=\"203.0.113.9, for=198.51.100.7;proto=https, for=127.1.0.2\r\nX-Forwarded-For: 1.1.1.1\r\n";
    let own = ";proto=http;host=\"t.example\"";
    let forwarded = format!("forwarded: for=198.51.100.7;proto=https, for=127.1.0.2, for=127.1.0.1{own}");
    let listed = "x-forwarded-for: 198.51.100.7, 127.1.0.2, 127.1.0.1".to_owned();
    for (generation, (how, expected)) in [
        ("forwarded", vec![forwarded.clone()]),
        ("both", vec![forwarded, listed.clone()]),
        ("x-forwarded", vec![listed]),
        ("off", vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let more =
            json!({"trusted_proxies": [PROXY, OTHER_PROXY], "client_from": "forwarded", "forwarded": how});
        configure(&balancer, generation as u64 + 1, routes(), more).await;
        let mut all = expected.clone();
        all.push("x-client: 198.51.100.7 https".to_owned());
        all.sort();
        assert_eq!(lines(&get_from(PROXY, &balancer, "/", said).await.text(), &about), all, "{how}");
    }
}

#[tokio::test]
async fn the_client_that_was_found_is_hashed_and_written_down() {
    let directory = tempfile::tempdir().expect("directory");
    let log = directory.path().join("access.log");
    let (balancer, first) = stage(&format!("[access_log]\npath = {log:?}")).await;
    let second = echo().await;
    balancer.use_backends(&[&first, &second]).await;
    let pools = json!({"p": {"balance": {"algorithm": "maglev", "hash_key": "client"}}});
    configure(&balancer, 1, routes(), json!({"trusted_proxies": [PROXY], "pools": pools})).await;
    const CLIENTS: u8 = 40;
    for _ in 0..2 {
        for client in 0..CLIENTS {
            get_from(
                PROXY,
                &balancer,
                &format!("/{client}"),
                &format!("X-Forwarded-For: 198.51.100.{client}\r\n"),
            )
            .await;
        }
    }
    let paths = |backend: &Backend| -> Vec<String> {
        backend.seen().iter().map(|request| request.path().to_owned()).collect()
    };
    let (first, second) = (paths(&first), paths(&second));
    assert!(!first.is_empty() && !second.is_empty(), "many clients are spread: {first:?} {second:?}");
    assert!(first.iter().all(|path| !second.contains(path)), "each stays where it was: {first:?} {second:?}");
    let written = eventually("all is written", async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (lines.len() == 2 * usize::from(CLIENTS)).then_some(lines)
    })
    .await;
    for line in written {
        let last = line["target"].as_str().expect("text").trim_start_matches('/').to_owned();
        assert_eq!(line["client"], format!("198.51.100.{last}"));
        assert_eq!(line["peer"], PROXY);
    }
}
