//! What curl, whose reading of the RFCs is everybody's, makes of it.

use std::process::Command;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::Balancer;
use crate::client::Message;

/// A balancer in front of a backend that answers with `reply`.
async fn serving(reply: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> (Balancer, Backend) {
    let balancer = Balancer::start().await;
    let backend = Backend::start(reply).await;
    balancer.use_backends(&[&backend]).await;
    (balancer, backend)
}

/// What curl with `arguments` says of `paths`, and writes to standard output.
async fn curl(balancer: &Balancer, arguments: &[&str], paths: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]).args(arguments);
    for path in paths {
        command.arg(format!("http://{}{path}", balancer.clients()));
    }
    let done = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let done = done.expect("deploy/test.sh interop installs it");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_the_length_and_not_the_body() {
    let (balancer, _backend) =
        serving(|_| Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n".to_vec())).await;
    let said = curl(&balancer, &["--head"], &["/"]).await.to_lowercase();
    assert!(said.contains("content-length: 12345"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_waits_for_the_go_ahead_and_arrives_whole() {
    let (balancer, backend) = serving(|request| Reply::Bytes(ok(&request.body.len().to_string()))).await;
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), vec![b'x'; 3 << 20]).expect("written");
    let data = format!("@{}", file.path().display());
    let path = file.path().display().to_string();
    for arguments in [
        &["--header", "Expect: 100-continue", "--data-binary", &data][..],
        &["--header", "Expect:", "--data-binary", &data],
        &["--header", "Transfer-Encoding: chunked", "--data-binary", &data],
        &["--upload-file", &path],
        &["--http1.0", "--data-binary", &data],
    ] {
        assert_eq!(curl(&balancer, arguments, &["/up"]).await, (3 << 20).to_string(), "{arguments:?}");
    }
    assert_eq!(backend.seen().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_in_http_1_1_and_ends_in_1_0() {
    let (balancer, _backend) = serving(|_| Reply::Bytes(ok("hello"))).await;
    let connects = ["--output", "/dev/null", "--write-out", "%{num_connects} %{http_version} %{http_code}\n"];
    let twice: Vec<&str> = connects.iter().chain(&connects[..2]).copied().collect();
    assert_eq!(curl(&balancer, &twice, &["/a", "/b"]).await, "1 1.1 200\n0 1.1 200\n");
    let old: Vec<&str> = ["--http1.0"].iter().chain(&twice).copied().collect();
    let said = curl(&balancer, &old, &["/a", "/b"]).await;
    assert!(said.starts_with("1 1.1 200\n1 1.1 200"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_resumed_where_it_broke_off() {
    let (balancer, _backend) = serving(|request| {
        assert_eq!(request.headers.get("range").map(String::as_str), Some("bytes=6-"));
        let head =
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 6-10/11\r\nContent-Length: 5\r\n\r\nworld";
        Reply::Bytes(head.into())
    })
    .await;
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), "hello ").expect("written");
    let path = file.path().display().to_string();
    curl(&balancer, &["--continue-at", "-", "--output", &path], &["/file"]).await;
    assert_eq!(std::fs::read_to_string(file.path()).expect("read"), "hello world");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compressed_passes_as_it_is() {
    // `hello` as gzip makes it.
    const GZIP: [u8; 25] =
        [31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 203, 72, 205, 201, 201, 7, 0, 134, 166, 16, 54, 5, 0, 0, 0];
    let (balancer, backend) = serving(|_| {
        let mut answer =
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n19\r\n".to_vec();
        answer.extend(GZIP);
        answer.extend(b"\r\n0\r\n\r\n");
        Reply::Bytes(answer)
    })
    .await;
    assert_eq!(curl(&balancer, &["--compressed"], &["/"]).await, "hello");
    assert!(backend.seen()[0].headers["accept-encoding"].contains("gzip"));
}
