//! Finds out whether machines live: by their heartbeats, or by what their services have them asked.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Client;
use tokio::sync::oneshot;
use tokio::time::timeout;
use wire::heartbeat::{self, LineReader};

use super::probe::Prober;
use super::transport::{cause, stream_client};
use crate::engine::Asked;

/// Opens heartbeat streams, and asks.
#[derive(Clone)]
pub struct Guests {
    client: Client,
    prober: Prober,
}

impl Guests {
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub fn new() -> reqwest::Result<Self> {
        Ok(Guests { client: stream_client()?, prober: Prober::new()? })
    }

    /// Watches the machine at `address` as it is to be `asked`: calls `beat` for each sign of life and `readiness` with
    /// each change of that, until the machine gives none any more. Returns why. The first must come within `first_beat`.
    pub async fn watch(
        &self,
        address: SocketAddr,
        first_beat: Duration,
        asked: &Asked,
        mut beat: impl FnMut(),
        readiness: impl FnMut(bool),
    ) -> String {
        let (tell, alive) = oneshot::channel();
        let mut tell = Some(tell);
        let beat = || {
            beat();
            if let Some(tell) = tell.take() {
                // Nobody asks for more.
                let _ = tell.send(());
            }
        };
        let lives = async {
            match &asked.liveness {
                None => self.listen(address, first_beat, beat).await,
                Some(probe) => {
                    self.prober.liveness(address.ip(), address.port(), probe, first_beat, beat).await
                }
            }
        };
        let Some((probe, was_ready)) = &asked.readiness else { return lives.await };
        let is_ready = async {
            // One that gives no sign of life is not asked for more.
            if alive.await.is_ok() {
                self.prober.readiness(address.ip(), address.port(), probe, *was_ready, readiness).await;
            }
            std::future::pending::<String>().await
        };
        tokio::select! {
            reason = lives => reason,
            never = is_ready => never,
        }
    }

    /// Listens to the machine at `address` and calls `beat` for each heartbeat, until the stream breaks
    /// off. Returns why it did. The first beat must arrive within `first_beat`; later silence is for
    /// the caller to judge.
    async fn listen(&self, address: SocketAddr, first_beat: Duration, mut beat: impl FnMut()) -> String {
        let mut reader = LineReader::default();
        let opened = async {
            let url = format!("http://{address}{}", heartbeat::PATH);
            let mut response = self.client.get(url).send().await.map_err(|error| cause(&error))?;
            if !response.status().is_success() {
                return Err(format!("its heartbeat answers {}", response.status()));
            }
            while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error))? {
                if reader.feed(&chunk) > 0 {
                    return Ok(response);
                }
            }
            Err("its heartbeat ended before the first beat".to_owned())
        };
        let mut response = match timeout(first_beat, opened).await {
            Ok(Ok(response)) => response,
            Ok(Err(reason)) => return reason,
            Err(_) => return format!("no heartbeat within {} ms", first_beat.as_millis()),
        };
        beat();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    if reader.feed(&chunk) > 0 {
                        beat();
                    }
                }
                Ok(None) => return "its heartbeat ended".to_owned(),
                Err(error) => return format!("its heartbeat broke off: {}", cause(&error)),
            }
        }
    }
}
