//! Certificates get old while connections live.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use kit::tls::{Clients, Live};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wire::tls::Credentials;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::run::PATIENCE;
use crate::stage::{Host, network};

/// A connection, and the serial number and end (in seconds since 1970) of the certificate at its other end.
pub(crate) struct Connection {
    requests: hyper::client::conn::http1::SendRequest<Empty<bytes::Bytes>>,
    pub(crate) serial: String,
    pub(crate) until: i64,
}

impl Connection {
    pub(crate) async fn open(credentials: &Credentials, to: SocketAddr) -> Self {
        let live = Live::new(credentials, Clients::Anybody).expect("usable");
        let stream = TcpStream::connect(to).await.expect("connected");
        let name = ServerName::IpAddress(to.ip().into());
        let connector = TlsConnector::from(Arc::clone(&live.client()));
        let stream = connector.connect(name, stream).await.expect("TLS");
        let shown = stream.get_ref().1.peer_certificates().expect("certificates")[0].clone().into_owned();
        let (_, shown) = X509Certificate::from_der(&shown).expect("a certificate");
        let (serial, until) = (shown.raw_serial_as_string(), shown.validity().not_after.timestamp());
        let (requests, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        Connection { requests, serial, until }
    }

    /// Whether a request is answered.
    pub(crate) async fn works(&mut self, method: Method, path: &str) -> Option<u16> {
        let request =
            http::Request::builder().method(method).uri(path).header("host", "x").body(Empty::new());
        self.requests.ready().await.ok()?;
        Some(self.requests.send_request(request.expect("a request")).await.ok()?.status().as_u16())
    }
}

#[tokio::test]
async fn a_managers_certificate_is_renewed_under_a_running_connection() {
    let [_, x, y, _] = network();
    let pool = format!("127.{x}.{y}.10-127.{x}.{y}.16");
    let mut host = Host::with("a", 1, &pool, "certificate_lifetime = \"6s\"");
    host.run(&["init"]).ok();
    host.start();
    let at = SocketAddr::from((host.address, 8443));
    let credentials = host.credentials();
    let mut first = Connection::open(&credentials, at).await;
    let mut serials = vec![first.serial.clone()];
    let limit = Instant::now() + PATIENCE;
    // Until the first one has expired and two others have followed it.
    while serials.len() < 3 || now() <= first.until {
        assert!(Instant::now() < limit, "{serials:?}");
        assert_eq!(first.works(Method::GET, "/health/live").await, Some(204));
        let mut other = Connection::open(&credentials, at).await;
        assert!(other.until > now(), "no expired certificate is ever shown");
        assert_eq!(other.works(Method::GET, "/health/live").await, Some(204));
        if serials.last() != Some(&other.serial) {
            serials.push(other.serial);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(first.works(Method::GET, "/health/live").await, Some(204));
}

#[tokio::test]
async fn peers_go_on_hearing_each_other_over_renewals() {
    let [_, x, y, _] = network();
    let settings = "certificate_lifetime = \"5s\"";
    let mut a = Host::with("a", 1, &format!("127.{x}.{y}.10"), settings);
    let mut b = Host::with("b", 2, &format!("127.{x}.{y}.20"), settings);
    a.run(&["init"]).ok();
    a.start();
    b.join(&a);
    b.start();
    a.hears("b", true).await;
    let renewals = |host: &Host| host.logged().matches("this host's certificate is renewed").count();
    let limit = Instant::now() + PATIENCE;
    while renewals(&a) < 3 || renewals(&b) < 3 {
        assert!(Instant::now() < limit, "{}", a.logged());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    a.hears("b", true).await;
    b.hears("a", true).await;
    for host in [&a, &b] {
        assert!(!host.logged().contains("has expired"), "{}", host.logged());
    }
}

fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}
