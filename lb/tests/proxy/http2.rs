//! Clients of HTTP/2 take the way that all requests take: tries, deadlines, holding, limits, hand-overs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::backend::{Backend, Reply, nobody, ok};
use crate::balancer::{Balancer, SOON, eventually};
use crate::hand_over::{begin, ended, holder};
use crate::network::in_network;
use crate::speaker::Others;

/// One connection.
struct Client {
    sender: SendRequest<Bytes>,
    driver: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// Status and body of an answer.
type Answer = Result<(u16, Vec<u8>), h2::Error>;

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.expect("connected");
        // An answer that nobody reads takes nothing from the others.
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(4 << 20).initial_connection_window_size(4 << 20);
        let (sender, connection) = builder.handshake(tcp).await.expect("HTTP/2");
        Client { sender, driver: tokio::spawn(connection) }
    }

    /// Sends a head; the rest of the request is sent by whoever has the stream.
    async fn begin(
        &self,
        request: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.sender.clone().ready().await?.send_request(request, end)
    }

    async fn ask(&self, request: Request<()>, body: &str) -> Answer {
        let (answer, mut stream) = self.begin(request, body.is_empty()).await?;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true)?;
        }
        read(answer).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(request("GET", path), "").await
    }
}

/// The field `name` of the answer to a GET of `path`, and the status.
pub(crate) async fn get_field(address: SocketAddr, path: &str, name: &str) -> (Option<String>, u16) {
    let client = Client::connect(address).await;
    let (answer, _) = client.begin(request("GET", path), true).await.expect("sent");
    let answer = timeout(SOON, answer).await.expect("in time").expect("an answer");
    let field = answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    (field, answer.status().as_u16())
}

fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://t{path}")).body(()).expect("request")
}

async fn read(answer: ResponseFuture) -> Answer {
    let answer = timeout(SOON, answer).await.expect("an answer in time")?;
    let status = answer.status().as_u16();
    let (mut body, mut all) = (answer.into_body(), Vec::new());
    while let Some(part) = timeout(SOON, body.data()).await.expect("a part in time") {
        let part = part?;
        let _ = body.flow_control().release_capacity(part.len());
        all.extend_from_slice(&part);
    }
    Ok((status, all))
}

fn hello() -> (u16, Vec<u8>) {
    (200, b"hello".to_vec())
}

#[tokio::test]
async fn streams_are_answered_side_by_side() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|request| match request.path() {
        "/slow" => Reply::Parts(vec![(Duration::from_millis(800), ok("slow"))]),
        _ => Reply::Bytes(ok("hello")),
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    let client = Client::connect(balancer.clients()).await;
    let (slow, _) = client.begin(request("GET", "/slow"), true).await.expect("sent");
    for _ in 0..20 {
        assert_eq!(client.get("/").await.expect("answered"), hello());
    }
    let busy = balancer.get_json("/status").await["connections"]["busy"].clone();
    assert_eq!(busy, 1, "all but the slow one are answered");
    assert_eq!(read(slow).await.expect("answered"), (200, b"slow".to_vec()));
    assert_eq!(balancer.get_json("/status").await["connections"]["open"], 1);
}

#[tokio::test]
async fn a_request_goes_on_to_the_next_upstream_and_waits_where_there_is_none() {
    let balancer = Balancer::start().await;
    let [good, resetting] = [Backend::healthy().await, Backend::start(|_| Reply::Reset).await];
    let dead = json!({"id": "dead", "address": "127.0.0.1", "port": nobody().await.port()});
    balancer.use_upstreams(&[good.upstream(), resetting.upstream(), dead]).await;
    let client = Client::connect(balancer.clients()).await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.expect("answered"), hello());
    }
    balancer.use_upstreams(&[]).await;
    let (held, _) = client.begin(request("GET", "/"), true).await.expect("sent");
    eventually("it is held", async || {
        (balancer.get_json("/status").await["connections"]["busy"] == 1).then_some(())
    })
    .await;
    balancer.use_backends(&[&good]).await;
    assert_eq!(read(held).await.expect("answered"), hello());
}

#[tokio::test]
async fn what_a_post_was_sent_once_is_not_sent_again() {
    let balancer = Balancer::start().await;
    let resetting = Backend::start(|_| Reply::Reset).await;
    balancer.use_policy(json!({"eject_after": 100})).await;
    balancer.use_backends(&[&resetting]).await;
    let client = Client::connect(balancer.clients()).await;
    let (status, body) = client.ask(request("POST", "/"), "once").await.expect("answered");
    assert_eq!((status, resetting.seen().len()), (502, 1));
    assert!(String::from_utf8_lossy(&body).contains("/problems/broken-off"));
}

#[tokio::test]
async fn the_statuses_of_our_own_are_those_of_http_1() {
    let balancer = Balancer::start_with("body_bytes = 1000").await;
    let backend = Backend::start(|request| match request.path() {
        "/never" => Reply::Nothing,
        _ => Reply::Bytes(ok(&request.text())),
    })
    .await;
    balancer.use_policy(json!({"request_timeout_ms": 400})).await;
    balancer.use_backends(&[&backend]).await;
    let client = Client::connect(balancer.clients()).await;
    let long = "x".repeat(1001);
    let mut with_length = request("POST", "/");
    with_length.headers_mut().insert("content-length", "1001".parse().expect("value"));
    assert_eq!(client.ask(with_length, &long).await.expect("answered").0, 413);
    assert_eq!(client.ask(request("POST", "/"), &long).await.expect("answered").0, 413, "without a length");
    assert_eq!(client.ask(request("POST", "/"), &long[1..]).await.expect("answered").1.len(), 1000);
    assert_eq!(client.get("/never").await.expect("answered").0, 504);
    // One that is passed on as it comes, and whose client goes on sending nothing.
    let (answer, stream) = client.begin(request("POST", "/"), false).await.expect("sent");
    assert_eq!(read(answer).await.expect("answered").0, 504);
    drop(stream);
    assert_eq!(client.get("/").await.expect("the connection goes on").0, 200);
    assert_eq!(balancer.put("/config", &json!({"generation": 9, "routes": []})).await.0, 200);
    assert_eq!(client.get("/").await.expect("answered").0, 404);
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once() {
    let balancer = Balancer::start_with("connections = 3").await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let client = Client::connect(balancer.clients()).await;
        assert_eq!(client.get("/").await.expect("answered"), hello());
        clients.push(client);
    }
    let refused = TcpStream::connect(balancer.clients()).await.expect("connected");
    assert!(crate::client::Reader::new(refused).closed_within(SOON).await);
    clients.pop().expect("one").driver.abort();
    eventually("there is room again", async || {
        let tcp = TcpStream::connect(balancer.clients()).await.ok()?;
        let (sender, connection) = h2::client::handshake(tcp).await.ok()?;
        let client = Client { sender, driver: tokio::spawn(connection) };
        client.get("/").await.ok()
    })
    .await;
}

#[tokio::test]
async fn answers_that_nobody_reads_are_not_kept_in_memory() {
    const STREAMS: usize = 40;
    let balancer = Balancer::start().await;
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n".to_vec();
    answer.resize(answer.len() + (4 << 20), b'x');
    let backend = Backend::start(move |request| match request.path() {
        "/huge" => Reply::Bytes(answer.clone()),
        _ => Reply::Bytes(ok("hello")),
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    let tcp = TcpStream::connect(balancer.clients()).await.expect("connected");
    // The client allows all of it, and takes none.
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let (sender, mut connection) = builder.handshake::<_, Bytes>(tcp).await.expect("HTTP/2");
    let before = balancer.memory_kib();
    let mut answers = Vec::new();
    let asking = async {
        for _ in 0..STREAMS {
            let mut sender = sender.clone().ready().await.expect("ready");
            answers.push(sender.send_request(request("GET", "/huge"), true).expect("sent"));
        }
        eventually("all are sent", async || (backend.seen().len() == STREAMS).then_some(())).await;
    };
    tokio::select! {
        ended = &mut connection => panic!("it ended: {ended:?}"),
        () = asking => {}
    }
    // From here on nobody reads the connection, which stays open.
    let other = Client::connect(balancer.clients()).await;
    for _ in 0..10 {
        assert_eq!(other.get("/").await.expect("answered"), hello(), "it costs nobody else anything");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let grown = balancer.memory_kib().saturating_sub(before);
    println!("{grown} KiB for {STREAMS} answers of 4 MiB");
    assert_eq!(balancer.get_json("/status").await["connections"]["busy"], STREAMS, "all of them wait");
    assert!(grown < 64 << 10, "{grown} KiB for {STREAMS} answers of 4 MiB");
    drop((connection, answers));
    eventually("they are given up with the connection", async || {
        (balancer.get_json("/status").await["connections"]["busy"] == 0).then_some(())
    })
    .await;
}

/// A client that connects anew when it is told that the connection ends, and repeats only what was not looked at.
async fn load(address: SocketAddr, done: Arc<AtomicBool>) -> (u32, u32) {
    let (mut client, mut count, mut goaways) = (Client::connect(address).await, 0, 0);
    while !done.load(Ordering::SeqCst) {
        match client.get("/").await {
            Ok(answer) => {
                assert_eq!(answer, hello());
                count += 1;
            }
            Err(error) if error.is_go_away() && error.reason() == Some(Reason::NO_ERROR) => {
                goaways += 1;
                client = Client::connect(address).await;
            }
            Err(error) => panic!("after {count} requests: {error:?}"),
        }
    }
    (count, goaways)
}

#[test]
fn no_request_fails_on_connections_of_http_2_through_hand_overs() {
    in_network("http2::no_request_fails_on_connections_of_http_2_through_hand_overs", async {
        let (balancer, speaker, _backend) = holder(Others::Take).await;
        let done = Arc::new(AtomicBool::new(false));
        let loads: Vec<_> = (0..4).map(|_| tokio::spawn(load(balancer.clients(), done.clone()))).collect();
        for _ in 0..3 {
            eventually("it is begun", async || {
                (balancer.put("/hand-over", &json!({})).await.0 == 202).then_some(())
            })
            .await;
            let view = ended(&balancer).await;
            assert_eq!((&view["state"], &view["cut"]), (&json!("done"), &json!(0)), "{view}");
            speaker.hold(true);
        }
        done.store(true, Ordering::SeqCst);
        for load in loads {
            let (count, goaways) = load.await.expect("every request answered");
            println!("{count} requests, {goaways} times told that the connection ends");
            assert!(count > 10 && goaways >= 3, "{count} requests, {goaways} goaways");
        }
    });
}

#[test]
fn an_idle_connection_of_http_2_ends_with_a_hand_over_and_what_hangs_is_cut_stream_by_stream() {
    in_network(
        "http2::an_idle_connection_of_http_2_ends_with_a_hand_over_and_what_hangs_is_cut_stream_by_stream",
        async {
            let (balancer, _speaker, _backend) = holder(Others::TakeAway).await;
            let idle = Client::connect(balancer.clients()).await;
            assert_eq!(idle.get("/").await.expect("answered"), hello());
            let client = Client::connect(balancer.clients()).await;
            let (never, _) = client.begin(request("GET", "/never"), true).await.expect("sent");
            let (half, _) = client.begin(request("GET", "/half"), true).await.expect("sent");
            let (slow, _) = client.begin(request("GET", "/slow"), true).await.expect("sent");
            let half = timeout(SOON, half).await.expect("in time").expect("its head");
            begin(&balancer, json!({"idle_ms": 0, "finish_ms": 1_500, "hold_ms": 100})).await;
            assert_eq!(read(slow).await.expect("answered"), (200, b"slow".to_vec()));
            let (status, body) = read(never).await.expect("told in words");
            assert!(status == 503 && String::from_utf8_lossy(&body).contains("/problems/moving"), "{status}");
            let mut body = half.into_body();
            let broken = loop {
                match timeout(SOON, body.data()).await.expect("in time") {
                    Some(Ok(part)) => drop(body.flow_control().release_capacity(part.len())),
                    other => break other,
                }
            };
            assert!(matches!(broken, Some(Err(error)) if error.is_reset()), "must not look like the whole");
            for driver in [idle.driver, client.driver] {
                let end = timeout(SOON, driver).await.expect("the connection ends").expect("no panic");
                assert!(end.is_ok(), "in order: {end:?}");
            }
            let view = ended(&balancer).await;
            assert_eq!(
                (&view["state"], &view["cut"], &view["idle_closed"]),
                (&json!("done"), &json!(2), &json!(1)),
                "{view}"
            );
        },
    );
}
