//! Routes that behave in a chosen way, so that a test can see through the balancer what became of its
//! requests. They exist only where `test_routes` is on.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use kit::api::{ApiError, Json, Path, Query};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wire::Problem;

use crate::app::Shared;
use crate::random::number;

const MAX_STRESS_SECONDS: f64 = 60.0;
const MAX_BURN_MILLIS: i64 = 10_000;
/// The longest     ids.kept.iter().flat_map(|id| [id.as_str(), "\n"]).collect() of a counted POST, in bytes.
const MAX_ID: usize = 64;
/// So many ids are kept; later ones are counted only.
const MAX_IDS: usize = 1_000_000;
const MAX_BYTES: u64 = 100 << 20;
/// What `/bytes` sends at a time.
const CHUNK: &[u8] = &[b'.'; 64 << 10];
/// How an echo tells the method it was sent with.
const ECHO_METHOD: HeaderName = HeaderName::from_static("x-echo-method");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    #[serde(default = "two_seconds", deserialize_with = "number")]
    seconds: f64,
}

fn two_seconds() -> f64 {
    2.0
}

/// How long a request was worked on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Spent {
    /// The time between its start and its answer.
    seconds: f64,
}

fn spent(begun: Instant) -> Json<Spent> {
    Json(Spent { seconds: begun.elapsed().as_secs_f64() })
}

/// Answers after a wait that costs nothing.
#[utoipa::path(get, path = "/stress",
    params(("seconds" = Option<f64>, Query, description = "0 to 60; 2 when absent")),
    responses((status = 200, body = Spent), (status = 400, body = Problem)))]
pub(crate) async fn stress(Query(wait): Query<Wait>) -> Result<Json<Spent>, ApiError> {
    let seconds = wait.seconds;
    if !(0.0..=MAX_STRESS_SECONDS).contains(&seconds) {
        let detail = format!("`seconds` is {seconds}; allowed is 0 to {MAX_STRESS_SECONDS}");
        return Err(Problem::bad_parameter("seconds", detail).into());
    }
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    Ok(spent(begun))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Burn {
    #[serde(default = "tenth", deserialize_with = "number")]
    millis: i64,
}

fn tenth() -> i64 {
    100
}

/// Keeps one core busy, then answers.
#[utoipa::path(get, path = "/burn",
    params(("millis" = Option<i64>, Query, description = "0 to 10000; 100 when absent")),
    responses((status = 200, body = Spent), (status = 400, body = Problem)))]
pub(crate) async fn burn(Query(burn): Query<Burn>) -> Result<Json<Spent>, ApiError> {
    let millis =
        u64::try_from(burn.millis).ok().filter(|_| burn.millis <= MAX_BURN_MILLIS).ok_or_else(|| {
            let detail = format!("`millis` is {}; allowed is 0 to {MAX_BURN_MILLIS}", burn.millis);
            Problem::bad_parameter("millis", detail)
        })?;
    let begun = Instant::now();
    let end = begun + Duration::from_millis(millis);
    // On a thread of its own: heartbeats must go on while a request is at work.
    tokio::task::spawn_blocking(move || {
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    })
    .await
    .map_err(|error| Problem::new(500, "Internal error", error.to_string()))?;
    Ok(spent(begun))
}

/// Answers with the given status.
#[utoipa::path(get, path = "/status/{code}", params(("code" = u16, Path, description = "200 to 599")),
    responses((status = 200), (status = 400, body = Problem)))]
pub(crate) async fn status(Path(code): Path<u16>) -> Result<StatusCode, ApiError> {
    match StatusCode::from_u16(code) {
        Ok(status) if (200..=599).contains(&code) => Ok(status),
        _ => Err(Problem::bad_parameter("code", format!("`code` is {code}; allowed is 200 to 599")).into()),
    }
}

/// Answers with so many bytes, sent as the client takes them.
#[utoipa::path(get, path = "/bytes/{n}", params(("n" = u64, Path, description = "0 to 104857600")),
    responses((status = 200, content_type = "application/octet-stream"), (status = 400, body = Problem)))]
pub(crate) async fn bytes(Path(n): Path<u64>) -> Result<Response, ApiError> {
    if n > MAX_BYTES {
        return Err(Problem::bad_parameter("n", format!("`n` is {n}; allowed is 0 to {MAX_BYTES}")).into());
    }
    let chunks = stream::unfold(n, |left| async move {
        let size = usize::try_from(left).map_or(CHUNK.len(), |left| left.min(CHUNK.len()));
        let chunk = Ok::<_, Infallible>(Bytes::from_static(&CHUNK[..size]));
        (size > 0).then_some((chunk, left - size as u64))
    });
    let head = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, n.to_string()),
    ];
    Ok((head, Body::from_stream(chunks)).into_response())
}

/// Gives the body back as it came, and the method in `x-echo-method`.
#[utoipa::path(method(get, head, post, put, delete, patch, options), path = "/echo", request_body = String,
    responses((status = 200, body = String), (status = 413, body = Problem)))]
pub(crate) async fn echo(
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, ApiError> {
    let body =
        body.map_err(|error| Problem::new(error.status().as_u16(), "Bad request body", error.body_text()))?;
    let mut response = ([(ECHO_METHOD, method.as_str().to_owned())], body).into_response();
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    Ok(response)
}

/// The executed POSTs of this machine since its start.
#[derive(Debug, Serialize, ToSchema)]
pub struct Posts {
    posts: u64,
}

/// The ids of the executed POSTs, in the order of their execution.
#[derive(Debug, Default)]
pub struct Ids {
    kept: Vec<String>,
    file: Option<File>,
}

impl Ids {
    /// None yet; later ones are added to `file` too.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub(crate) fn new(file: Option<&std::path::Path>) -> anyhow::Result<Self> {
        let open = |path: &std::path::Path| {
            let file = File::options().append(true).create(true).open(path);
            file.with_context(|| format!("`count_file` {}: cannot be written", path.display()))
        };
        Ok(Ids { kept: Vec::new(), file: file.map(open).transpose()? })
    }

    /// Written before it is answered, in one piece: whoever is killed at any moment has not executed more
    /// than the file says.
    fn keep(&mut self, id: String) -> Result<(), ApiError> {
        if let Some(file) = &mut self.file {
            let written = file.write_all(format!("{id}\n").as_bytes());
            written.map_err(|error| Problem::new(500, "Not counted", format!("`count_file`: {error}")))?;
        }
        if self.kept.len() < MAX_IDS {
            self.kept.push(id);
        }
        Ok(())
    }
}

/// Counts itself: a POST that was executed twice is seen. The body, up to 64 bytes of text, is kept as its
/// id.
#[utoipa::path(post, path = "/count", request_body = String,
    responses((status = 200, body = Posts), (status = 400, body = Problem)))]
pub(crate) async fn count(
    State(app): State<Shared>,
    kit::api::Body(id): kit::api::Body,
) -> Result<Json<Posts>, ApiError> {
    let id = String::from_utf8(id.to_vec())
        .map_err(|_| Problem::bad_body("an id that is no text: expected UTF-8, or no body at all"))?;
    if id.len() > MAX_ID {
        return Err(
            Problem::bad_body(format!("an id of {} bytes; at most {MAX_ID} are kept", id.len())).into()
        );
    }
    if !id.is_empty() {
        app.ids.lock().unwrap_or_else(PoisonError::into_inner).keep(id)?;
    }
    Ok(Json(Posts { posts: app.posts.fetch_add(1, Ordering::Relaxed) + 1 }))
}

/// The ids of the executed POSTs, one a line, as often as each was executed.
#[utoipa::path(get, path = "/count/ids", responses((status = 200, body = String)))]
pub(crate) async fn ids(State(app): State<Shared>) -> String {
    let ids = app.ids.lock().unwrap_or_else(PoisonError::into_inner);
    ids.kept.iter().flat_map(|id| [id.as_str(), "\n"]).collect()
}

/// How many POSTs this machine has executed.
#[utoipa::path(get, path = "/count", responses((status = 200, body = Posts)))]
pub(crate) async fn counted(State(app): State<Shared>) -> Json<Posts> {
    Json(Posts { posts: app.posts.load(Ordering::Relaxed) })
}
