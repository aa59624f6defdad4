//! How a message gets to the collector (OTLP, section "OTLP/HTTP"): once more where the collector says so or cannot be
//! reached, a few times; what it refuses is lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use tokio::time::sleep;

use super::spans::{Finished, Origin, message};
use super::{Counts, Dropped};

/// A collector has so long to take a message.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// A message is sent so often at most.
const TRIES: u32 = 4;

/// After the first failure it is waited for so long, then for twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// A collector that asks for a longer pause does not get it.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// More of an answer is not read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Where spans go.
#[derive(Debug)]
pub(super) struct Collector {
    client: reqwest::Client,
    url: String,
    counts: Arc<Counts>,
    is_failing: bool,
}

/// Why a message has not arrived.
enum Failure {
    /// It may, if it is sent again: after this time, where the collector said one.
    Passing(String, Option<Duration>),
    /// It never will.
    Final(String),
}

impl Collector {
    /// The collector at `endpoint`.
    ///
    /// # Errors
    ///
    /// When there can be no client of HTTP.
    pub(super) fn new(endpoint: &str, counts: Arc<Counts>) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(TIME_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        Ok(Collector { client, url, counts, is_failing: false })
    }

    /// Sends `batch`, and counts what became of it.
    pub(super) async fn send(&mut self, origin: &Origin, batch: &[Finished]) {
        let spans: u64 = batch.iter().map(Finished::count).sum();
        let body = Bytes::from(message(origin, batch).encode_to_vec());
        let mut pause = FIRST_PAUSE;
        for left in (0..TRIES).rev() {
            match self.post(body.clone()).await {
                Ok((rejected, words)) => {
                    let rejected = rejected.min(spans);
                    self.counts.sent(spans - rejected);
                    self.counts.dropped(Dropped::Refused, rejected);
                    return self.note((rejected > 0).then_some(words));
                }
                Err(Failure::Passing(_, asked)) if left > 0 => {
                    sleep(asked.unwrap_or(pause).min(LONGEST_PAUSE)).await;
                    pause *= 2;
                }
                Err(failure) => {
                    let (why, words) = match failure {
                        Failure::Passing(words, _) => (Dropped::Unreachable, words),
                        Failure::Final(words) => (Dropped::Refused, words),
                    };
                    self.counts.dropped(why, spans);
                    return self.note(Some(words));
                }
            }
        }
    }

    /// One try. Returns how many spans the collector did not want, and what it says.
    async fn post(&self, body: Bytes) -> Result<(u64, String), Failure> {
        let request = self.client.post(&self.url).header(CONTENT_TYPE, "application/x-protobuf").body(body);
        let answer = request.send().await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            Failure::Passing(format!("{error}{}", cause.unwrap_or_default()), None)
        })?;
        let status = answer.status();
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ) {
            return Err(Failure::Passing(format!("it answered {status}"), pause_of(&answer)));
        }
        if !status.is_success() {
            return Err(Failure::Final(format!("it answered {status}")));
        }
        // An answer that cannot be understood does not make what was taken untaken.
        let said = ExportTraceServiceResponse::decode(read(answer).await).unwrap_or_default();
        let partial = said.partial_success.unwrap_or_default();
        Ok((u64::try_from(partial.rejected_spans).unwrap_or(0), partial.error_message))
    }

    /// Says it in the log when it begins to fail, and when that is over.
    fn note(&mut self, trouble: Option<String>) {
        let was_failing = std::mem::replace(&mut self.is_failing, trouble.is_some());
        match trouble {
            Some(why) if !was_failing => {
                tracing::warn!(url = self.url, why, "spans do not arrive; said again when they do");
            }
            None if was_failing => tracing::info!(url = self.url, "spans arrive again"),
            Some(_) | None => {}
        }
    }
}

fn pause_of(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

async fn read(mut answer: Response) -> Bytes {
    let mut body = Vec::new();
    while let Ok(Some(part)) = answer.chunk().await {
        if body.len() + part.len() > MAX_ANSWER {
            return Bytes::new();
        }
        body.extend_from_slice(&part);
    }
    body.into()
}
