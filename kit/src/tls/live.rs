//! What a process shows and believes, replaceable while it serves.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use thiserror::Error;
use wire::HostName;
use wire::tls::Credentials;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::provider;

/// Credentials that cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Something is no PEM, or not of the expected kind.
    #[error("{0}: expected PEM")]
    Pem(&'static str),
    /// The parts do not fit together.
    #[error("{0}")]
    Unusable(String),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        TlsError::Unusable(error.to_string())
    }
}

/// Whether who connects must show a certificate. One that is shown must be good in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Without one nobody gets in.
    Certified,
    /// Whoever shows none is nobody in particular.
    Anybody,
}

/// Credentials in use.
pub struct Live {
    clients: Clients,
    current: ArcSwap<Current>,
    generation: AtomicU64,
}

struct Current {
    host: HostName,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Live {
    /// Uses `credentials`.
    ///
    /// # Errors
    ///
    /// When they cannot be used.
    pub fn new(credentials: &Credentials, clients: Clients) -> Result<Self, TlsError> {
        let current = Current::new(credentials, clients)?;
        Ok(Live { clients, current: ArcSwap::from_pointee(current), generation: AtomicU64::new(0) })
    }

    /// Uses `credentials` from now on. Connections live on, unless their other end is not believed any more.
    ///
    /// # Errors
    ///
    /// When they cannot be used; then nothing has changed.
    pub fn replace(&self, credentials: &Credentials) -> Result<(), TlsError> {
        self.current.store(Arc::new(Current::new(credentials, self.clients)?));
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// The host that the credentials are of.
    pub fn host(&self) -> HostName {
        self.current.load().host.clone()
    }

    /// For connections to others of the cluster.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.load().client)
    }

    /// Grows with each replacement.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }

    /// Whether a client with this chain, in PEM, would be let in now.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn verify_pem(&self, chain: &str) -> Result<(), TlsError> {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
        Ok(self.verify(&chain.map_err(|_| TlsError::Pem("chain"))?)?)
    }

    /// Whether a client with this chain would be let in now.
    pub(super) fn verify(&self, chain: &[CertificateDer<'static>]) -> Result<(), rustls::Error> {
        let Some((leaf, intermediates)) = chain.split_first() else { return Ok(()) };
        self.current.load().verifier.verify_client_cert(leaf, intermediates, UnixTime::now()).map(drop)
    }
}

impl Current {
    fn new(credentials: &Credentials, clients: Clients) -> Result<Self, TlsError> {
        let Credentials { host, ca, chain, key, revocations } = credentials;
        let ca = CertificateDer::from_pem_slice(ca.as_bytes()).map_err(|_| TlsError::Pem("ca"))?;
        let mut shown = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| TlsError::Pem("chain"))?;
        match shown.first().and_then(host_of) {
            Some(issuer) if issuer == *host => {}
            Some(issuer) => {
                return Err(TlsError::Unusable(format!(
                    "the certificate is of host `{issuer}`, not of `{host}`"
                )));
            }
            None => return Err(TlsError::Pem("chain")),
        }
        // With the CA: somebody who joins knows nothing of it but its fingerprint.
        shown.push(ca.clone());
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| TlsError::Pem("key"))?;
        let revoked = CertificateRevocationListDer::from_pem_slice(revocations.as_bytes())
            .map_err(|_| TlsError::Pem("revocations"))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca)?;
        let roots = Arc::new(roots);
        let unusable = |error: rustls::server::VerifierBuilderError| TlsError::Unusable(error.to_string());
        // The CA's list is of intermediates; those keep no lists of their own.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .with_crls([revoked.clone()])
            .allow_unknown_revocation_status();
        let verifier = match clients {
            Clients::Certified => verifier,
            Clients::Anybody => verifier.allow_unauthenticated(),
        };
        let verifier = verifier.build().map_err(unusable)?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .with_crls([revoked])
            .allow_unknown_revocation_status()
            .build()
            .map_err(unusable)?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(shown.clone(), key.clone_key())?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_webpki_verifier(servers)
            .with_client_auth_cert(shown, key)?;
        client.resumption = Resumption::disabled();
        Ok(Current { host: host.clone(), server: Arc::new(server), client: Arc::new(client), verifier })
    }
}

/// The host whose intermediate issued `certificate`.
pub(super) fn host_of(certificate: &CertificateDer<'_>) -> Option<HostName> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.issuer().iter_common_name().next()?.as_str().ok()?;
    Some(HostName::from(name))
}

/// The IPv4 address that `certificate` is for.
pub(super) fn address_of(certificate: &CertificateDer<'_>) -> Option<IpAddr> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::IPAddress(octets) => <[u8; 4]>::try_from(*octets).ok().map(IpAddr::from),
        _ => None,
    })
}
