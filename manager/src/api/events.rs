//! `/events`: everything that happens, as server-sent events.
//!
//! An event is written once, however many watch: what is sent to a watcher are the same bytes. Of a watcher that reads too
//! slowly nothing is kept: it is told how many it missed, and goes on with what there is.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use kit::api::{Json, Query};
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use utoipa::IntoParams;
use wire::cluster::ClusterEvent;

use super::Api;
use crate::executor::REMEMBERED;

/// Of a stream on which nothing happens, a comment shows this often that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

const STILL_THERE: &[u8] = b":\n\n";

/// Everything that happens from now on, as server-sent events. Who was connected before and says with
/// `Last-Event-ID` what it got last gets what it missed, as far as that is remembered. A watcher that is too slow
/// is told how many it missed, as a comment.
#[utoipa::path(get, path = "/events", params(
    ("Last-Event-ID" = Option<u64>, Header, description = "the `id` of the last event that was seen"),
), responses((status = 200, body = ClusterEvent, content_type = "text/event-stream")))]
pub(super) async fn events(State(api): State<Api>, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let (missed, events) = api.shared.subscribe_after(last.unwrap_or(u64::MAX));
    let missed: Vec<_> = missed.iter().map(|event| Ok::<_, Infallible>(written(event))).collect();
    let events = stream::unfold(events, |mut events| async {
        let written = next(&mut events).await?;
        Some((Ok::<_, Infallible>(written), events))
    });
    let events = stream::iter(missed).chain(events);
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(events)).into_response()
}

/// The question of `GET /events/history`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
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

/// What is to be sent next; nothing when the manager ends.
async fn next(events: &mut Receiver<Bytes>) -> Option<Bytes> {
    match timeout(KEEP_ALIVE, events.recv()).await {
        Err(_) => Some(Bytes::from_static(STILL_THERE)),
        Ok(Ok(event)) => Some(event),
        Ok(Err(RecvError::Lagged(missed))) => Some(format!(": missed {missed} events\n\n").into()),
        Ok(Err(RecvError::Closed)) => None,
    }
}

/// `event` as it is sent (HTML, section 9.2.5). JSON has no line ends in it, and the kinds of events are our own words.
pub(crate) fn written(event: &ClusterEvent) -> Bytes {
    let ClusterEvent { sequence, kind, .. } = event;
    // These are numbers and texts, which JSON can always express.
    let json = serde_json::to_string(event).unwrap_or_default();
    format!("id: {sequence}\nevent: {kind}\ndata: {json}\n\n").into()
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;

    fn event(sequence: u64) -> ClusterEvent {
        ClusterEvent {
            sequence,
            unix_ms: 1,
            host: "a".into(),
            kind: "machine.ready".to_owned(),
            subject: "a-web-1".to_owned(),
            message: "two\nlines".to_owned(),
        }
    }

    #[test]
    fn an_event_is_one_block_of_lines() {
        let text = String::from_utf8(written(&event(7)).to_vec()).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["id: 7", "event: machine.ready"]);
        let data = lines[2].strip_prefix("data: ").expect("its data");
        assert_eq!(serde_json::from_str::<ClusterEvent>(data).expect("JSON"), event(7));
        assert_eq!(lines[3..], [""]);
    }

    #[tokio::test]
    async fn a_slow_watcher_is_told_what_it_missed_and_goes_on_with_what_is_kept() {
        let (events, mut slow) = broadcast::channel(4);
        for sequence in 1..=10 {
            events.send(written(&event(sequence))).expect("somebody watches");
        }
        assert_eq!(next(&mut slow).await.as_deref(), Some(&b": missed 6 events\n\n"[..]));
        for sequence in 7..=10 {
            assert_eq!(next(&mut slow).await, Some(written(&event(sequence))));
        }
        drop(events);
        assert_eq!(next(&mut slow).await, None);
    }

    #[test]
    fn what_is_sent_is_written_once() {
        let (events, mut one) = broadcast::channel(4);
        let mut other = events.subscribe();
        events.send(written(&event(1))).expect("two watch");
        let [one, other] = [&mut one, &mut other].map(|watcher| watcher.try_recv().expect("an event"));
        assert_eq!(one.as_ptr(), other.as_ptr());
    }
}
