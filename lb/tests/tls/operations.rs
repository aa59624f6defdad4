//! Everything that whoever runs a balancer does to it, all at once and under load: reloads of its file, certificates by
//! push, and other programs in its place.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::ClientConfig;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::balancer::eventually;
use crate::client::Reader;
use crate::stage::{NAME, PORT, Stage, believes, connect_with};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: www.example\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nHost: www.example\r\nConnection: close\r\n\r\n";

/// How often each client asks on a kept connection before it opens another one.
const KEPT: usize = 20;

/// What a client connects to, and how.
#[derive(Clone)]
enum Way {
    Plain(SocketAddr),
    Tls(Arc<ClientConfig>, SocketAddr),
    Http2(Arc<ClientConfig>, SocketAddr),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Clients that ask until they are told to stop; each says how often it was answered.
struct Clients {
    done: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    fn begin(stage: &Stage) -> Self {
        let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let usual = believes(&stage.ca);
        let mut of_http2 = ClientConfig::clone(&usual);
        of_http2.alpn_protocols = vec![b"h2".to_vec()];
        let ways = [
            Way::Plain(stage.balancer.clients()),
            Way::Tls(usual, stage.tls()),
            Way::Http2(Arc::new(of_http2), stage.tls()),
        ];
        let tasks = ways.into_iter().cycle().take(6).map(|way| {
            let (done, answered) = (done.clone(), answered.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    match &way {
                        Way::Plain(_) | Way::Tls(..) => http1(&way, &answered).await,
                        Way::Http2(config, at) => http2(config, *at, &answered).await,
                    }
                }
            })
        });
        Clients { tasks: tasks.collect(), done, answered }
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    /// Ends them; every request was answered.
    async fn ends_well(self) -> usize {
        self.done.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("no request failed, and no connection was refused");
        }
        self.answered.load(Ordering::SeqCst)
    }
}

async fn connect(way: &Way) -> Reader<Box<dyn Stream>> {
    Reader::new(match way {
        Way::Plain(at) => Box::new(TcpStream::connect(at).await.expect("connected")),
        Way::Tls(config, at) | Way::Http2(config, at) => Box::new(connect_with(config.clone(), *at).await),
    })
}

/// Asks on one connection until it is to end, and now and then on a fresh one.
async fn http1(way: &Way, answered: &AtomicUsize) {
    let mut kept = connect(way).await;
    for number in 0..KEPT {
        let answer = kept.ask(REQUEST).await;
        assert!(answer.status() == 200 && answer.whole, "{answer:?}");
        answered.fetch_add(1, Ordering::SeqCst);
        if number % 5 == 0 {
            let fresh = connect(way).await.ask(LAST).await;
            assert!(fresh.status() == 200 && fresh.whole, "{fresh:?}");
            answered.fetch_add(1, Ordering::SeqCst);
        }
        if answer.headers.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            break;
        }
    }
}

/// The same in HTTP/2; what the balancer says it has not looked at is asked again on the next connection.
async fn http2(config: &Arc<ClientConfig>, at: SocketAddr, answered: &AtomicUsize) {
    let tls = connect_with(config.clone(), at).await;
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = h2::client::handshake(tls).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    for _ in 0..KEPT {
        match ask(sender.clone()).await {
            Ok(status) => assert_eq!(status, 200),
            Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => break,
            Err(error) => panic!("{error:?}"),
        }
        answered.fetch_add(1, Ordering::SeqCst);
    }
    drop(sender);
    let _ended = connection.await.expect("no panic");
}

async fn ask(sender: SendRequest<Bytes>) -> Result<u16, h2::Error> {
    let request = http::Request::get(format!("https://{NAME}/")).body(()).expect("a request");
    let (answer, _) = sender.ready().await?.send_request(request, true)?;
    let answer = answer.await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    Ok(status)
}

#[tokio::test]
async fn reloads_certificates_and_upgrades_together_fail_no_request_and_refuse_no_connection() {
    let mut stage = Stage::new("").await;
    let certificates = [stage.ca.server(&[NAME]), stage.ca.server(&[NAME, "*.example"])];
    let address = stage.balancer.address;
    let settings = |number: u64| {
        format!(
            "[[listener]]\naddress = \"{address}:{PORT}\"\n[listener.tls]\n{}\
             [[config.routes]]\nname = \"r{number}\"\npool = \"p\"\n",
            certificates[usize::from(number.is_multiple_of(2))].toml()
        )
    };
    let clients = Clients::begin(&stage);
    let mut taken = 0;
    for number in 1..=100 {
        let before = clients.answered();
        stage.balancer.reload_with(&settings(number)).await;
        let file = stage.balancer.get_json("/status").await["file"].clone();
        taken += 1;
        assert_eq!((&file["taken"], &file["refused"]), (&json!(taken), &json!(0)), "{file}");
        let certificate = &certificates[usize::from(!number.is_multiple_of(2))];
        let keys = [number / 10 + 1, number / 10].map(|key| format!("{key:032}"));
        let (status, problem) = stage.push(number, &[certificate], json!({"ticket_keys": keys})).await;
        assert_eq!(status, 200, "{problem}");
        if number % 10 == 0 {
            stage.balancer.upgrade().await;
            // Another program counts anew.
            taken = 0;
        }
        eventually("there is load meanwhile", async || (clients.answered() > before + 6).then_some(())).await;
    }
    let requests = clients.ends_well().await;
    println!("{requests} requests during 100 reloads, 100 swaps of certificates and 10 upgrades");
    assert_eq!(stage.balancer.get_json("/config").await["generation"], 100);
}
