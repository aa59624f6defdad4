//! Short requests, plain or by TLS.
//!
//! hyper's own client with rustls below it: what is believed is decided by the given configuration alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kit::tls::explain;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::Problem;

/// A connection must be there within this: all neighbours are on one segment.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Idle connections are kept for so long: a peer is told twice a second.
const IDLE: Duration = Duration::from_secs(30);

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = kit::api::MAX_BODY;

/// A client; clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

impl Client {
    /// A client that believes and shows what `tls` says; the whole of each request takes at most `timeout`.
    pub fn new(tls: ClientConfig, timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT.min(timeout)));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Client { http, timeout }
    }

    /// A client that believes no certificate, for plain HTTP.
    ///
    /// # Errors
    ///
    /// Never in practice: when there is no cryptography for TLS 1.3.
    pub fn plain(timeout: Duration) -> Result<Self, rustls::Error> {
        let tls = ClientConfig::builder_with_provider(kit::tls::provider())
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(Arc::new(RootCertStore::empty()))
            .with_no_client_auth();
        Ok(Client::new(tls, timeout))
    }

    /// Sends a request; `body` goes as JSON.
    ///
    /// # Errors
    ///
    /// Why there was no answer, in words. A refusal is an answer.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(url);
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                serde_json::to_vec(body).map_err(|error| error.to_string())?
            }
            None => Vec::new(),
        };
        let request = request.body(Full::from(body)).map_err(|error| error.to_string())?;
        let answered = async {
            let response = self.http.request(request).await.map_err(|error| cause(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| cause(error.as_ref()))?.to_bytes();
            Ok(Answer { status, body })
        };
        match tokio::time::timeout(self.timeout, answered).await {
            Ok(answered) => answered,
            Err(_) => Err(format!("no answer within {} ms", self.timeout.as_millis())),
        }
    }
}

impl Answer {
    /// The body as `T`.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body)
            .map_err(|error| format!("its answer cannot be understood: {error}"))
    }

    /// The answer, unless it is a refusal; then what the other side found wrong.
    ///
    /// # Errors
    ///
    /// The problem that it was refused with.
    pub fn accepted(self) -> Result<Self, Problem> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(serde_json::from_slice(&self.body).unwrap_or_else(|_| {
            Problem::new(self.status.as_u16(), "Refused", format!("answered {}", self.status))
        }))
    }
}

/// What TLS has to say about it; else the last cause, which says what really happened.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(words) = explain(error) {
        return words;
    }
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
