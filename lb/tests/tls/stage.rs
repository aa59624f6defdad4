//! A balancer with a listener for TLS, and clients of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authority::{Authority, Issued};
use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::Reader;

/// Where TLS is spoken.
pub(crate) const PORT: u16 = 8001;

/// The name that most ask for.
pub(crate) const NAME: &str = "www.example";

/// A balancer with TLS, its CA, and an upstream that shows what it was asked.
pub(crate) struct Stage {
    pub(crate) balancer: Balancer,
    pub(crate) ca: Authority,
    pub(crate) backend: Backend,
}

impl Stage {
    /// One whose `[listener.tls]` has these lines, and which has a certificate for [`NAME`].
    pub(crate) async fn new(tls: &str) -> Self {
        Self::with(tls, |_| String::new()).await
    }

    /// The same; `more` says more settings.
    pub(crate) async fn with(tls: &str, more: impl FnOnce(&Authority) -> String) -> Self {
        let ca = Authority::new("test CA");
        let own = ca.server(&[NAME]);
        let more = more(&ca);
        let balancer = Balancer::start_with_settings(|address| {
            let listener = format!("[[listener]]\naddress = \"{address}:{PORT}\"\n[listener.tls]\n{tls}\n");
            format!("{listener}{}{}", own.toml(), more.replace("ADDRESS", &address.to_string()))
        })
        .await;
        let backend = Backend::start(|request| match request.path() {
            "/never" => Reply::Nothing,
            // More than the balancer keeps to itself until it has seen all.
            "/half" => Reply::Bytes(ok(&"x".repeat(LARGE))[..LARGE / 2].to_vec()),
            "/large" => Reply::Bytes(ok(&"0123456789abcdef".repeat(LARGE / 16))),
            _ => {
                let headers = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
                Reply::Bytes(ok(&format!("{}\n{}", request.body.len(), headers.collect::<String>())))
            }
        })
        .await;
        balancer.use_backends(&[&backend]).await;
        Stage { balancer, ca, backend }
    }

    pub(crate) fn tls(&self) -> SocketAddr {
        SocketAddr::new(self.balancer.address, PORT)
    }

    /// A connection of rustls's that asks for [`NAME`].
    pub(crate) async fn connect(&self) -> Reader<TlsStream<TcpStream>> {
        Reader::new(connect(&self.ca, self.tls()).await)
    }

    /// Gives it certificates, and what else is in `more`, by push.
    pub(crate) async fn push(&self, generation: u64, certificates: &[&Issued], more: Value) -> (u16, Value) {
        let certificates: Vec<_> = certificates.iter().map(|issued| issued.json()).collect();
        let mut config = json!({
            "generation": generation,
            "routes": [{"name": "all", "pool": "p"}],
            "certificates": certificates,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        self.balancer.put("/config", &config).await
    }

    /// A figure of the balancer's, by name and labels.
    pub(crate) async fn figure(&self, name: &str) -> f64 {
        let text = self.balancer.get("/metrics").await.text().await.expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
    }

    /// Waits until so many clients were not served for this reason. Each is counted when it has had time to read
    /// why.
    pub(crate) async fn counts(&self, reason: &str, count: f64) {
        eventually(reason, async || (self.failures(reason).await >= count).then_some(())).await;
    }

    /// How many clients were not served for this reason.
    pub(crate) async fn failures(&self, reason: &str) -> f64 {
        self.figure(&format!("lb_client_failures_total{{reason=\"{reason}\"}}")).await
    }
}

/// The size of the large answer, in bytes: many records, more than kernels keep.
pub(crate) const LARGE: usize = 16 << 20;

/// What a client that believes `ca` is configured with.
pub(crate) fn believes(ca: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().into()).expect("a CA");
    let config = ClientConfig::builder_with_provider(kit::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A connection to `at` that asks for [`NAME`].
pub(crate) async fn connect(ca: &Authority, at: SocketAddr) -> TlsStream<TcpStream> {
    connect_with(believes(ca), at).await
}

/// The same, of a client with this configuration.
pub(crate) async fn connect_with(config: Arc<ClientConfig>, at: SocketAddr) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(at).await.expect("connected");
    let name = ServerName::try_from(NAME).expect("a name");
    TlsConnector::from(config).connect(name, tcp).await.expect("a handshake")
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With the word that all was sent.
    Whole,
    /// Without it.
    Cut,
}

/// Reads until the end: what came, and how it ended.
pub(crate) async fn read_to_end(stream: &mut TlsStream<TcpStream>) -> (Vec<u8>, End) {
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut all)).await;
    let end = if read.expect("it ends in time").is_ok() { End::Whole } else { End::Cut };
    (all, end)
}

/// Sends one request and reads until the end.
pub(crate) async fn ask_to_end(stream: &mut TlsStream<TcpStream>, request: &str) -> (String, End) {
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
    let (answer, end) = read_to_end(stream).await;
    (String::from_utf8_lossy(&answer).into_owned(), end)
}
