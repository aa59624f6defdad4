//! Clients of HTTP/2 that everybody uses.

use crate::backend::{Backend, Reply, ok};
use crate::balancer::Balancer;
use crate::stage::{run, url};

/// One that says what it was asked, and how long the body was.
async fn telling() -> Backend {
    Backend::start(|request| {
        if request.path() == "/large" {
            return Reply::Bytes(ok(&"0123456789".repeat(1_000_000)));
        }
        if request.path() == "/broken" {
            return Reply::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\nonly a part".to_vec());
        }
        if request.path() == "/hints" {
            let hint = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
            return Reply::Bytes([hint.as_bytes(), &ok("after hints")].concat());
        }
        let header = |name| request.headers.get(name).cloned().unwrap_or_default();
        let text = format!(
            "{} cookie={} length={} body={}",
            request.start,
            header("cookie"),
            header("content-length"),
            request.body.len()
        );
        if request.start.starts_with("HEAD") {
            return Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n".to_vec());
        }
        Reply::Bytes(ok(&text))
    })
    .await
}

#[tokio::test]
async fn curl_gets_the_same_over_either_version() {
    let balancer = Balancer::start().await;
    let backend = telling().await;
    balancer.use_backends(&[&backend]).await;
    let directory = tempfile::tempdir().expect("directory");
    let file = |name: &str, size: usize| {
        let path = directory.path().join(name);
        std::fs::write(&path, vec![b'x'; size]).expect("written");
        format!("@{}", path.display())
    };
    let (small, large) = (file("small", 1_000), file("large", 3_000_000));
    for (path, arguments, expected) in [
        ("/a?b=c", &["-b", "a=1; b=2"][..], "GET /a?b=c HTTP/1.1 cookie=a=1; b=2 length= body=0 2.. 200"),
        ("/", &["--data-binary", &small], "POST / HTTP/1.1 cookie= length=1000 body=1000 2.. 200"),
        ("/", &["--data-binary", &large], "POST / HTTP/1.1 cookie= length=3000000 body=3000000 2.. 200"),
        ("/", &["-X", "DELETE"], "DELETE / HTTP/1.1 cookie= length= body=0 2.. 200"),
        (
            "/",
            &["-H", "Expect: 100-continue", "--data-binary", &large],
            "POST / HTTP/1.1 cookie= length=3000000 body=3000000 2.. 200",
        ),
        ("/hints", &[], "after hints 2.. 200"),
    ] {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let url = url(&balancer, path);
            let mut all = vec!["-sS", version, "-m", "60", "-w", " %{http_version}.. %{http_code}", &url];
            all.extend(arguments);
            let ended = run("curl", &all).await;
            let expected =
                if version == "--http1.1" { expected.replace("2..", "1.1..") } else { expected.to_owned() };
            assert_eq!((ended.ok, ended.out), (true, expected), "{version} {arguments:?}: {}", ended.err);
        }
    }
    // A body of no stated length: a small one has its length when all of it is there, a large one is passed on.
    for (body, length) in [(&small, "1000"), (&large, "")] {
        let url = url(&balancer, "/up");
        let ended = run(
            "curl",
            &["-sS", "--http2-prior-knowledge", "-m", "60", "-T", &body[1..], "-H", "Content-Length:", &url],
        )
        .await;
        let size = std::fs::metadata(&body[1..]).expect("file").len();
        let expected = format!("PUT /up HTTP/1.1 cookie= length={length} body={size}");
        assert!(ended.out.starts_with(&expected), "{} {}", ended.out, ended.err);
    }
}

#[tokio::test]
async fn heads_and_what_is_large_or_broken_are_told_apart() {
    let balancer = Balancer::start().await;
    let backend = telling().await;
    balancer.use_backends(&[&backend]).await;
    let head = run("curl", &["-sSI", "--http2-prior-knowledge", "-m", "60", &url(&balancer, "/")]).await;
    assert!(head.ok && head.out.contains("content-length: 77"), "{} {}", head.out, head.err);
    assert!(!head.out.contains("transfer-encoding") && !head.out.contains("connection:"), "{}", head.out);
    let large = run("curl", &["-sS", "--http2-prior-knowledge", "-m", "60", &url(&balancer, "/large")]).await;
    assert!(large.ok && large.out.len() == 10_000_000, "{} bytes: {}", large.out.len(), large.err);
    // What is a part is never taken for the whole.
    let broken =
        run("curl", &["-sS", "--http2-prior-knowledge", "-m", "60", &url(&balancer, "/broken")]).await;
    assert!(!broken.ok && broken.err.contains("INTERNAL_ERROR"), "{} {}", broken.out, broken.err);
}

#[tokio::test]
async fn nghttp_gets_all_it_asks_for_at_once() {
    let balancer = Balancer::start().await;
    let backend = telling().await;
    balancer.use_backends(&[&backend]).await;
    let urls: Vec<String> = (0..30).map(|index| url(&balancer, &format!("/{index}"))).collect();
    let mut arguments = vec!["--no-dep", "--stat", "--null-out", "--timeout=60"];
    arguments.extend(urls.iter().map(String::as_str));
    let ended = run("nghttp", &arguments).await;
    let answered = ended.out.lines().filter(|line| line.contains(" 200 ")).count();
    assert_eq!((ended.ok, answered), (true, 30), "{} {}", ended.out, ended.err);
}

#[tokio::test]
async fn h2load_sees_no_request_fail() {
    let balancer = Balancer::start().await;
    let backend = telling().await;
    balancer.use_backends(&[&backend]).await;
    for (clients, streams) in [("8", "100"), ("50", "1")] {
        let url = url(&balancer, "/x");
        let ended = run("h2load", &["-n", "5000", "-c", clients, "-m", streams, &url]).await;
        let all = "5000 total, 5000 started, 5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout";
        assert!(ended.ok && ended.out.contains(all), "{} {}", ended.out, ended.err);
        assert!(ended.out.contains("status codes: 5000 2xx"), "{}", ended.out);
    }
    let metrics = balancer.get("/metrics").await.text().await.expect("text");
    assert!(metrics.contains("lb_connections"), "{metrics}");
}
