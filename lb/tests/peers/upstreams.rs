//! Upstreams of HTTP/2: nghttp2's server, and one by hyper's `h2` that refuses, leaves and breaks off.

use serde_json::json;
use tokio::process::Command;

use crate::balancer::{Balancer, eventually};
use crate::stage::{Ended, Peer, free_address, run, url, use_h2c};

const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

async fn curl(balancer: &Balancer, version: &str, path: &str, arguments: &[&str]) -> Ended {
    let url = url(balancer, path);
    let mut all = vec!["-sS", version, "-m", "60", "-w", " %{http_code}", &url];
    all.extend(arguments);
    run("curl", &all).await
}

#[tokio::test]
async fn nghttpd_serves_clients_of_either_version() {
    let balancer = Balancer::start().await;
    let directory = tempfile::tempdir().expect("directory");
    let page = "a page of nghttpd ".repeat(100_000);
    std::fs::write(directory.path().join("page"), &page).expect("written");
    std::fs::write(directory.path().join("upload"), "u".repeat(2_000_000)).expect("written");
    let address = free_address();
    let mut command = Command::new("nghttpd");
    command.args(["--no-tls", "--echo-upload", "--address", "127.0.0.1", "--htdocs"]).arg(directory.path());
    let nghttpd = Peer::start(command.arg(address.port().to_string()), address);
    eventually("nghttpd listens", async || tokio::net::TcpStream::connect(address).await.ok()).await;
    use_h2c(&balancer, json!({}), &[&nghttpd]).await;
    let upload = format!("@{}", directory.path().join("upload").display());
    for version in VERSIONS {
        let got = curl(&balancer, version, "/page", &[]).await;
        assert!(got.ok && got.out == format!("{page} 200"), "{} bytes: {}", got.out.len(), got.err);
        let head = curl(&balancer, version, "/page", &["-I"]).await;
        assert!(
            head.ok && head.out.contains("content-length") || head.out.contains("Content-Length"),
            "{}",
            head.out
        );
        let missing = curl(&balancer, version, "/missing", &[]).await;
        assert!(missing.out.ends_with(" 404"), "{}", missing.out);
        let echo = curl(&balancer, version, "/echo", &["--data-binary", &upload]).await;
        assert!(echo.ok && echo.out.len() == 2_000_004, "{} bytes: {}", echo.out.len(), echo.err);
        // The go-ahead is the balancer's own.
        let expecting = ["-H", "Expect: 100-continue", "--expect100-timeout", "50", "--data-binary", &upload];
        let echo = curl(&balancer, version, "/echo", &expecting).await;
        assert!(echo.ok && echo.out.len() == 2_000_004, "{} bytes: {}", echo.out.len(), echo.err);
    }
    let load = run("h2load", &["-n", "200", "-c", "4", "-m", "60", &url(&balancer, "/page")]).await;
    assert!(load.out.contains("status codes: 200 2xx"), "{} {}", load.out, load.err);
}

async fn with_modes(modes: [&str; 2]) -> (Balancer, [Peer; 2]) {
    let balancer = Balancer::start().await;
    let peers =
        [Peer::serving("h2_server.py", &modes[..1]).await, Peer::serving("h2_server.py", &modes[1..]).await];
    let policy =
        json!({"balance": {"algorithm": "round_robin"}, "retry_budget_ratio": 1.0, "eject_after": 100});
    use_h2c(&balancer, policy, &[&peers[0], &peers[1]]).await;
    (balancer, peers)
}

/// What an upstream has not looked at may be sent to another one whatever its method (RFC 9113, section 8.7).
#[tokio::test]
async fn what_was_refused_goes_elsewhere_even_if_it_may_not_be_repeated() {
    for mode in ["refuse", "goaway"] {
        let (balancer, peers) = with_modes([mode, "ok"]).await;
        for index in 0..10 {
            let got = curl(&balancer, VERSIONS[index % 2], "/p", &["-d", "hello"]).await;
            assert!(
                got.ok && got.out.starts_with("POST /p ") && got.out.ends_with(" 5 200"),
                "{mode}: {} {}",
                got.out,
                got.err
            );
        }
        let [refusing, taking] = peers;
        assert!(!refusing.finish().await.1.is_empty(), "none was sent to the one that says {mode}");
        assert_eq!(taking.finish().await.1.len(), 10, "{mode}");
    }
}

/// What may have been executed is not, and its client is told.
#[tokio::test]
async fn what_was_reset_is_repeated_only_if_it_may_be() {
    let (balancer, peers) = with_modes(["reset", "ok"]).await;
    let mut told = 0;
    for index in 0..10 {
        let got = curl(&balancer, VERSIONS[index % 2], "/", &["-d", "hello"]).await;
        told += usize::from(got.out.ends_with(" 502"));
        assert!(got.out.ends_with(" 502") || got.out.ends_with(" 200"), "{}", got.out);
        let got = curl(&balancer, VERSIONS[index % 2], "/", &[]).await;
        assert!(got.out.ends_with(" 200"), "{}", got.out);
    }
    let [resetting, taking] = peers;
    let sent = [resetting.finish().await.1, taking.finish().await.1].concat();
    assert!(told > 0, "none was sent to the one that resets");
    assert_eq!(sent.iter().filter(|method| *method == "POST").count(), 10);
}

#[tokio::test]
async fn trailers_pass_and_parts_are_never_the_whole() {
    let balancer = Balancer::start().await;
    let peer = Peer::serving("h2_server.py", &["ok"]).await;
    use_h2c(&balancer, json!({}), &[&peer]).await;
    let got = run("nghttp", &["-v", "-H", "te: trailers", &url(&balancer, "/x")]).await;
    assert!(got.out.contains("x-checksum: 7") && got.out.contains("x-te: trailers"), "{}", got.out);
    let part = Peer::serving("h2_server.py", &["part"]).await;
    balancer.use_upstreams(&[part.upstream()]).await;
    for version in VERSIONS {
        let got = curl(&balancer, version, "/", &[]).await;
        assert!(!got.ok, "{version}: {}", got.out);
    }
}
