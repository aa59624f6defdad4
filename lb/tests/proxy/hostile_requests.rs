//! Whatever a client sends, it is answered by us or not at all, and an upstream gets whole requests only.
//! `HOLDFAST_FUZZ_CASES` says how many things are sent.

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, SOON};
use crate::client::{Reader, get};
use crate::hostile::runner;

const USUAL_CASES: u32 = 1_500;

/// What matters to who reads a request.
const PARTS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\0",
    ":",
    ";",
    ",",
    "0",
    "5",
    "f",
    "-1",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "http://b",
    "*",
    "#",
    "\u{7f}",
    "\u{e4}",
    "Host: b\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: websocket\r\n",
    "Connection: close\r\n",
    "\r\n\r\n",
    "0\r\n\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
];

const HONEST: &[&str] = &[
    "GET /x?y=z HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
];

#[derive(Clone, Debug)]
enum Change {
    /// A part is put in.
    Insert(prop::sample::Index, &'static str),
    /// Some bytes become one part.
    Replace(prop::sample::Index, usize, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let part = || prop::sample::select(PARTS);
    prop_oneof![
        (any::<prop::sample::Index>(), part()).prop_map(|(at, part)| Change::Insert(at, part)),
        (any::<prop::sample::Index>(), 0usize..12, part())
            .prop_map(|(at, count, part)| Change::Replace(at, count, part)),
    ]
}

fn changed(honest: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = honest.as_bytes().to_vec();
    for change in changes {
        let (at, count, part) = match change {
            Change::Insert(at, part) => (at.index(bytes.len() + 1), 0, part),
            Change::Replace(at, count, part) => (at.index(bytes.len() + 1), *count, part),
        };
        let end = (at + count).min(bytes.len());
        bytes.splice(at..end, part.bytes());
    }
    bytes
}

#[test]
fn whatever_a_client_sends_is_answered_in_our_words() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let (balancer, backend) = runtime.block_on(async {
        let balancer = Balancer::start_with("header_timeout_ms = 2000\nbody_grace_ms = 2000").await;
        let backend = Backend::start(|request| Reply::Bytes(ok(&request.text()))).await;
        balancer.use_backends(&[&backend]).await;
        (balancer, backend)
    });
    runner(USUAL_CASES)
        .run(&(prop::sample::select(HONEST), vec(change(), 1..4)), |(honest, changes)| {
            let bytes = changed(honest, &changes);
            let answers = runtime.block_on(sent(&balancer, &bytes));
            for head in heads(&answers) {
                // Pingora's own refusals have no content.
                let ours = head.starts_with("HTTP/1.1 200")
                    || head.to_ascii_lowercase().contains("content-type: application/problem+json");
                prop_assert!(ours, "{head:?} to {:?}", String::from_utf8_lossy(&bytes));
            }
            Ok(())
        })
        .expect("as it should be");
    for seen in backend.seen() {
        let is_line = seen.start.split(' ').count() == 3 && seen.start.ends_with(" HTTP/1.1");
        let is_clean = |text: &str| !text.contains(|letter: char| letter.is_control() && letter != '\t');
        assert!(seen.whole && is_line && is_clean(&seen.start), "{seen:?}");
        assert!(seen.headers.values().all(|value| is_clean(value)), "{seen:?}");
    }
    assert_eq!(runtime.block_on(get(balancer.clients(), "/")).status(), 200);
}

/// All that is answered to `bytes`.
async fn sent(balancer: &Balancer, bytes: &[u8]) -> String {
    let mut client = Reader::connect(balancer.clients()).await.tcp;
    let _ = client.write_all(bytes).await;
    let _ = client.shutdown().await;
    let mut received = Vec::new();
    let _ = tokio::time::timeout(SOON, client.read_to_end(&mut received)).await.expect("it ends");
    String::from_utf8_lossy(&received).into_owned()
}

fn heads(answers: &str) -> impl Iterator<Item = &str> {
    let starts = answers.match_indices("HTTP/1.1 ").map(|(at, _)| at);
    starts
        .map(|at| answers[at..].split("\r\n\r\n").next().unwrap_or_default())
        .filter(|head| head.as_bytes().get(9).is_some_and(u8::is_ascii_digit))
}

#[tokio::test]
async fn who_is_refused_is_counted_and_written_down() {
    let directory = tempfile::tempdir().expect("directory");
    let log = directory.path().join("access.json");
    let settings =
        format!("[access_log]\npath = {log:?}\n[limits]\nheader_timeout_ms = 300\nheader_bytes = 2000");
    let balancer = Balancer::start_also_with(&settings).await;
    let large = format!("GET /large HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(2_000));
    for (request, status, target) in [
        ("GET /none HTTP/1.1\r\n\r\n", 400, "/none"),
        ("TRACE /trace HTTP/1.1\r\nHost: a\r\n\r\n", 501, "/trace"),
        ("GET /slow HTTP/1.1\r\n", 408, "/slow"),
        (&large, 431, "/large"),
    ] {
        let answer = Reader::connect(balancer.clients()).await.ask(request).await;
        assert_eq!(answer.status(), status, "{request}");
        let line = crate::balancer::eventually("it is written", async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.lines().find(|line| line.contains(target)).map(str::to_owned)
        })
        .await;
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&line["status"], &line["route"]), (&status.into(), &"".into()), "{line}");
        assert_eq!(line["bytes"], answer.body.len(), "{line}");
        assert_eq!(line["method"], request.split(' ').next().expect("a method"), "{line}");
    }
    for figure in ["class=\"4xx\",pool=\"\",route=\"\"} 3", "class=\"5xx\",pool=\"\",route=\"\"} 1"] {
        balancer.counts(&format!("lb_requests_total{{{figure}")).await;
    }
}
