//! Talks to the managers of the other hosts.

use std::net::IpAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use wire::snapshot::HostSnapshot;
use wire::switchover::{Switchover, SwitchoverOrder};

use super::transport::Transport;
use crate::engine::Outcome;
use crate::tls::client::Answer;

/// A peer that carries out a switchover is asked this often how far it is.
const LOOK: Duration = Duration::from_millis(50);

/// A client of other managers.
#[derive(Clone)]
pub struct Peers {
    transport: Transport,
    local: IpAddr,
}

impl Peers {
    /// A client of managers; they know us by our address `local`.
    pub fn new(local: IpAddr, transport: Transport) -> Self {
        Peers { transport, local }
    }

    /// Gives a peer this host's snapshot.
    pub async fn tell(&self, peer: IpAddr, snapshot: &HostSnapshot) -> Outcome {
        let path = format!("peers/{}", snapshot.host);
        let answer = match self.transport.ask_peer(Method::PUT, peer, &path, Some(snapshot)).await {
            Ok(answer) => answer,
            Err(reason) => return Outcome::Failed(reason),
        };
        let conflict = answer.status == StatusCode::CONFLICT;
        match answer.accepted() {
            Ok(answer) => answer.json().map_or_else(Outcome::Failed, Outcome::Told),
            Err(problem) => match problem.held {
                Some(held) if conflict => Outcome::Stale(held),
                _ => Outcome::Failed(format!("{} (we are {})", problem.detail, self.local)),
            },
        }
    }

    /// Has a peer carry out a switchover, and waits for its end.
    pub async fn switch_over(&self, peer: IpAddr, order: &SwitchoverOrder) -> Outcome {
        let mut answer = self.transport.ask_peer(Method::POST, peer, "switchover", Some(order)).await;
        let mut number = None;
        loop {
            let view = match answer.map(Answer::accepted) {
                Ok(Ok(answer)) => answer.json::<Switchover>(),
                Ok(Err(problem)) => return Outcome::Failed(problem.detail),
                Err(reason) => return Outcome::Failed(reason),
            };
            match view {
                Ok(view) if *number.get_or_insert(view.number) != view.number => {
                    return Outcome::Failed("another switchover was begun meanwhile".to_owned());
                }
                Ok(view) if view.state.is_over() => return Outcome::SwitchedOver(Box::new(view)),
                Ok(_) => {}
                Err(reason) => return Outcome::Failed(reason),
            }
            tokio::time::sleep(LOOK).await;
            answer = self.transport.ask_peer(Method::GET, peer, "switchover", None::<&()>).await;
        }
    }
}
