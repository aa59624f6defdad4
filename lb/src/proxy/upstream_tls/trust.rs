//! Whose certificates are believed.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::Unusable;

/// The most CAs of a pool.
const MAX_CAS: usize = 1_000;

/// Believes what leads to one of `ca`; everything if not `verify`.
///
/// # Errors
///
/// When there are none, or they cannot be read.
pub(super) fn verifier(
    ca: Option<&str>,
    verify: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Unusable> {
    let roots = ca.map(roots).transpose()?;
    if !verify {
        return Ok(Arc::new(Everybody(provider.clone())));
    }
    let Some(roots) = roots else {
        return Err(Unusable::new(
            "ca",
            "expected a `ca`, or in a file a `ca_file`: those that the upstreams' certificates lead to; or `verify = \
             false`, with which anybody on the way can be the upstream",
        ));
    };
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    Ok(built.map_err(|error| Unusable::new("ca", error.to_string()))?)
}

fn roots(text: &str) -> Result<RootCertStore, Unusable> {
    let wrong = |what: &str| Unusable::new("ca", format!("expected certificates as PEM{what}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|_| wrong(": it is damaged"))?;
        if roots.len() == MAX_CAS {
            return Err(Unusable::new("ca", format!("expected at most {MAX_CAS} certificates")));
        }
        roots.add(certificate).map_err(|error| wrong(&format!(" of CAs: {error}")))?;
    }
    if roots.is_empty() { Err(wrong(", found none")) } else { Ok(roots) }
}

/// Believes every certificate whose key the other end has.
#[derive(Debug)]
struct Everybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Everybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
