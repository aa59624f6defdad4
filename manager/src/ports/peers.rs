//! Talks to the managers of the other hosts.

use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use wire::snapshot::HostSnapshot;
use wire::switchover::{Switchover, SwitchoverOrder};

use super::transport::{cause, client, refusal};
use crate::engine::Outcome;

/// A living peer answers within this.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A peer that carries out a switchover is asked this often how far it is.
const LOOK: Duration = Duration::from_millis(50);

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
    /// Has a peer carry out a switchover, and waits for its end.
    pub async fn switch_over(&self, peer: Ipv4Addr, order: &SwitchoverOrder) -> Outcome {
        let url = format!("http://{peer}:{}/switchover", self.port);
        let mut answer = self.client.post(&url).json(order).send().await;
        let mut number = None;
        loop {
            let view = match answer {
                Ok(response) if response.status().is_success() => response.json::<Switchover>().await,
                Ok(response) => return Outcome::Failed(refusal(response).await.detail),
                Err(error) => return Outcome::Failed(cause(&error)),
            };
            match view {
                Ok(view) if *number.get_or_insert(view.number) != view.number => {
                    return Outcome::Failed("another switchover was begun meanwhile".to_owned());
                }
                Ok(view) if view.state.is_over() => return Outcome::SwitchedOver(Box::new(view)),
                Ok(_) => {}
                Err(error) => return Outcome::Failed(cause(&error)),
            }
            tokio::time::sleep(LOOK).await;
            answer = self.client.get(&url).send().await;
        }
    }
}
