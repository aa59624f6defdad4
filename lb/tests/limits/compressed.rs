//! Answers that are compressed on the way, on every way that requests are forwarded. What the programs that people use
//! make of it is looked at in `peers`.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use crate::backend::{Backend, Reply};
use crate::balancer::{Balancer, SOON};
use crate::client::Message;
use crate::stage::{ALL_WAYS, client_at, configure, get_by_http2};

/// Large enough to come in many parts, and not too monotonous.
fn page() -> String {
    (0..40_000_u64)
        .map(|line| format!("line {line} {:x}\n", line.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40))
        .collect()
}

fn answer(fields: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{fields}\r\n{body}").into_bytes())
}

async fn stage(compress: Value) -> (Balancer, Backend) {
    let balancer = Balancer::start().await;
    let page = page();
    let backend = Backend::start(move |request| match request.path() {
        "/page" => {
            if request.start.starts_with("HEAD") {
                let length = page.len();
                return Reply::Bytes(
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Type: text/html\r\n\r\n")
                        .into_bytes(),
                );
            }
            answer("Content-Type: text/html\r\nETag: \"v1\"\r\nAccept-Ranges: bytes\r\n", &page)
        }
        "/chunked" => {
            let chunks: String = page
                .as_bytes()
                .chunks(5_000)
                .map(|part| format!("{:x}\r\n{}\r\n", part.len(), std::str::from_utf8(part).expect("ASCII")))
                .collect();
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n";
            Reply::Bytes(format!("{head}{chunks}0\r\n\r\n").into_bytes())
        }
        "/until-close" => {
            Reply::Last(format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{page}").into_bytes())
        }
        "/cut" => Reply::Last(
            format!("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\nContent-Type: text/plain\r\n\r\n{page}")
                .into_bytes(),
        ),
        "/image" => answer("Content-Type: image/png\r\n", &page),
        "/encoded" => answer("Content-Type: text/html\r\nContent-Encoding: gzip\r\n", &page),
        "/untouched" => answer("Content-Type: text/html\r\nCache-Control: no-transform\r\n", &page),
        "/short" => answer("Content-Type: text/html\r\n", "short"),
        _ => answer("", ""),
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    let mut route = json!({"name": "all", "pool": "p"});
    if !compress.is_null() {
        route["compress"] = compress;
    }
    configure(&balancer, 1, json!([route]), json!({})).await;
    (balancer, backend)
}

/// What `body` is without the coding `name`.
fn plain(name: &str, body: &[u8]) -> String {
    let mut text = String::new();
    let read = match name {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        "br" => brotli::Decompressor::new(body, 4_096).read_to_string(&mut text),
        "zstd" => zstd::stream::read::Decoder::new(body).expect("a decoder").read_to_string(&mut text),
        other => panic!("no coding that we asked for: {other}"),
    };
    read.expect("as it was compressed");
    text
}

async fn ask(
    balancer: &Balancer,
    (method, length, body): (&str, &str, &str),
    path: &str,
    fields: &str,
) -> Message {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: t\r\n{length}{fields}\r\n{body}");
    let mut client = client_at("127.0.0.1", balancer).await;
    client.send(&request).await;
    tokio::time::timeout(SOON, client.answer_to(method)).await.expect("in time").expect("an answer")
}

#[tokio::test]
async fn each_coding_on_each_way_gives_back_what_it_was_given() {
    let (balancer, _backend) = stage(json!({})).await;
    let page = page();
    for coding in ["gzip", "br", "zstd"] {
        for way in ALL_WAYS {
            for path in ["/page", "/chunked", "/until-close"] {
                let answer = ask(&balancer, way, path, &format!("Accept-Encoding: {coding}\r\n")).await;
                let what = format!("{coding} {} {path}", way.0);
                assert_eq!(answer.headers["content-encoding"], coding, "{what}");
                assert_eq!(answer.headers["vary"], "Accept-Encoding");
                assert!(!answer.headers.contains_key("content-length"), "{what}");
                assert!(!answer.headers.contains_key("accept-ranges"), "{what}");
                assert!(answer.whole && answer.body.len() < page.len() / 2, "{what}: {}", answer.body.len());
                assert!(plain(coding, &answer.body) == page, "{what}");
                if path == "/page" {
                    assert_eq!(answer.headers["etag"], "W/\"v1\"");
                }
            }
        }
        let (head, body) =
            get_by_http2("127.0.0.1", &balancer, "/page", &[("accept-encoding", coding)]).await;
        assert_eq!(head.headers()["content-encoding"], coding);
        assert!(plain(coding, &body) == page, "{coding} HTTP/2");
    }
}

#[tokio::test]
async fn what_is_not_to_be_compressed_is_passed_on_as_it_is() {
    let (balancer, _backend) = stage(json!({"codings": ["gzip", "br"], "types": ["text/html"]})).await;
    let page = page();
    let get = ALL_WAYS[0];
    for (path, fields, coding, varies) in [
        ("/page", "Accept-Encoding: zstd, br;q=0.9, gzip;q=0.9\r\n", Some("gzip"), true),
        ("/page", "Accept-Encoding: br, gzip;q=0.9\r\n", Some("br"), true),
        ("/page", "Accept-Encoding: zstd\r\n", None, true),
        ("/page", "", None, true),
        ("/page", "Accept-Encoding: gzip\r\nRange: bytes=0-1\r\n", None, true),
        ("/chunked", "Accept-Encoding: gzip\r\n", None, false),
        ("/image", "Accept-Encoding: gzip\r\n", None, false),
        ("/untouched", "Accept-Encoding: gzip\r\n", None, false),
    ] {
        let answer = ask(&balancer, get, path, fields).await;
        assert_eq!(answer.headers.get("content-encoding").map(String::as_str), coding, "{path} {fields}");
        assert_eq!(answer.headers.contains_key("vary"), varies, "{path} {fields}");
        match coding {
            Some(coding) => assert!(plain(coding, &answer.body) == page),
            None => assert!(answer.text() == page, "{path} {fields}"),
        }
    }
    let encoded = ask(&balancer, get, "/encoded", "Accept-Encoding: br\r\n").await;
    assert!(encoded.headers["content-encoding"] == "gzip" && encoded.text() == page, "only once");
    assert_eq!(ask(&balancer, get, "/short", "Accept-Encoding: gzip\r\n").await.text(), "short");
    let head = ask(&balancer, ("HEAD", "", ""), "/page", "Accept-Encoding: gzip\r\n").await;
    assert_eq!(head.headers["content-encoding"], "gzip");
    assert!(!head.headers.contains_key("content-length"));
    let old = "GET /page HTTP/1.0\r\nHost: t\r\nAccept-Encoding: gzip\r\n\r\n";
    let answer = client_at("127.0.0.1", &balancer).await.ask(old).await;
    assert!(!answer.headers.contains_key("content-encoding") && answer.text() == page, "HTTP/1.0");
    // Who has not asked for it has it not.
    let (balancer, _backend) = stage(Value::Null).await;
    let answer = ask(&balancer, get, "/page", "Accept-Encoding: gzip\r\n").await;
    assert!(!answer.headers.contains_key("vary") && answer.text() == page);
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let (balancer, _backend) = stage(json!({})).await;
    for (method, length, body) in [ALL_WAYS[0], ALL_WAYS[2]] {
        let request =
            format!("{method} /cut HTTP/1.1\r\nHost: t\r\n{length}Accept-Encoding: gzip\r\n\r\n{body}");
        let mut client = client_at("127.0.0.1", &balancer).await;
        client.send(&request).await;
        let answer = tokio::time::timeout(SOON, client.answer_to(method)).await.expect("in time");
        assert!(answer.is_none_or(|answer| !answer.whole), "{method}");
    }
}

#[tokio::test]
async fn events_are_passed_on_one_by_one() {
    let balancer = Balancer::start().await;
    // Each event comes only some time after the one before.
    let backend = Backend::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n";
        let event = |number| format!("10\r\ndata: event {number:02}\n\n\r\n").into_bytes();
        let mut parts = vec![(Duration::ZERO, head.as_bytes().to_vec())];
        parts.extend((0..3).map(|number| (Duration::from_millis(300), event(number))));
        // The end does not come as long as anybody waits for it here.
        parts.push((Duration::from_secs(600), b"0\r\n\r\n".to_vec()));
        Reply::Parts(parts)
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    configure(&balancer, 1, json!([{"name": "all", "pool": "p", "compress": {}}]), json!({})).await;
    for (method, length, body) in [ALL_WAYS[0], ALL_WAYS[2]] {
        let request =
            format!("{method} / HTTP/1.1\r\nHost: t\r\n{length}Accept-Encoding: gzip\r\n\r\n{body}");
        let mut client = client_at("127.0.0.1", &balancer).await;
        client.send(&request).await;
        let head = tokio::time::timeout(SOON, client.head()).await.expect("in time").expect("a head");
        assert_eq!(head.headers["content-encoding"], "gzip", "{method}");
        let mut decoder = flate2::write::GzDecoder::new(Vec::new());
        for number in 0..3 {
            let expected = format!("data: event {number:02}\n\n");
            let seen = async {
                loop {
                    let part = client.chunk().await.expect("a part");
                    decoder.write_all(&part).expect("gzip");
                    decoder.flush().expect("gzip");
                    if String::from_utf8_lossy(decoder.get_ref()).ends_with(&expected) {
                        return;
                    }
                }
            };
            tokio::time::timeout(SOON, seen).await.expect("the event, before the next one");
        }
    }
}
