//! The one place that decides how a manager talks to the others: by plain HTTP while its host belongs to no
//! cluster, by mutual TLS from then on.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use kit::tls::Live;
use serde::Serialize;

use crate::config::{Config, LB_CHANGES_PORT};
use crate::pki::keeper::Pki;
use crate::tls::client::{Answer, Client};

/// A connection must be there within this: all neighbours are on one segment.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A neighbour that lives answers a short question within this.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How the other managers and this host's balancer are reached.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    pki: Arc<Pki>,
    api_port: u16,
    tls_port: u16,
    plain: Client,
    tls: Mutex<Option<Tls>>,
}

/// A client with the credentials of one moment.
struct Tls {
    live: Arc<Live>,
    generation: u64,
    client: Client,
}

impl Transport {
    /// With the certificates that `pki` holds at the moment of each request.
    ///
    /// # Errors
    ///
    /// When no client can be made.
    pub fn new(config: &Config, pki: Arc<Pki>) -> Result<Self, rustls::Error> {
        let (api_port, tls_port) = (config.api_port, config.tls_port);
        let inner = Inner { pki, api_port, tls_port, plain: Client::plain(TIMEOUT)?, tls: Mutex::new(None) };
        Ok(Transport(Arc::new(inner)))
    }

    /// Asks the manager at `peer`.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub async fn ask_peer(
        &self,
        method: Method,
        peer: IpAddr,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, String> {
        match self.tls() {
            Some(client) => {
                client
                    .send(method, &format!("https://{}/{path}", SocketAddr::new(peer, self.0.tls_port)), body)
                    .await
            }
            // Certificates that cannot be used are no reason to do without.
            None if self.0.pki.is_initialised() => Err(UNUSABLE.to_owned()),
            None => {
                self.0
                    .plain
                    .send(method, &format!("http://{}/{path}", SocketAddr::new(peer, self.0.api_port)), body)
                    .await
            }
        }
    }

    /// Has this host's balancer take something anew.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub async fn change_balancer(
        &self,
        lb: IpAddr,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer, String> {
        self.ask_balancer(Method::PUT, lb, path, body).await
    }

    /// Has this host's balancer do `method` to something.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub(super) async fn ask_balancer(
        &self,
        method: Method,
        lb: IpAddr,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer, String> {
        let at = SocketAddr::new(lb, LB_CHANGES_PORT);
        if !self.0.pki.is_certified(lb) {
            let url = format!("http://{at}/{path}");
            return self.0.plain.send(method, &url, Some(body)).await;
        }
        let client = self.tls().ok_or(UNUSABLE)?;
        client.send(method, &format!("https://{at}/{path}"), Some(body)).await
    }

    /// Asks something by plain HTTP that anybody may know.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub async fn read(&self, url: &str) -> Result<Answer, String> {
        self.0.plain.send(Method::GET, url, None::<&()>).await
    }

    /// The same as [`Transport::change_balancer`], when all that counts is whether it was done.
    pub(crate) async fn tell_balancer(
        &self,
        lb: IpAddr,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), String> {
        let answer = self.change_balancer(lb, path, body).await?;
        answer.accepted().map(drop).map_err(|problem| problem.detail)
    }

    /// A client with the present credentials. With new ones there is a new client: connections that were made
    /// with the old ones to somebody who is not believed any more are not used again.
    fn tls(&self) -> Option<Client> {
        let live = self.0.pki.live()?;
        let generation = live.generation();
        let mut held = self.0.tls.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_ref() {
            Some(tls) if tls.generation == generation && Arc::ptr_eq(&tls.live, &live) => {
                Some(tls.client.clone())
            }
            _ => {
                let client = Client::new((*live.client()).clone(), TIMEOUT);
                *held = Some(Tls { live, generation, client: client.clone() });
                Some(client)
            }
        }
    }
}

const UNUSABLE: &str = "this host's certificates cannot be used: the log says why";

/// A client for streams that never end.
pub(super) fn stream_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).pool_max_idle_per_host(0).no_proxy().build()
}

/// The last cause of an error says what really happened.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
