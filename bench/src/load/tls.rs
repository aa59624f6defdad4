//! The client's side of TLS.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Sessions that are remembered.
const SESSIONS: usize = 4_096;

/// A client that believes the certificates in `file`.
///
/// # Errors
///
/// When there are none.
pub(super) fn client(file: &Path, resume: bool) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let cannot = || format!("{} has no certificates that can be used", file.display());
    for certificate in CertificateDer::pem_file_iter(file).with_context(cannot)? {
        roots.add(certificate.with_context(cannot)?).with_context(cannot)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption =
        if resume { Resumption::in_memory_sessions(SESSIONS) } else { Resumption::disabled() };
    Ok(Arc::new(config))
}
