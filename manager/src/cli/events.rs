//! `manager events`: what happened, and what happens.

use anyhow::{Result, bail};
use reqwest::{Method, header};
use wire::cluster::ClusterEvent;

use super::Client;
use super::print::line;
use super::table;

/// What `manager events` takes.
#[derive(clap::Args, Debug)]
pub struct EventsArgs {
    /// Go on with what happens, as it happens, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Show so many of those that are remembered, at most.
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50)]
    count: usize,
}

impl Client {
    /// `manager events`.
    ///
    /// # Errors
    ///
    /// When the manager cannot be asked, or goes away while it is followed.
    pub fn events(&self, args: &EventsArgs) -> Result<()> {
        let path = format!("/events/history?count={}", args.count);
        let history: Vec<ClusterEvent> = self.ask(Method::GET, &path, None::<&()>)?;
        for event in &history {
            line(&self.output().text(event, table::event)?)?;
        }
        if !args.follow {
            return Ok(());
        }
        // Nothing that happens between the two questions is lost or shown twice.
        let last = history.last().map(|event| event.sequence);
        self.block_on(self.follow(last))
    }

    async fn follow(&self, last: Option<u64>) -> Result<()> {
        let mut request = self.get("/events");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.header(header::ACCEPT, "text/event-stream");
        let mut response = self.accepted(self.url(), request.send().await).await?;
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            text.extend_from_slice(&chunk);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let read: Vec<u8> = text.drain(..=end).collect();
                if let Some(data) = read.strip_prefix(b"data:") {
                    let event = serde_json::from_slice::<ClusterEvent>(data)?;
                    line(&self.output().text(&event, table::event)?)?;
                }
            }
        }
        bail!("the manager ended the stream")
    }
}
