//! Talks to the managers of the other hosts.

use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use wire::snapshot::HostSnapshot;

use super::transport::{cause, client, refusal};
use crate::engine::Outcome;

/// A living peer answers within this.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A client of other managers.
#[derive(Clone)]
pub struct Peers {
    client: Client,
    local: Ipv4Addr,
    port: u16,
}

impl Peers {
    /// A client of managers whose API is on `port`; they know us by our address `local`.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub fn new(local: Ipv4Addr, port: u16) -> reqwest::Result<Self> {
        Ok(Peers { client: client(TIMEOUT)?, local, port })
    }

    /// Gives a peer this host's snapshot.
    pub async fn tell(&self, peer: Ipv4Addr, snapshot: &HostSnapshot) -> Outcome {
        let url = format!("http://{peer}:{}/peers/{}", self.port, snapshot.host);
        let response = match self.client.put(url).json(snapshot).send().await {
            Ok(response) => response,
            Err(error) => return Outcome::Failed(cause(&error)),
        };
        if response.status().is_success() {
            return match response.json().await {
                Ok(ack) => Outcome::Told(ack),
                Err(error) => Outcome::Failed(cause(&error)),
            };
        }
        let conflict = response.status() == StatusCode::CONFLICT;
        let problem = refusal(response).await;
        match problem.held {
            Some(held) if conflict => Outcome::Stale(held),
            _ => Outcome::Failed(format!("{} (we are {})", problem.detail, self.local)),
        }
    }
}
