//! What is written down adds up: the access log, the figures and the statistics tell of the same attempts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::backend::{Backend, Reply, nobody, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::{Reader, get, post};

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[tokio::test]
async fn every_attempt_is_in_the_log_and_in_the_figures() {
    let directory = tempfile::tempdir().expect("directory");
    let log = directory.path().join("access.json");
    let settings = format!("[access_log]\npath = {log:?}\nmax_bytes = 1000000\n[limits]\nhalf_closed_ms = 0");
    let balancer = Balancer::start_also_with(&settings).await;
    let resetting = Backend::start(|_| Reply::Reset).await;
    let cut = Backend::start(|request| match request.path() {
        // Larger than what is held until it is complete.
        "/cut" => Reply::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\npart".to_vec()),
        "/held" => Reply::Nothing,
        _ => Reply::Bytes(ok("hello")),
    })
    .await;
    let dead = nobody().await;
    let dead = json!({"id": "dead", "address": dead.ip(), "port": dead.port()});
    let balance = json!({"algorithm": "round_robin", "slow_start_ms": 0});
    balancer.use_policy(json!({"eject_after": 100, "balance": balance})).await;
    balancer.use_upstreams(&[dead, resetting.upstream(), cut.upstream()]).await;
    let clients = balancer.clients();
    let mut sent = 0;
    for n in 0..12 {
        assert_eq!(get(clients, &format!("/get?n={n}")).await.status(), 200);
        post(clients, "/post", "body").await;
        sent += 2;
    }
    let mut kept = Reader::connect(clients).await;
    for _ in 0..6 {
        kept.ask("GET /kept HTTP/1.1\r\nHost: t\r\n\r\n").await;
        sent += 1;
    }
    drop(kept);
    let mut partly = Reader::connect(clients).await;
    partly.send("GET /cut HTTP/1.1\r\nHost: t\r\n\r\n").await;
    partly.answer_to("GET").await.map(|answer| assert!(!answer.whole)).unwrap_or_default();
    let mut leaving = Reader::connect(clients).await;
    leaving.send("GET /held HTTP/1.1\r\nHost: t\r\n\r\n").await;
    eventually("it is held", async || cut.seen().iter().any(|seen| seen.path() == "/held").then_some(()))
        .await;
    drop(leaving);
    sent += 2;
    let entries = eventually("all is written", async || {
        let entries = lines(&log);
        (entries.len() >= sent).then_some(entries)
    })
    .await;
    assert_eq!(entries.len(), sent);

    let mut logged: BTreeMap<(String, String), u64> = BTreeMap::new();
    for attempt in entries.iter().flat_map(|entry| entry["attempts"].as_array().expect("attempts")) {
        let text = |field: &str| attempt[field].as_str().expect("text").to_owned();
        *logged.entry((text("upstream"), text("outcome"))).or_default() += 1;
    }
    let metrics = balancer.get("/metrics").await.text().await.expect("text");
    let status = balancer.get_json("/status").await;
    for record in status["pools"]["p"]["upstreams"].as_array().expect("upstreams") {
        let id = record["id"].as_str().expect("id");
        let mut sum = 0;
        for (outcome, count) in record["attempts"].as_object().expect("attempts") {
            let count = count.as_u64().expect("a number");
            sum += count;
            let of_log = logged.get(&(id.to_owned(), outcome.clone())).copied().unwrap_or_default();
            assert_eq!(of_log, count, "{id} {outcome}");
            let line =
                format!("lb_attempts_total{{outcome=\"{outcome}\",pool=\"p\",upstream=\"{id}\"}} {count}");
            assert!(metrics.contains(&line), "{line}");
        }
        assert_eq!(Some(sum), record["requests"].as_u64(), "{record}");
        assert_eq!(record["in_flight"], 0);
    }
    for outcome in ["answered", "connect", "broken", "truncated", "abandoned"] {
        assert!(logged.keys().any(|(_, found)| found == outcome), "{outcome} in {logged:?}");
    }
    let attempts = || entries.iter().flat_map(|entry| entry["attempts"].as_array().expect("attempts"));
    assert!(attempts().any(|attempt| attempt["reused"] == true && attempt["outcome"] == "answered"));
    assert!(attempts().any(|attempt| attempt["replayed"] == true && attempt["phase"] == "done"));
    assert!(attempts().all(|attempt| attempt["outcome"] != "connect" || attempt["phase"] == "connect"));
    let got = entries.iter().find(|entry| entry["target"] == "/get?n=3").expect("the line");
    assert_eq!((&got["status"], &got["bytes"], &got["method"]), (&json!(200), &json!(5), &json!("GET")));
    assert_eq!((&got["route"], &got["pool"], &got["host"]), (&json!("all"), &json!("p"), &json!("test")));
}

#[tokio::test]
async fn a_log_that_was_moved_is_begun_anew_and_the_end_loses_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let log = directory.path().join("access.json");
    let mut balancer = Balancer::start_also_with(&format!("[access_log]\npath = {:?}", log)).await;
    let backend = Backend::start(|_| Reply::Parts(vec![(Duration::from_millis(1), ok(""))])).await;
    balancer.use_backends(&[&backend]).await;
    get(balancer.clients(), "/one").await;
    eventually("it is written", async || (lines(&log).len() == 1).then_some(())).await;
    std::fs::rename(&log, directory.path().join("moved")).expect("moved");
    get(balancer.clients(), "/two").await;
    assert!(balancer.terminate().await.success());
    assert_eq!(lines(&log)[0]["target"], "/two");
    assert_eq!(lines(&directory.path().join("moved"))[0]["target"], "/one");
}

#[tokio::test]
async fn people_see_each_upstream_on_a_page_that_loads_nothing_from_elsewhere() {
    let balancer = Balancer::start().await;
    let backends = [Backend::healthy().await, Backend::healthy().await];
    balancer.use_backends(&[&backends[0], &backends[1]]).await;
    let answer = balancer.get("/").await;
    let policy = answer.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    let page = answer.text().await.expect("text");
    for backend in &backends {
        assert!(page.contains(&backend.id()), "{page}");
    }
}

#[tokio::test]
async fn statistics_have_haproxys_columns() {
    let balancer = Balancer::start().await;
    let backends = [Backend::healthy().await, Backend::healthy().await];
    balancer.use_policy(json!({"balance": {"algorithm": "round_robin", "slow_start_ms": 0}})).await;
    balancer.use_backends(&[&backends[0], &backends[1]]).await;
    for _ in 0..10 {
        get(balancer.clients(), "/").await;
    }
    // The last answer may be here before its request is counted as done.
    for backend in &backends {
        let done = async || (balancer.record(backend).await["in_flight"] == 0).then_some(());
        eventually("nothing is in flight", done).await;
    }
    let answer = balancer.get("/statistics.csv").await;
    assert!(answer.headers()["content-type"].to_str().expect("text").starts_with("text/csv"));
    let text = answer.text().await.expect("text");
    let mut rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let columns = rows.next().expect("a head");
    assert_eq!(columns[..2], ["# pxname", "svname"]);
    let rows: Vec<BTreeMap<&str, &str>> =
        rows.map(|row| columns.iter().copied().zip(row).collect()).collect();
    assert_eq!(rows.len(), 3, "{text}");
    for (row, backend) in rows.iter().zip(&backends) {
        assert_eq!((row["svname"], row["stot"], row["status"]), (backend.id().as_str(), "5", "UP"), "{text}");
        assert_eq!((row["hrsp_2xx"], row["hrsp_5xx"], row["scur"]), ("5", "0", "0"));
    }
    assert_eq!((rows[2]["svname"], rows[2]["stot"], rows[2]["act"]), ("BACKEND", "10", "2"));
}
