//! TLS on the upstreams' side: rustls with the cryptography of *ring*, and none but the CAs that a pool names.
//!
//! ```text
//!   pools.NAME.tls ──▶ PoolTls (once for a pool) ──▶ UpstreamTls (each upstream's own sessions)
//!                                                          │
//!   requests (forward/connect), Pingora's path (forward/dial), checks (check/stream) ──▶ handshake
//! ```
//!
//! Sessions are resumed, of each upstream its own: a ticket is of use only where it was given. When anything of a pool's
//! TLS changes, all of it is made anew, and connections that were made by the old one are not kept (`state/upstream`).

pub(crate) mod failure;
pub(crate) mod stats;
mod trust;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wire::balancing::Secret;
use wire::certificates::Certificate;
use wire::upstream_tls::{ClientCertificate, TlsVersion, UpstreamTls as Described};

use self::failure::TlsFailure;
use super::tls::certificate::{Part, Usable};

/// The longest wait for a handshake that may be asked for, in milliseconds.
const MAX_TIMEOUT: u64 = 60_000;

/// Sessions that are kept to be resumed: with one name, and where each request has its own.
const SESSIONS: usize = 8;
const SESSIONS_OF_HOSTS: usize = 256;

/// What of a pool's TLS cannot be used, and why. It never has anything of a key in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// The field, seen from the pool's `tls`.
    pub(crate) field: &'static str,
    pub(crate) message: String,
}

impl Unusable {
    fn new(field: &'static str, message: impl Into<String>) -> Self {
        Unusable { field, message: message.into() }
    }
}

/// The TLS of a pool.
#[derive(Debug)]
pub(crate) struct PoolTls {
    config: ClientConfig,
    name: Name,
    limit: Duration,
}

/// What upstreams are asked for.
#[derive(Clone, Debug)]
enum Name {
    Address,
    Host,
    Fixed(ServerName<'static>),
}

/// The TLS of one upstream.
#[derive(Debug)]
pub(crate) struct UpstreamTls {
    pool: Arc<PoolTls>,
    config: Arc<ClientConfig>,
}

impl PoolTls {
    /// Makes what `described` says, for connections that `alpn` is spoken over.
    ///
    /// # Errors
    ///
    /// Says which field cannot be used, and what is expected.
    pub(crate) fn new(described: &Described, alpn: &[u8]) -> Result<Self, Unusable> {
        let Described { ca, ca_file, server_name, certificate, min_version, verify, timeout_ms } = described;
        let provider = kit::tls::provider();
        for (is_named, field, instead) in [
            (ca_file.is_some(), "ca_file", "ca"),
            (
                certificate.as_ref().is_some_and(|own| own.chain_file.is_some()),
                "certificate.chain_file",
                "chain",
            ),
            (certificate.as_ref().is_some_and(|own| own.key_file.is_some()), "certificate.key_file", "key"),
        ] {
            if is_named {
                let message =
                    format!("only the balancer's own file can name files: give the text as `{instead}`");
                return Err(Unusable::new(field, message));
            }
        }
        if !(1..=MAX_TIMEOUT).contains(timeout_ms) {
            return Err(Unusable::new("timeout_ms", format!("expected 1 to {MAX_TIMEOUT} milliseconds")));
        }
        let name = name(server_name.as_deref())?;
        let verifier = trust::verifier(ca.as_deref(), *verify, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions(*min_version))
            .map_err(|error| Unusable::new("min_version", error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let own = self::certificate(own)?;
                let usable = Usable::read(&own, &provider).map_err(|unusable| {
                    let field =
                        if unusable.part == Part::Key { "certificate.key" } else { "certificate.chain" };
                    Unusable::new(field, unusable.message)
                })?;
                let shown = usable.shown(SystemTime::now());
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
            }
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(PoolTls { config, name, limit: Duration::from_millis(*timeout_ms) })
    }
}

/// Whether `described` can be used.
///
/// # Errors
///
/// As [`PoolTls::new`].
pub(crate) fn check(described: &Described) -> Result<(), Unusable> {
    PoolTls::new(described, b"http/1.1").map(drop)
}

fn name(written: Option<&str>) -> Result<Name, Unusable> {
    match written {
        None => Ok(Name::Address),
        Some(Described::HOST) => Ok(Name::Host),
        Some(text) => ServerName::try_from(text.to_owned()).map(Name::Fixed).map_err(|_| {
            Unusable::new(
                "server_name",
                format!(
                    "expected a name such as \"app.internal\", an address or \"{{host}}\", found {text:?}"
                ),
            )
        }),
    }
}

fn certificate(own: &ClientCertificate) -> Result<Certificate, Unusable> {
    let expected =
        |field, name| Unusable::new(field, format!("expected a `{name}`, or in a file a `{name}_file`"));
    let chain = own.chain.clone().ok_or_else(|| expected("certificate", "chain"))?;
    let key = own.key.clone().ok_or_else(|| expected("certificate", "key"))?;
    Ok(Certificate { chain, key: Secret(key.0), ocsp: None })
}

static FROM_TLS12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match min {
        TlsVersion::Tls12 => &FROM_TLS12,
        TlsVersion::Tls13 => &FROM_TLS12[..1],
    }
}

impl UpstreamTls {
    /// That of one upstream of `pool`'s.
    pub(crate) fn new(pool: &Arc<PoolTls>) -> Self {
        let sessions = if matches!(pool.name, Name::Host) { SESSIONS_OF_HOSTS } else { SESSIONS };
        let mut config = pool.config.clone();
        config.resumption = Resumption::in_memory_sessions(sessions);
        UpstreamTls { pool: pool.clone(), config: Arc::new(config) }
    }

    /// Whether it is one of `pool`'s.
    pub(crate) fn is_of(&self, pool: &Arc<PoolTls>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }

    /// The name that a connection for requests to `host` has to be for; none where all may share it.
    pub(crate) fn name_for(&self, host: &str) -> Option<Box<str>> {
        matches!(self.pool.name, Name::Host).then(|| host.to_ascii_lowercase().into())
    }

    /// Makes `stream`, which leads to `address`, one of TLS. `name` is the one of [`Self::name_for`].
    ///
    /// # Errors
    ///
    /// Why the handshake failed; nothing but it was sent then.
    pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        address: SocketAddr,
        name: Option<&str>,
    ) -> Result<TlsStream<S>, TlsFailure> {
        let name = self.server_name(address.ip(), name);
        let shaking = Box::pin(TlsConnector::from(self.config.clone()).connect(name, stream));
        let result = match timeout(self.pool.limit, shaking).await {
            Ok(result) => result.map_err(|error| (TlsFailure::of(&error), Some(error))),
            Err(_elapsed) => Err((TlsFailure::TimedOut, None)),
        };
        match result {
            Ok(stream) if self.is_agreed(&stream) => {
                stats::shaken(stream.get_ref().1.handshake_kind());
                Ok(stream)
            }
            Ok(_) => Err(stats::failed(TlsFailure::Protocol, address, None)),
            Err((failure, error)) => Err(stats::failed(failure, address, error.as_ref())),
        }
    }

    /// Whether the other end speaks what we do. One that says nothing of it speaks HTTP/1.1 (RFC 9113, section 3.2: HTTP/2
    /// has to be agreed on).
    fn is_agreed<S>(&self, stream: &TlsStream<S>) -> bool {
        let ours = self.pool.config.alpn_protocols.first().map(Vec::as_slice);
        match stream.get_ref().1.alpn_protocol() {
            Some(theirs) => Some(theirs) == ours,
            None => ours != Some(b"h2"),
        }
    }

    fn server_name(&self, address: IpAddr, name: Option<&str>) -> ServerName<'static> {
        match (&self.pool.name, name) {
            (Name::Fixed(name), _) => name.clone(),
            // Whoever named no host, or one that is no name, is served where the certificate is for the address.
            (Name::Host, Some(name)) => ServerName::try_from(name.to_owned())
                .unwrap_or_else(|_| ServerName::IpAddress(address.into())),
            (Name::Host, None) | (Name::Address, _) => ServerName::IpAddress(address.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pem() -> String {
        let key = KeyPair::generate().expect("key");
        CertificateParams::new(vec!["a".to_owned()]).expect("names").self_signed(&key).expect("signed").pem()
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_its_field() {
        let good = Described { ca: Some(pem()), ..Described::default() };
        assert_eq!(check(&good), Ok(()));
        let own = |chain: Option<String>, key: Option<&str>| {
            let key = key.map(|key| Secret(key.to_owned()));
            Some(ClientCertificate { chain, key, ..ClientCertificate::default() })
        };
        for (wrong, field) in [
            (Described::default(), "ca"),
            (Described { ca: Some(String::new()), ..good.clone() }, "ca"),
            (Described { ca: Some(pem().replace("-----END", "")), ..good.clone() }, "ca"),
            (Described { ca_file: Some("/x".into()), ..good.clone() }, "ca_file"),
            (Described { server_name: Some("a b".to_owned()), ..good.clone() }, "server_name"),
            (Described { timeout_ms: 0, ..good.clone() }, "timeout_ms"),
            (Described { timeout_ms: MAX_TIMEOUT + 1, ..good.clone() }, "timeout_ms"),
            (Described { certificate: own(None, Some("k")), ..good.clone() }, "certificate"),
            (Described { certificate: own(Some(pem()), None), ..good.clone() }, "certificate"),
            (
                Described { certificate: own(Some("x".to_owned()), Some("very secret")), ..good.clone() },
                "certificate.chain",
            ),
            (
                Described { certificate: own(Some(pem()), Some("very secret")), ..good.clone() },
                "certificate.key",
            ),
        ] {
            let unusable = check(&wrong).expect_err(field);
            assert_eq!(unusable.field, field, "{unusable:?}");
            assert!(!unusable.message.contains("very secret"), "{unusable:?}");
        }
        assert_eq!(check(&Described { timeout_ms: MAX_TIMEOUT, ..good }), Ok(()));
        assert_eq!(check(&Described { verify: false, ..Described::default() }), Ok(()));
    }
}
