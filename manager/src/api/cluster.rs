//! `/cluster` and what else shows how things are.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use kit::api::{Json, Query};
use serde::Deserialize;
use tokio_stream::wrappers::BroadcastStream;
use utoipa::IntoParams;
use wire::cluster::{AddressView, ClusterEvent, ClusterView};

use super::Api;
use crate::executor::REMEMBERED;
use crate::metrics::Look;

/// The whole cluster, as this manager sees it.
#[utoipa::path(get, path = "/cluster", responses((status = 200, body = ClusterView)))]
pub(super) async fn cluster(State(api): State<Api>) -> Json<ClusterView> {
    Json(api.shared.look(|engine, now| engine.cluster(now)))
}

/// Everything that happens from now on, as server-sent events. Who was connected before and says with
/// `Last-Event-ID` what it got last gets what it missed, as far as that is remembered. A watcher that is too slow
/// is told how many it missed, as a comment.
#[utoipa::path(get, path = "/events", params(
    ("Last-Event-ID" = Option<u64>, Header, description = "the `id` of the last event that was seen"),
), responses((status = 200, body = ClusterEvent, content_type = "text/event-stream")))]
pub(super) async fn events(
    State(api): State<Api>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let (missed, next) = api.shared.subscribe_after(last.unwrap_or(u64::MAX));
    let next = BroadcastStream::new(next).map(|event| match event {
        Ok(event) => told(&event),
        Err(missed) => Event::default().comment(missed.to_string()),
    });
    let missed: Vec<Event> = missed.iter().map(told).collect();
    Sse::new(stream::iter(missed).chain(next).map(Ok)).keep_alive(KeepAlive::default())
}

fn told(event: &ClusterEvent) -> Event {
    let data = serde_json::to_string(event).unwrap_or_default();
    Event::default().id(event.sequence.to_string()).event(event.kind.clone()).data(data)
}

/// The question of `GET /events/history`.
#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct HistoryQuery {
    /// How many at most; all that are remembered when absent.
    count: Option<usize>,
}

/// What happened lately on this host, the oldest first: the last events since the manager started.
#[utoipa::path(get, path = "/events/history", params(HistoryQuery), responses((status = 200, body = [ClusterEvent])))]
pub(super) async fn history(
    State(api): State<Api>,
    Query(query): Query<HistoryQuery>,
) -> Json<Vec<ClusterEvent>> {
    Json(api.shared.history(query.count.unwrap_or(REMEMBERED)))
}

/// What each address of this host's pool is used for.
#[utoipa::path(get, path = "/addresses", responses((status = 200, body = [AddressView])))]
pub(super) async fn addresses(State(api): State<Api>) -> Json<Vec<AddressView>> {
    Json(api.shared.look(|engine, _| engine.addresses()))
}

/// All of the manager's state, for finding out why it does what it does. No stable format.
#[utoipa::path(get, path = "/state", responses((status = 200, body = Object)))]
pub(super) async fn state(State(api): State<Api>) -> Json<serde_json::Value> {
    Json(api.shared.look(|engine, now| engine.snapshot(now)))
}

/// The manager runs.
#[utoipa::path(get, path = "/health/live", responses((status = 204)))]
pub(super) async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let (view, figures) = api.shared.look(|engine, now| (engine.cluster(now), engine.figures()));
    api.shared.metrics().response(&Look {
        view: &view,
        figures,
        audit_lost: api.gate.audit.lost(),
        certificates: &api.certificates.ends(),
        acme_failures: &api.certificates.failures(),
        own_certificate: api.pki.ends(),
    })
}
