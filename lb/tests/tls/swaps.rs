//! Certificates, keys and whole programs change under load, and no client notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::Reader;
use crate::stage::{NAME, Stage, believes, connect_with};

const GET: &str = "GET / HTTP/1.1\r\nHost: www.example\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nHost: www.example\r\nConnection: close\r\n\r\n";

/// Clients that ask again and again, each on a kept connection and on new ones, until told to stop.
struct Load {
    done: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
    requests: Arc<AtomicUsize>,
}

impl Load {
    fn begin(stage: &Stage, clients: usize) -> Self {
        let (done, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let at = stage.tls();
        // With sessions that resume, as everybody's.
        let config = believes(&stage.ca);
        let clients = (0..clients).map(|_| {
            let (done, requests, config) = (done.clone(), requests.clone(), config.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    let mut kept = open(&config, at).await;
                    for _ in 0..10 {
                        let answer = kept.ask(GET).await;
                        assert!(answer.status() == 200 && answer.whole, "{answer:?}");
                        let fresh = open(&config, at).await.ask(LAST).await;
                        assert!(fresh.status() == 200 && fresh.whole, "{fresh:?}");
                        requests.fetch_add(2, Ordering::SeqCst);
                        if answer.headers.get("connection").is_some_and(|connection| connection == "close") {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }
            })
        });
        Load { clients: clients.collect(), done, requests }
    }

    /// Ends it; every request was answered.
    async fn ends_well(self) -> usize {
        self.done.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.expect("no request failed");
        }
        self.requests.load(Ordering::SeqCst)
    }
}

async fn open(config: &Arc<ClientConfig>, at: SocketAddr) -> Reader<TlsStream<TcpStream>> {
    Reader::new(connect_with(config.clone(), at).await)
}

#[tokio::test]
async fn a_hundred_swaps_of_certificates_and_keys_fail_no_request() {
    let stage = Stage::new("").await;
    let certificates = [stage.ca.server(&[NAME]), stage.ca.server(&[NAME, "*.example"])];
    let load = Load::begin(&stage, 6);
    let mut seen = 0;
    for swap in 0..100u64 {
        let certificate = &certificates[usize::try_from(swap % 2).expect("small")];
        let keys = [swap / 10 + 1, swap / 10].map(|number| format!("{number:032}"));
        let (status, problem) = stage.push(swap + 1, &[certificate], json!({"ticket_keys": keys})).await;
        assert_eq!(status, 200, "{problem}");
        // What was accepted is shown to the next one that comes.
        let stream = crate::stage::connect(&stage.ca, stage.tls()).await;
        let shown = stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone();
        let expected = rustls::pki_types::pem::PemObject::from_pem_slice(certificate.chain.as_bytes());
        assert_eq!(shown, expected.expect("a certificate"));
        seen += 1;
    }
    let requests = load.ends_well().await;
    println!("{requests} requests during {seen} swaps");
    assert!(requests > 100);
    assert!(stage.figure("lb_tls_handshakes_total{kind=\"resumed\"}").await > 10.0);
}

#[tokio::test]
async fn another_program_takes_over_and_no_client_over_tls_notices() {
    let key = "x".repeat(32);
    let mut stage = Stage::with("", |_| format!("[config]\nticket_keys = [\"{key}\"]\n")).await;
    let load = Load::begin(&stage, 4);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stage.balancer.upgrade().await;
    }
    let requests = load.ends_well().await;
    println!("{requests} requests during 10 upgrades");
    assert!(requests > 50);
}
