//! Talks to the managers of the other hosts.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode};
use wire::HostName;
use wire::snapshot::Gossip;
use wire::switchover::{Switchover, SwitchoverOrder};

use super::transport::Transport;
use crate::engine::{Outcome, Words};
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

    /// Gives a peer the snapshot of `host`, which is this one, or what has changed of it.
    pub async fn tell(&self, peer: IpAddr, host: &HostName, words: &Words) -> Outcome {
        let path = format!("peers/{host}");
        let answer = match words {
            Words::Whole(all) => self.transport.ask_peer(Method::PUT, peer, &path, Some(all)).await,
            Words::Changes(changes) => {
                self.transport.ask_peer(Method::PATCH, peer, &path, Some(changes)).await
            }
        };
        let answer = match answer {
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

    /// Gives a peer packets of the membership protocol, and takes those that it answers with.
    pub async fn gossip(&self, peer: IpAddr, packets: &[Bytes]) -> Outcome {
        let body = encoded(packets);
        let answer = match self.transport.ask_peer(Method::POST, peer, "gossip", Some(&body)).await {
            Ok(answer) => answer,
            Err(reason) => return Outcome::Failed(reason),
        };
        let packets = answer.accepted().map_err(|problem| problem.detail).and_then(|answer| answer.json());
        packets.and_then(|packets: Gossip| decoded(&packets)).map_or_else(Outcome::Failed, Outcome::Gossiped)
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

/// Packets as they go over the wire.
pub(crate) fn encoded(packets: &[Bytes]) -> Gossip {
    Gossip { packets: packets.iter().map(|packet| BASE64_STANDARD.encode(packet)).collect() }
}

/// Packets as they came over the wire.
///
/// # Errors
///
/// Which of them is none, in words.
pub(crate) fn decoded(gossip: &Gossip) -> Result<Vec<Bytes>, String> {
    let decode = |(index, packet): (usize, &String)| {
        let packet = BASE64_STANDARD.decode(packet);
        packet.map(Bytes::from).map_err(|error| format!("packets[{index}] is not base64: {error}"))
    };
    gossip.packets.iter().enumerate().map(decode).collect()
}
