//! Clients at several addresses, on every way that requests are forwarded.

use std::net::SocketAddr;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};

use crate::backend::{Backend, Reply, ok};
use crate::balancer::Balancer;
use crate::client::{Message, Reader};

/// One that may be repeated, one that may not, and one that is passed on as it comes, with its body.
pub(crate) const ALL_WAYS: [(&str, &str, &str); 3] = [
    ("GET", "", ""),
    ("POST", "Content-Length: 4\r\n", "body"),
    ("POST", "Transfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n"),
];

/// A connection to `to` from an address of one's own.
pub(crate) async fn connect_from(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse().expect("address"), 0))?;
    socket.connect(to).await
}

/// A client of the balancer at `from`.
pub(crate) async fn client_at(from: &str, balancer: &Balancer) -> Reader {
    Reader::new(connect_from(from, balancer.clients()).await.expect("connected"))
}

/// Asks once from `from` for `path`, with `fields`.
pub(crate) async fn get_from(from: &str, balancer: &Balancer, path: &str, fields: &str) -> Message {
    let request = format!("GET {path} HTTP/1.1\r\nHost: t.example\r\nConnection: close\r\n{fields}\r\n");
    client_at(from, balancer).await.ask(&request).await
}

/// The same over HTTP/2: status, header and body.
pub(crate) async fn get_by_http2(
    from: &str,
    balancer: &Balancer,
    path: &str,
    fields: &[(&str, &str)],
) -> (http::Response<()>, Vec<u8>) {
    let tcp = connect_from(from, balancer.clients()).await.expect("connected");
    let (sender, connection) = h2::client::handshake(tcp).await.expect("HTTP/2");
    let driver = tokio::spawn(connection);
    let mut request = http::Request::builder().uri(format!("http://t.example{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut sender = sender.ready().await.expect("ready");
    let (answer, _) = sender.send_request(request.body(()).expect("request"), true).expect("sent");
    let (parts, mut body) = answer.await.expect("an answer").into_parts();
    let mut all = Vec::new();
    while let Some(part) = body.data().await {
        let part: Bytes = part.expect("whole");
        let _ = body.flow_control().release_capacity(part.len());
        all.extend_from_slice(&part);
    }
    driver.abort();
    (http::Response::from_parts(parts, ()), all)
}

/// Answers with the head and body it received.
pub(crate) async fn echo() -> Backend {
    Backend::start(|request| {
        let headers: String =
            request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        Reply::Bytes(ok(&format!("{}\n{headers}\n{}", request.start, request.text())))
    })
    .await
}

/// The configuration of `generation` with `routes` and `more`.
pub(crate) async fn configure(balancer: &Balancer, generation: u64, routes: Value, more: Value) {
    let mut config = json!({"generation": generation, "routes": routes});
    for (key, value) in more.as_object().expect("an object") {
        config[key] = value.clone();
    }
    let answer = balancer.put("/config", &config).await;
    assert_eq!(answer.0, 200, "{answer:?}");
}

/// The value of the metric that this line begins with; 0 if there is none.
pub(crate) async fn metric(balancer: &Balancer, series: &str) -> f64 {
    let text = balancer.get("/metrics").await.text().await.expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}
