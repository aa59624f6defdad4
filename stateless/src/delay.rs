//! Makes the whole service slow for a while, as a machine is whose disk or neighbour is. Only where
//! `test_routes` is on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use kit::api::{ApiError, Query};
use serde::Deserialize;
use wire::Problem;

use crate::app::Shared;
use crate::random::number;

const MAX_DELAY_MILLIS: u64 = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Delay {
    #[serde(deserialize_with = "number")]
    millis: i64,
}

/// From now on every answer is held back for so long, until it is told otherwise.
#[utoipa::path(put, path = "/delay", params(("millis" = i64, Query, description = "0 to 10000")),
    responses((status = 200), (status = 400, body = Problem)))]
pub(crate) async fn set_delay(State(app): State<Shared>, Query(delay): Query<Delay>) -> Result<(), ApiError> {
    let millis =
        u64::try_from(delay.millis).ok().filter(|millis| *millis <= MAX_DELAY_MILLIS).ok_or_else(|| {
            let detail = format!("`millis` is {}; allowed is 0 to {MAX_DELAY_MILLIS}", delay.millis);
            Problem::bad_parameter("millis", detail)
        })?;
    app.delay_ms.store(millis, Ordering::Relaxed);
    Ok(())
}

/// Holds an answer back for as long as it was told to.
pub(crate) async fn delay(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let millis = app.delay_ms.load(Ordering::Relaxed);
    let response = next.run(request).await;
    if millis > 0 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    response
}
