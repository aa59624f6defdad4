//! What is compressed is understood by the decoders that everybody uses.

use serde_json::json;
use tokio::process::Command;

use crate::backend::{Backend, Reply};
use crate::balancer::{Balancer, eventually};
use crate::stage::{Peer, free_address, has_passed, run, url};

/// A page that comes with a length, or in chunks.
async fn stage() -> (Balancer, Backend, String) {
    let page: String = (0..40_000).map(|line| format!("line {line} of many\n")).collect();
    let body = page.clone();
    let backend = Backend::start(move |request| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n";
        let answer = if request.path() == "/chunked" {
            let chunk = |part: &[u8]| format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part));
            let chunks: String = body.as_bytes().chunks(9_999).map(chunk).collect();
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
        } else {
            format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
        };
        Reply::Bytes(answer.into_bytes())
    })
    .await;
    let balancer = Balancer::start().await;
    balancer.use_backends(&[&backend]).await;
    balancer.use_routes(json!([{"name": "all", "pool": "p", "compress": {}}])).await;
    (balancer, backend, page)
}

#[tokio::test]
async fn curl_reads_every_coding_over_either_version() {
    let (balancer, _backend, page) = stage().await;
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for coding in ["gzip", "br", "zstd"] {
            // The second kind is passed on while it comes.
            for more in [&[][..], &["--data-binary", "x", "--header", "Transfer-Encoding: chunked"]] {
                for path in ["/page", "/chunked"] {
                    let url = url(&balancer, path);
                    let accept = format!("Accept-Encoding: {coding}");
                    let asked = [
                        "-sS",
                        "--fail",
                        "--compressed",
                        version,
                        "--header",
                        &accept,
                        "-w",
                        "\n%{size_download}",
                    ];
                    let said = run("curl", &[&asked[..], more, &[&url]].concat()).await;
                    let what = format!("{version} {coding} {more:?} {path}");
                    assert!(said.ok, "{what}: {}", said.err);
                    let (text, size) = said.out.rsplit_once('\n').expect("its size");
                    assert!(text == page, "{what}");
                    let size: usize = size.parse().expect("a number");
                    assert!(size < page.len() / 2, "{what}: it was compressed: {size}");
                }
            }
        }
    }
}

#[tokio::test]
async fn python_reads_every_coding() {
    let (balancer, _backend, _) = stage().await;
    for path in ["/page", "/chunked"] {
        has_passed("decompress.py", balancer.clients(), &[path]).await;
    }
}

/// Of an upstream that speaks HTTP/2 the end may come with the last byte, by itself, or with trailers.
#[tokio::test]
async fn answers_of_http2_upstreams_are_compressed_to_their_end() {
    let balancer = Balancer::start().await;
    let config = json!({
        "generation": 1, "routes": [{"name": "all", "pool": "p", "compress": {"min_bytes": 0}}],
        "pools": {"p": {"protocol": "h2c"}},
    });
    assert_eq!(balancer.put("/config", &config).await.0, 200);
    let directory = tempfile::tempdir().expect("directory");
    let page = "a page of nghttpd ".repeat(100_000);
    std::fs::write(directory.path().join("page.html"), &page).expect("written");
    for trailers in [false, true] {
        let address = free_address();
        let mut command = Command::new("nghttpd");
        command.args(["--no-tls", "--address", "127.0.0.1", "--htdocs"]).arg(directory.path());
        if trailers {
            command.args(["--trailer", "x-checksum: 7"]);
        }
        let nghttpd = Peer::start(command.arg(address.port().to_string()), address);
        eventually("nghttpd listens", async || tokio::net::TcpStream::connect(address).await.ok()).await;
        balancer.use_upstreams(&[nghttpd.upstream()]).await;
        let url = url(&balancer, "/page.html");
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            for coding in ["gzip", "br", "zstd"] {
                let accept = format!("Accept-Encoding: {coding}");
                let asked = ["-sS", "--fail", "--compressed", version, "--header", &accept];
                let said =
                    run("curl", &[&asked[..], &["-m", "60", "-w", "\n%{size_download}", &url]].concat())
                        .await;
                let what = format!("{version} {coding} trailers: {trailers}");
                assert!(said.ok, "{what}: {}", said.err);
                let (text, size) = said.out.rsplit_once('\n').expect("its size");
                assert!(text == page, "{what}: {} bytes", text.len());
                assert!(size.parse::<usize>().expect("a number") < page.len() / 10, "{what}: {size}");
            }
        }
    }
}
