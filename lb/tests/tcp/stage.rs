//! A balancer with TCP services, and servers behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::balancer::{Balancer, SOON, eventually};

/// Where the services of most tests are.
pub(crate) const PORT: u16 = 3306;

static GENERATION: AtomicU64 = AtomicU64::new(1);

/// A server that does the same with each of its connections. They end when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) open: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Has `serve` speak on each connection.
    pub(crate) async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_at("127.0.0.1:0", serve).await
    }

    pub(crate) async fn start_at<F>(
        address: &str,
        serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("bound");
        let address = listener.local_addr().expect("address");
        let (connections, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, now) = (connections.clone(), open.clone());
        let task = tokio::spawn(async move {
            let mut all = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.expect("accepted");
                count.fetch_add(1, Ordering::SeqCst);
                now.fetch_add(1, Ordering::SeqCst);
                let (served, now) = (serve(tcp), now.clone());
                all.spawn(async move {
                    served.await;
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Server { address, connections, open, task }
    }

    /// Says its name, and then whatever it hears, until the client has ended; then it ends too.
    pub(crate) async fn echo(name: &'static str) -> Self {
        Self::start(move |tcp| echo(tcp, name)).await
    }

    pub(crate) fn id(&self) -> String {
        format!("s-{}", self.address.port())
    }

    /// Its entry in the upstream set.
    pub(crate) fn upstream(&self) -> Value {
        json!({"id": self.id(), "address": self.address.ip(), "port": self.address.port()})
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Ends it: its connections are closed and new ones are refused.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn echo(mut tcp: TcpStream, name: &'static str) {
    let _ = tcp.write_all(name.as_bytes()).await;
    let (mut from, mut to) = tcp.split();
    let _ = tokio::io::copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

/// Gives `balancer` these services, pools' policies and upstreams.
pub(crate) async fn configure(balancer: &Balancer, tcp: Value, policies: Value, pools: Value) {
    let generation = GENERATION.fetch_add(1, Ordering::SeqCst);
    let config = json!({"generation": generation, "routes": [], "tcp": tcp, "pools": policies});
    let answer = balancer.put("/config", &config).await;
    assert_eq!(answer.0, 200, "{answer:?}");
    use_pools(balancer, pools).await;
}

/// Gives it these upstreams.
pub(crate) async fn use_pools(balancer: &Balancer, pools: Value) {
    let generation = GENERATION.fetch_add(1, Ordering::SeqCst);
    let answer = balancer.put("/upstreams", &json!({"generation": generation, "pools": pools})).await;
    assert_eq!(answer.0, 200, "{answer:?}");
}

/// A service `db` at [`PORT`] for the pool `db`, and what `more` says of it.
pub(crate) fn service(more: Value) -> Value {
    let mut service = json!({"name": "db", "port": PORT, "pool": "db"});
    for (key, value) in more.as_object().expect("an object") {
        service[key] = value.clone();
    }
    service
}

/// A balancer with that service for these servers.
pub(crate) async fn balancer_for(more: Value, policy: Value, servers: &[&Server]) -> Balancer {
    let balancer = Balancer::start().await;
    let upstreams: Value = servers.iter().map(|server| server.upstream()).collect();
    configure(&balancer, json!([service(more)]), json!({"db": policy}), json!({"db": upstreams})).await;
    balancer
}

/// A connection to the service at [`PORT`].
pub(crate) async fn connect(balancer: &Balancer) -> TcpStream {
    connect_at(balancer, PORT).await
}

pub(crate) async fn connect_at(balancer: &Balancer, port: u16) -> TcpStream {
    TcpStream::connect((balancer.address, port)).await.expect("connected")
}

/// Exactly so many bytes as `text` has, which they should be.
pub(crate) async fn hears(tcp: &mut TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    let read = tokio::time::timeout(SOON, tcp.read_exact(&mut heard)).await;
    read.expect("in time").unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!(String::from_utf8_lossy(&heard), text);
}

/// Says `text`, which an echo says again.
pub(crate) async fn echoes(tcp: &mut TcpStream, text: &str) {
    tcp.write_all(text.as_bytes()).await.expect("sent");
    hears(tcp, text).await;
}

/// All that comes until the other side has ended; an error if that is a reset.
pub(crate) async fn rest(tcp: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    tokio::time::timeout(SOON, tcp.read_to_end(&mut all)).await.expect("in time").map(|_count| all)
}

/// Asserts that the connection was reset, or is soon.
pub(crate) async fn is_reset(tcp: &mut TcpStream) {
    let error = rest(tcp).await.expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// Asserts that a connection to the service at `port` is reset: it may be before it is noticed that there is one.
pub(crate) async fn is_turned_away(balancer: &Balancer, port: u16) {
    match TcpStream::connect((balancer.address, port)).await {
        Ok(mut tcp) => is_reset(&mut tcp).await,
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

/// Has `tcp` be reset by this end.
pub(crate) fn reset(tcp: TcpStream) {
    SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).expect("set");
}

/// Waits until the service has ended so many connections this way.
pub(crate) async fn has_ended(balancer: &Balancer, service: &str, how: &str, count: u64) {
    eventually(&format!("{service}: {count} ended as {how}"), async || {
        let status = balancer.get_json("/status").await;
        (status["tcp"][service]["ended"][how] == count).then_some(())
    })
    .await;
}

/// Waits until it has so many open.
pub(crate) async fn has_open(balancer: &Balancer, service: &str, count: u64) {
    eventually(&format!("{service}: {count} open"), async || {
        (balancer.get_json("/status").await["tcp"][service]["open"] == count).then_some(())
    })
    .await;
}
