//! TLS and HTTP/2, against a server of the libraries that browsers' servers are made of.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use rcgen::{CertifiedKey, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::process::{run, scratch};

const ANSWER: &str = "{\"value\": 1}";

/// A server that answers on a port of its own until the test's process ends.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
    certificate: CertifiedKey<KeyPair>,
}

/// What a server speaks: TLS with these protocols, or straight HTTP/2.
#[derive(Clone, Copy)]
enum Speaks {
    Tls(&'static [&'static str]),
    Http2,
    /// Straight HTTP/2 whose connections go away in an orderly way after so many requests.
    GoingAway(usize),
}

impl Server {
    fn start(speaks: Speaks) -> Self {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicU64::new(0));
        let tls = match speaks {
            Speaks::Http2 | Speaks::GoingAway(_) => None,
            Speaks::Tls(protocols) => Some(acceptor(&certificate, protocols)),
        };
        let most = if let Speaks::GoingAway(most) = speaks { most } else { usize::MAX };
        let counted = connections.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime
                .block_on(async { serve(TcpListener::from_std(listener).unwrap(), tls, most, counted).await })
        });
        Server { address, connections, certificate }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/", self.address.port())
    }

    /// Runs with the server's certificate as the authority.
    fn run(&self, url: &str, options: &[&str]) -> Value {
        let file = scratch("pem");
        std::fs::write(&file, self.certificate.cert.pem()).unwrap();
        let resolve = format!("localhost:{}:127.0.0.1", self.address.port());
        let common =
            ["--rate", "100", "--duration", "500ms", "--resolve", &resolve, "--ca", file.to_str().unwrap()];
        let ended = run(url, &[&common[..], options].concat());
        std::fs::remove_file(file).unwrap();
        ended.expect(0).clone()
    }
}

fn acceptor(certificate: &CertifiedKey<KeyPair>, protocols: &[&str]) -> TlsAcceptor {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(kit::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    most: usize,
    connections: Arc<AtomicU64>,
) -> Infallible {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.fetch_add(1, Ordering::SeqCst);
        let tls = tls.clone();
        tokio::spawn(async move {
            match tls {
                None => answer_http2(stream, most).await,
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                        answer_http2(stream, most).await;
                    } else {
                        answer_http1(stream).await;
                    }
                }
            }
        });
    }
}

/// Answers each request but those for `/stall`, and goes away after `most`.
async fn answer_http2(stream: impl AsyncRead + AsyncWrite + Unpin, most: usize) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut count = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        count += 1;
        if count == most {
            connection.graceful_shutdown();
        }
        if request.uri().path() == "/stall" {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(9)).await;
                drop(respond);
            });
            continue;
        }
        let Ok(mut body) = respond.send_response(Response::new(()), false) else { continue };
        let _ = body.send_data(Bytes::from_static(ANSWER.as_bytes()), true);
    }
}

async fn answer_http1(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        seen.extend_from_slice(&buffer[..count]);
        if seen.ends_with(b"\r\n\r\n") {
            seen.clear();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

#[test]
fn http2_is_spoken_straight_away_and_kept_requests_share_a_connection() {
    let server = Server::start(Speaks::Http2);
    let report = server.run(&server.url("http"), &["--http2", "--expect-json", "$.value", "--body", "x"]);
    assert_eq!((&report["succeeded"], &report["failed"]), (&json!(50), &json!(0)), "{report}");
    assert_eq!(report["load"]["protocol"], "HTTP/2");
    assert_eq!(server.connections.load(Ordering::SeqCst), 26, "25 fresh ones and a shared one");
}

#[test]
fn a_connection_that_goes_away_in_an_orderly_way_loses_no_request() {
    let server = Server::start(Speaks::GoingAway(7));
    let report = server.run(&server.url("http"), &["--http2", "--keep-alive"]);
    assert_eq!((&report["succeeded"], &report["failed"]), (&json!(50), &json!(0)), "{report}");
    let connections = server.connections.load(Ordering::SeqCst);
    assert!((7..=50).contains(&connections), "{connections} connections for 50 requests, 7 on each");
}

#[test]
fn a_stream_that_stalls_is_a_timeout_of_its_own() {
    let server = Server::start(Speaks::Http2);
    let targets = scratch("targets.toml");
    std::fs::write(&targets, "[[target]]\nweight = 9\n[[target]]\npath = \"/stall\"\n").unwrap();
    let options = ["--http2", "--keep-alive", "--timeout", "3s", "--targets", targets.to_str().unwrap()];
    let report = server.run(&server.url("http"), &options);
    std::fs::remove_file(targets).unwrap();
    let stalled = report["samples"][1]["samples"].as_u64().unwrap();
    assert!(stalled > 0, "{report}");
    assert_eq!(report["failed_by_kind"], json!({"timeout": stalled}));
    assert_eq!(report["succeeded"], 50 - stalled);
}

#[test]
fn tls_is_spoken_to_whom_is_believed() {
    let server = Server::start(Speaks::Tls(&["h2", "http/1.1"]));
    let url = server.url("https");
    assert_eq!(server.run(&url, &[])["failed"], 0);
    let kept = server.connections.load(Ordering::SeqCst) - 25;
    assert!(kept < 25, "{kept} connections for 25 kept requests");
    assert_eq!(server.run(&url, &["--http2"])["failed"], 0, "by ALPN");

    // Another one with the same name is not believed, or only by those who believe anybody.
    let other = Server::start(Speaks::Tls(&["http/1.1"]));
    let resolve = format!("localhost:{}:127.0.0.1", other.address.port());
    let report = server.run(&other.url("https"), &["--resolve", &resolve]);
    assert_eq!(report["failed_by_kind"], json!({"tls": 50}));
    let report = server.run(&other.url("https"), &["--resolve", &resolve, "--insecure"]);
    assert_eq!(report["failed_by_kind"], json!({}));
    let report = other.run(&other.url("https"), &["--http2"]);
    assert_eq!(report["failed_by_kind"], json!({"tls": 50}), "it does not speak HTTP/2");
}
