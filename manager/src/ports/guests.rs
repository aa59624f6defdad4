//! Listens to machines' heartbeats.

use std::net::SocketAddrV4;
use std::time::Duration;

use reqwest::Client;
use tokio::time::timeout;
use wire::heartbeat::{self, LineReader};

use super::transport::{cause, stream_client};

/// Opens heartbeat streams.
#[derive(Clone)]
pub struct Guests {
    client: Client,
}

impl Guests {
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub fn new() -> reqwest::Result<Self> {
        Ok(Guests { client: stream_client()? })
    }

    /// Listens to the machine at `address` and calls `beat` for each heartbeat, until the stream breaks
    /// off. Returns why it did. The first beat must arrive within `first_beat`; later silence is for
    /// the caller to judge.
    pub async fn listen(
        &self,
        address: SocketAddrV4,
        first_beat: Duration,
        mut beat: impl FnMut(),
    ) -> String {
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
