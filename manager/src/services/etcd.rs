//! An etcd, as far as one document is kept there: read it, and put another one in its place.
//!
//! It is asked by its JSON gateway (`/v3/kv/…`), which every member has beside gRPC. Both questions are linearizable: who
//! answers has a quorum, so that an answer says at the same time that edits are possible.
//!
//! See <https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/>: keys and values are in base64, and 64-bit numbers strings.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config;
use crate::tls::client::Client;

/// A member that has a quorum answers within this.
const TIMEOUT: Duration = Duration::from_millis(1_500);

/// The largest document, in bytes: etcd takes requests of 1.5 MiB, and base64 makes four bytes of three.
const MAX_DOCUMENT: usize = 1 << 20;

/// A document, and which change of etcd it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) revision: u64,
    pub(super) document: Vec<u8>,
}

/// What became of putting a document in the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Swapped {
    /// It is there since this revision.
    Done(u64),
    /// Another one was in its place already.
    Other,
}

/// An etcd.
#[derive(Clone)]
pub(super) struct Etcd {
    client: Client,
    endpoints: Arc<[String]>,
    /// The one that answered last.
    preferred: Arc<AtomicUsize>,
    key: String,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct KeyValue {
    mod_revision: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Txn {
    header: Header,
    #[serde(default)]
    succeeded: bool,
}

#[derive(Deserialize)]
struct Header {
    revision: String,
}

impl Etcd {
    /// The one that `etcd` names. Blocks while the disk does.
    ///
    /// # Errors
    ///
    /// Which of its files cannot be used, and why.
    pub(super) fn new(etcd: &config::Etcd) -> Result<Self, String> {
        Ok(Etcd {
            client: Client::new(tls(etcd)?, TIMEOUT),
            endpoints: etcd.endpoints.clone().into(),
            preferred: Arc::default(),
            key: BASE64_STANDARD.encode(format!("{}services", etcd.prefix)),
        })
    }

    /// The document, if there is one that came later than `known`.
    ///
    /// # Errors
    ///
    /// Why no member answered as one with a quorum.
    pub(super) async fn newer(&self, known: u64) -> Result<Option<Found>, String> {
        let least = known.saturating_add(1).to_string();
        let range: Range = self.ask("range", &json!({ "key": self.key, "min_mod_revision": least })).await?;
        let Some(KeyValue { mod_revision, value }) = range.kvs.into_iter().next() else { return Ok(None) };
        let document = BASE64_STANDARD.decode(value).map_err(|error| format!("its answer: {error}"))?;
        Ok(Some(Found { revision: number(&mod_revision)?, document }))
    }

    /// Puts `document` in the place of the one of revision `known`; of none, if that is 0.
    ///
    /// # Errors
    ///
    /// As [`Etcd::newer`]. What was not answered may have been done all the same.
    pub(super) async fn swap(&self, known: u64, document: &[u8]) -> Result<Swapped, String> {
        if document.len() > MAX_DOCUMENT {
            return Err(format!(
                "the definitions of all services have {} bytes, and it takes {MAX_DOCUMENT}",
                document.len()
            ));
        }
        let compare =
            json!({ "key": self.key, "target": "MOD", "result": "EQUAL", "mod_revision": known.to_string() });
        let put = json!({ "request_put": { "key": self.key, "value": BASE64_STANDARD.encode(document) } });
        let txn: Txn = self.ask("txn", &json!({ "compare": [compare], "success": [put] })).await?;
        let revision = number(&txn.header.revision)?;
        Ok(if txn.succeeded { Swapped::Done(revision) } else { Swapped::Other })
    }

    /// Asks one member after the other, the one first that answered last.
    async fn ask<T: serde::de::DeserializeOwned>(&self, what: &str, body: &Value) -> Result<T, String> {
        let count = self.endpoints.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut reasons = Vec::new();
        for index in (first..first + count).map(|index| index % count) {
            let endpoint = &self.endpoints[index];
            let url = format!("{endpoint}/v3/kv/{what}");
            let answer = self.client.send(Method::POST, &url, Some(body)).await;
            let answer = answer.and_then(|answer| match answer.status.is_success() {
                true => answer.json(),
                false => Err(refusal(&answer.body).unwrap_or_else(|| format!("answered {}", answer.status))),
            });
            match answer {
                Ok(answer) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(reason) => reasons.push(format!("{endpoint}: {reason}")),
            }
        }
        Err(reasons.join("; "))
    }
}

/// What etcd says is wrong.
fn refusal(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    serde_json::from_slice(body).ok().map(|Refusal { message }| message)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("its answer has `{text}` in the place of a number"))
}

fn tls(etcd: &config::Etcd) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &etcd.ca_file {
        Some(path) => {
            let wrong = |what: &dyn std::fmt::Display| format!("ca_file {}: {what}", path.display());
            for ca in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
                let ca = ca.map_err(|_| wrong(&"expected certificates as PEM"))?;
                roots.add(ca).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"expected certificates as PEM, found none"));
            }
        }
        // Endpoints without TLS need none.
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    let builder = ClientConfig::builder_with_provider(kit::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some((cert, key)) = &etcd.identity else { return Ok(builder.with_no_client_auth()) };
    let wrong = |what: &dyn std::fmt::Display| format!("cert_file {}: {what}", cert.display());
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(cert).map_err(|error| wrong(&error))?.collect();
    let chain = chain.map_err(|_| wrong(&"expected certificates as PEM"))?;
    let key_der =
        PrivateKeyDer::from_pem_file(key).map_err(|error| format!("key_file {}: {error}", key.display()))?;
    builder.with_client_auth_cert(chain, key_der).map_err(|error| wrong(&error))
}
