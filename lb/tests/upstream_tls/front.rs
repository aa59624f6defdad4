//! TLS before a backend: what comes over it is passed on, both ways.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::authority::{Authority, Issued};
use crate::backend::{Backend, Reply, ok};
use crate::balancer::Balancer;

/// The name that certificates are for.
pub(crate) const NAME: &str = "app.internal";

/// The size of a large answer, in bytes: many records, and more than is held back.
pub(crate) const LARGE: usize = 4 << 20;

const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// An upstream that speaks TLS. Its connections end when it is dropped.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) backend: Backend,
    pub(crate) seen: Arc<Seen>,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// What a front has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) full: AtomicUsize,
    pub(crate) resumed: AtomicUsize,
    /// Connections that are open.
    pub(crate) open: AtomicUsize,
    /// The names that were asked for.
    pub(crate) names: Mutex<Vec<String>>,
    pub(crate) frozen: AtomicBool,
}

impl Front {
    /// One that shows `own` and asks for nothing.
    pub(crate) async fn new(own: &Issued) -> Self {
        Self::with(config(own, None, rustls::DEFAULT_VERSIONS)).await
    }

    pub(crate) async fn with(config: ServerConfig) -> Self {
        let backend = Backend::start(|request| match request.path() {
            "/tunnel" => Reply::Tunnel(SWITCHED.into()),
            "/large" => Reply::Bytes(ok(&"x".repeat(LARGE))),
            _ => Reply::Bytes(ok(&format!("{}", request.body.len()))),
        })
        .await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("address");
        let seen = Arc::new(Seen::default());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(accept(listener, acceptor, backend.address, seen.clone()));
        Front { address, backend, seen, task: Mutex::new(Some(AbortOnDropHandle::new(task))) }
    }

    pub(crate) fn id(&self) -> String {
        format!("f-{}", self.address.port())
    }

    pub(crate) fn upstream(&self) -> Value {
        json!({"id": self.id(), "address": self.address.ip(), "port": self.address.port()})
    }

    pub(crate) fn handshakes(&self) -> usize {
        self.seen.full.load(Ordering::SeqCst) + self.seen.resumed.load(Ordering::SeqCst)
    }

    /// The requests it has had with this method.
    pub(crate) fn had(&self, method: &str) -> usize {
        self.backend.seen().iter().filter(|request| request.start.starts_with(method)).count()
    }

    /// From now on it takes connections and says nothing, to nobody.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.seen.frozen.store(frozen, Ordering::SeqCst);
        self.backend.freeze(frozen);
    }

    /// Ends it: its connections break, and new ones are refused.
    pub(crate) fn kill(&self) {
        drop(self.task.lock().expect("lock").take());
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.expect("accepted");
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        connections.spawn(async move {
            while seen.frozen.load(Ordering::SeqCst) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let Ok(mut tls) = acceptor.accept(tcp).await else { return };
            let session = tls.get_ref().1;
            let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
            let count = if resumed { &seen.resumed } else { &seen.full };
            count.fetch_add(1, Ordering::SeqCst);
            let name = session.server_name().unwrap_or_default().to_owned();
            seen.names.lock().expect("lock").push(name);
            let _open = Open::new(&seen);
            let mut plain = TcpStream::connect(to).await.expect("connected");
            let _ = tokio::io::copy_bidirectional(&mut tls, &mut plain).await;
        });
    }
}

struct Open(Arc<Seen>);

impl Open {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.open.fetch_add(1, Ordering::SeqCst);
        Open(seen.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The TLS of a server that shows `own`, and asks for certificates of `clients` if there are any.
pub(crate) fn config(
    own: &Issued,
    clients: Option<&Authority>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ServerConfig {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(own.chain.as_bytes()).collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
    let provider = kit::tls::provider();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.der().into()).expect("a CA");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let mut config = builder.with_single_cert(chain, key).expect("a key of its own");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// The CA's certificate as a text.
pub(crate) fn pem(ca: &Authority) -> String {
    std::fs::read_to_string(ca.file()).expect("a file")
}

/// Gives `balancer` the pool `p` of `fronts`, with `tls`, and `more` of its policy.
pub(crate) async fn serve(balancer: &Balancer, fronts: &[&Front], tls: Value, more: Value) {
    push(balancer, 1, tls, more).await;
    let upstreams: Vec<_> = fronts.iter().map(|front| front.upstream()).collect();
    balancer.use_upstreams(&upstreams).await;
}

/// Pushes the configuration of this generation.
pub(crate) async fn push(balancer: &Balancer, generation: u64, tls: Value, more: Value) {
    let mut policy = more;
    policy["tls"] = tls;
    let config = json!({
        "generation": generation,
        "routes": [{"name": "all", "pool": "p"}],
        "pools": {"p": policy},
    });
    let answer = balancer.put("/config", &config).await;
    assert_eq!(answer.0, 200, "{answer:?}");
}

/// A figure of the balancer's, by name and labels.
pub(crate) async fn figure(balancer: &Balancer, name: &str) -> f64 {
    let text = balancer.get("/metrics").await.text().await.expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}
