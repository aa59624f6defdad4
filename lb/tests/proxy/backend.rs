//! An upstream that answers as its test tells it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Message, Reader};

/// What a backend does with a request.
pub(crate) enum Reply {
    /// Sends these bytes and keeps the connection.
    Bytes(Vec<u8>),
    /// Sends each part after a wait, then keeps the connection.
    Parts(Vec<(Duration, Vec<u8>)>),
    /// Sends these bytes and closes the connection.
    Last(Vec<u8>),
    /// Resets the connection.
    Reset,
    /// Sends these bytes, then whatever it receives.
    Tunnel(Vec<u8>),
    /// Sends these bytes and after them others, until the connection ends.
    Endless(Vec<u8>),
    /// Sends nothing.
    Nothing,
    /// Reads so many bytes of the request's body and closes the connection. Of a hasty backend.
    LeaveAfter(usize),
    /// Sends these bytes while it reads the request's body, and notes the whole as seen once more. Of a hasty backend.
    Early(Vec<u8>),
}

type Handler = dyn Fn(&Message) -> Reply + Send + Sync;

/// A running backend. Its connections end when it is dropped.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

struct Shared {
    handler: Box<Handler>,
    /// Answers requests by their heads.
    hasty: bool,
    seen: Mutex<Vec<Message>>,
    frozen: AtomicBool,
    open: AtomicUsize,
    connections: AtomicUsize,
}

impl Backend {
    pub(crate) async fn start(handler: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("address"), handler).await
    }

    /// One that answers as soon as it has a request's head: what it has seen has no body.
    pub(crate) async fn hasty(handler: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve_at("127.0.0.1:0".parse().expect("address"), Box::new(handler), true).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        handler: impl Fn(&Message) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve_at(address, Box::new(handler), false).await
    }

    async fn serve_at(address: SocketAddr, handler: Box<Handler>, hasty: bool) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.set_reuseaddr(true).expect("option");
        socket.bind(address).expect("bound");
        let listener = socket.listen(1024).expect("listening");
        let address = listener.local_addr().expect("address");
        let shared = Arc::new(Shared {
            handler,
            hasty,
            seen: Mutex::default(),
            frozen: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        });
        let tasks = tokio::spawn(accept(listener, shared.clone()));
        Backend { address, shared, tasks: Mutex::new(Some(tasks)) }
    }

    /// Answers 200 with its own id as the body.
    pub(crate) async fn healthy() -> Self {
        Self::start(|_| Reply::Bytes(ok("hello"))).await
    }

    /// The id it has in the upstream set.
    pub(crate) fn id(&self) -> String {
        format!("b-{}", self.address.port())
    }

    /// Its entry in the upstream set.
    pub(crate) fn upstream(&self) -> Value {
        json!({"id": self.id(), "address": self.address.ip(), "port": self.address.port()})
    }

    /// From now on it answers nothing, not even probes; the kernel goes on accepting for it.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.shared.frozen.store(frozen, Ordering::SeqCst);
    }

    /// The requests it has had, probes left out.
    pub(crate) fn seen(&self) -> Vec<Message> {
        self.shared.seen.lock().expect("lock").clone()
    }

    /// Its open connections.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// The connections it has had.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Ends it: its connections are closed and new ones are refused.
    pub(crate) async fn stop(&self) {
        let tasks = self.tasks.lock().expect("lock").take().expect("running");
        tasks.abort();
        let _ = tasks.await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(tasks) = self.tasks.lock().expect("lock").take() {
            tasks.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.expect("accepted");
        shared.connections.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        connections.spawn(async move {
            let _count = Count(shared.clone());
            serve(tcp, &shared).await;
        });
    }
}

struct Count(Arc<Shared>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(tcp: TcpStream, shared: &Shared) {
    let mut reader = Reader::new(tcp);
    while let Some(mut request) = if shared.hasty { reader.head().await } else { reader.request().await } {
        let is_probe = request.headers.get("user-agent").is_some_and(|agent| agent == "lb-probe");
        if !is_probe {
            shared.seen.lock().expect("lock").push(request.clone());
        }
        let reply = if shared.frozen.load(Ordering::SeqCst) {
            Reply::Nothing
        } else if is_probe {
            Reply::Bytes(ok(""))
        } else {
            (shared.handler)(&request)
        };
        match reply {
            Reply::Bytes(bytes) => reader.tcp.write_all(&bytes).await.unwrap_or_default(),
            Reply::Parts(parts) => {
                for (wait, bytes) in parts {
                    if reader.closed_within(wait).await || reader.tcp.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            }
            Reply::Last(bytes) => {
                let _ = reader.tcp.write_all(&bytes).await;
                return;
            }
            Reply::Reset => {
                socket2::SockRef::from(&reader.tcp).set_linger(Some(Duration::ZERO)).expect("option");
                return;
            }
            Reply::Tunnel(bytes) => {
                reader.tcp.write_all(&bytes).await.unwrap_or_default();
                while let Some(bytes) = reader.some().await {
                    reader.tcp.write_all(&bytes).await.unwrap_or_default();
                }
                return;
            }
            Reply::Endless(bytes) => {
                // What waits in this socket is not what a test measures.
                socket2::SockRef::from(&reader.tcp).set_send_buffer_size(64 << 10).expect("option");
                let mut sent = reader.tcp.write_all(&bytes).await;
                while sent.is_ok() {
                    sent = reader.tcp.write_all(&[b'x'; 16 << 10]).await;
                }
                return;
            }
            Reply::Nothing => {}
            Reply::LeaveAfter(length) => {
                let mut read = 0;
                while read < length {
                    let Some(bytes) = reader.some().await else { return };
                    read += bytes.len();
                }
                return;
            }
            Reply::Early(bytes) => {
                reader.body_beside(&mut request, &bytes).await;
                shared.seen.lock().expect("lock").push(request);
            }
        }
    }
}

/// A whole answer of 200 with a body of known length.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// An address where nothing listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    listener.local_addr().expect("address")
}
