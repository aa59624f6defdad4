//! Sessions resume: on the same balancer, on another one with the same keys, and through a change of the keys.

use std::net::SocketAddr;

use serde_json::json;

use crate::peers::s_client;
use crate::stage::{NAME, Stage};

/// Begins a session at `at`, whose ticket OpenSSL keeps in `file`.
async fn begin(stage: &Stage, at: SocketAddr, version: &str, file: &str) {
    let said = s_client(&stage.ca.file(), NAME, at, &[version, "-sess_out", file]).await;
    assert!(said.ok && said.has("New, ") && said.has("HTTP/1.1 200"), "{said:?}");
}

/// Whether the session resumes at `at`. The request is answered in any case.
async fn resumes(stage: &Stage, at: SocketAddr, version: &str, file: &str) -> bool {
    let said = s_client(&stage.ca.file(), NAME, at, &[version, "-sess_in", file]).await;
    assert!(said.ok && said.has("HTTP/1.1 200"), "{said:?}");
    said.has("Reused, ")
}

#[tokio::test]
async fn balancers_with_the_same_keys_resume_each_others_sessions_and_others_do_not() {
    let [a, b, stranger] = [Stage::new("").await, Stage::new("").await, Stage::new("").await];
    let certificate = a.ca.server(&[NAME]);
    let key = |text: &str| text.repeat(32);
    let generation = std::cell::Cell::new(0);
    let keys = async |stage: &Stage, keys: &[&str]| {
        generation.set(generation.get() + 1);
        let keys: Vec<_> = keys.iter().map(|text| key(text)).collect();
        let (status, problem) =
            stage.push(generation.get(), &[&certificate], json!({"ticket_keys": keys})).await;
        assert_eq!(status, 200, "{problem}");
    };
    keys(&stranger, &[]).await;
    for version in ["-tls1_2", "-tls1_3"] {
        keys(&a, &["1"]).await;
        keys(&b, &["1"]).await;
        let [first, second] = ["first", "second"].map(|name| a.ca.path().join(format!("{name}{version}")));
        let [first, second] = [&first, &second].map(|file| file.to_str().expect("text"));
        begin(&a, a.tls(), version, first).await;
        assert!(resumes(&a, b.tls(), version, first).await, "{version}: on the other one");
        assert!(!resumes(&a, stranger.tls(), version, first).await, "{version}: on one with keys of its own");
        // A new key: first known to all, then used by one, then by all; then the old one goes.
        keys(&a, &["1", "2"]).await;
        keys(&b, &["1", "2"]).await;
        keys(&a, &["2", "1"]).await;
        begin(&a, a.tls(), version, second).await;
        assert!(resumes(&a, b.tls(), version, second).await, "{version}: of the new key");
        keys(&b, &["2", "1"]).await;
        assert!(resumes(&a, b.tls(), version, first).await, "{version}: of the key before");
        keys(&b, &["2"]).await;
        assert!(!resumes(&a, b.tls(), version, first).await, "{version}: the key is gone");
        assert!(resumes(&a, b.tls(), version, second).await, "{version}");
    }
    assert!(b.figure("lb_tls_handshakes_total{kind=\"resumed\"}").await >= 8.0);
}

#[tokio::test]
async fn without_keys_a_balancer_resumes_its_own_sessions_until_it_ends() {
    let mut stage = Stage::new("").await;
    let file = stage.ca.path().join("session");
    let file = file.to_str().expect("text").to_owned();
    begin(&stage, stage.tls(), "-tls1_3", &file).await;
    assert!(resumes(&stage, stage.tls(), "-tls1_3", &file).await);
    // Another worker, or the same: all share the keys.
    for _ in 0..4 {
        assert!(resumes(&stage, stage.tls(), "-tls1_3", &file).await);
    }
    stage.balancer.kill_and_restart().await;
    assert!(!resumes(&stage, stage.tls(), "-tls1_3", &file).await);
}

#[tokio::test]
async fn keys_of_the_file_are_used_where_none_are_pushed() {
    let key = "x".repeat(40);
    let mut stage = Stage::with("", |_| format!("[config]\nticket_keys = [\"{key}\"]\n")).await;
    let file = stage.ca.path().join("session");
    let file = file.to_str().expect("text").to_owned();
    begin(&stage, stage.tls(), "-tls1_3", &file).await;
    stage.balancer.kill_and_restart().await;
    assert!(resumes(&stage, stage.tls(), "-tls1_3", &file).await);
}
