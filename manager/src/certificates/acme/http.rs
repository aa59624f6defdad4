//! How an ACME server is asked: over TLS only, with the CAs of the configuration or the system's, and within bounds.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Limited;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::config::Acme;

/// A connection must be there within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server answers a request within this.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer that is read, in bytes: chains of certificates are some KiB.
const MAX_ANSWER: usize = 1 << 20;

/// A client of the server that `acme` names. Blocks while the disk does.
///
/// # Errors
///
/// When there are no CAs to believe.
pub(super) fn client(acme: &Acme) -> Result<Box<dyn HttpClient>, String> {
    let tls = ClientConfig::builder_with_provider(kit::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(Arc::new(roots(acme)?))
        .with_no_client_auth();
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http1()
        .wrap_connector(connector);
    Ok(Box::new(Client(legacy::Client::builder(TokioExecutor::new()).build(connector))))
}

fn roots(acme: &Acme) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &acme.ca_file {
        let wrong = |what: &dyn std::fmt::Display| format!("ca_file {}: {what}", path.display());
        let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
        for ca in found {
            let ca = ca.map_err(|_| wrong(&"expected certificates as PEM"))?;
            roots.add(ca).map_err(|error| wrong(&error))?;
        }
        return if roots.is_empty() {
            Err(wrong(&"expected certificates as PEM, found none"))
        } else {
            Ok(roots)
        };
    }
    let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this host has no CAs: install the package ca-certificates, or say ca_file".to_owned());
    }
    Ok(roots)
}

struct Client(legacy::Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answered = self.0.request(request);
        Box::pin(async move {
            match tokio::time::timeout(TIMEOUT, answered).await {
                Ok(Ok(answer)) => Ok(BytesResponse::from(answer.map(|body| Limited::new(body, MAX_ANSWER)))),
                Ok(Err(error)) => Err(Error::Other(Box::new(error))),
                Err(_) => Err(Error::Str("an answer within 30 seconds")),
            }
        })
    }
}
