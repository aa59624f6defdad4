//! The one place that decides how the parts talk to each other. Today plain HTTP; mutual TLS will
//! come here.

use std::time::Duration;

use reqwest::{Client, Response};
use wire::Problem;

/// A connection must be there within this: all neighbours are on one segment.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A client for short questions: the whole of each takes at most `timeout`.
pub(super) fn client(timeout: Duration) -> reqwest::Result<Client> {
    Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(timeout).no_proxy().build()
}

/// A client for streams that never end.
pub(super) fn stream_client() -> reqwest::Result<Client> {
    Client::builder().connect_timeout(CONNECT_TIMEOUT).pool_max_idle_per_host(0).no_proxy().build()
}

/// What the other side found wrong, in words.
pub(super) async fn refusal(response: Response) -> Problem {
    let status = response.status();
    match response.json::<Problem>().await {
        Ok(problem) => problem,
        Err(_) => Problem::new(status.as_u16(), "Refused", format!("answered {status}")),
    }
}

/// The last cause of an error says what really happened.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
