//! The first request to a cluster: nothing is known of it but the fingerprint of its CA, from the join token.
//!
//! A manager shows its CA's certificate with its own. If that has the fingerprint, it is *the* CA, and everything
//! else is checked as ever: that the CA stands behind the certificate, and that it is for this address. The secret
//! is sent only after that.

use std::sync::Arc;

use kit::tls::provider;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use thiserror::Error as ThisError;

use crate::pki::PkiError;

/// Whoever answered is not of the cluster that the token is for.
#[derive(Debug, ThisError)]
#[error(
    "the one who answers does not belong to the cluster that gave this token: either the address or the token is of \
     another cluster, or somebody is in between. Nothing was sent to it"
)]
pub struct WrongCluster;

/// TLS with whoever has a certificate of the CA with this fingerprint.
///
/// # Errors
///
/// When there is no cryptography for TLS 1.3.
pub fn config(fingerprint: &str) -> Result<ClientConfig, PkiError> {
    let verifier = Pinned { fingerprint: fingerprint.to_owned(), provider: provider() };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| PkiError::Damaged(error.to_string()))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_pinned = |shown: &&CertificateDer<'_>| {
            crate::pki::hex(&Sha256::digest(shown.as_ref())) == self.fingerprint
        };
        let Some(ca) = intermediates.iter().find(is_pinned) else {
            return Err(Error::Other(OtherError(Arc::new(WrongCluster))));
        };
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
