//! The status page: what is up, what is down, who holds the public addresses, and what is being done about it.
//!
//! ```text
//!   engine ─┐
//!   the balancers' /traffic ─┼──▶ board ──▶ sections ──▶ `/` whole, `/page/stream` as they change
//!   the managers' events ────┘    (only while somebody looks)
//! ```

mod board;
mod hosts;
mod sections;
mod summary;
mod upstreams;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{Stream, StreamExt, stream};
use kit::page::{Renewal, document};
use maud::{Markup, PreEscaped, html};
use tokio::sync::watch;

pub use self::board::Board;
use self::sections::{HEAD, Section};
use crate::access::Origin;
use crate::access::gate::Gate;

/// Where the sections come from as they change.
pub(crate) const STREAM: &str = "/page/stream";

#[derive(Clone)]
struct Page {
    board: Arc<Board>,
    gate: Arc<Gate>,
}

/// The routes of the page.
pub(crate) fn routes(board: Arc<Board>, gate: Arc<Gate>) -> Router {
    Router::new()
        .route("/", get(page))
        .route(STREAM, get(sections))
        .route(
            "/page/actions.js",
            get(|| async { kit::page::asset("text/javascript", include_str!("actions.js")) }),
        )
        .with_state(Page { board, gate })
        .merge(kit::page::assets())
}

/// The page itself is for everybody; what stands in it is not, where the cluster asks who looks.
async fn page(
    State(page): State<Page>,
    ConnectInfo(origin): ConnectInfo<Origin>,
    headers: HeaderMap,
) -> Response {
    let title = format!("Holdfast: {}", page.board.host());
    let sections = match page.gate.may_look(&origin, &headers).await {
        Ok(()) => page.board.now().await,
        Err(why) => Arc::new(sections::closed(&why)),
    };
    let part = |wanted: bool| -> Markup {
        html! { @for section in sections.iter().filter(|section| (section.id == HEAD) == wanted) { (PreEscaped(&*section.html)) } }
    };
    document(&title, Renewal::Stream(STREAM), &part(true), &part(false), &dialogs())
}

/// The sections as they change: at first all of them, then those that are others than before.
async fn sections(State(page): State<Page>) -> Response {
    // Nobody waits for a first look that is already there.
    page.board.now().await;
    let watcher = page.board.watch();
    Sse::new(changes(watcher)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("live")).into_response()
}

/// A page that hears nothing for longer than five seconds says that it is stale.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(2);

fn changes(watcher: watch::Receiver<Arc<Vec<Section>>>) -> impl Stream<Item = Result<Event, Infallible>> {
    let sent: Vec<Section> = Vec::new();
    let looks = stream::unfold((watcher, sent, true), |(mut watcher, sent, first)| async move {
        if !first && watcher.changed().await.is_err() {
            return None;
        }
        // A watcher that is slow gets the newest, and never what was between.
        let now = watcher.borrow_and_update().clone();
        let is_new = |section: &&Section| !sent.iter().any(|old| Arc::ptr_eq(&old.html, &section.html));
        let events: Vec<_> = now
            .iter()
            .filter(is_new)
            .map(|section| Ok(Event::default().event("section").data(&*section.html)))
            .collect();
        Some((stream::iter(events), (watcher, Vec::clone(&now), false)))
    });
    looks.flatten()
}

/// What actions ask before they are done.
fn dialogs() -> Markup {
    html! {
        dialog #confirm aria-labelledby="confirm-title" {
            form method="dialog" {
                h2 #confirm-title {}
                p #confirm-text {}
                label #confirm-choice-label hidden { span #confirm-choice-name {} select #confirm-choice {} }
                label #confirm-token-label {
                    "Token, where this manager asks for one " span.mute { "(" code { "manager access create" } ")" }
                    input #confirm-token type="password" autocomplete="off" spellcheck="false";
                }
                p #confirm-error role="alert" {}
                div.row {
                    button type="button" #confirm-no { "Cancel" }
                    button type="button" #confirm-yes { "Do it" }
                }
            }
        }
        script src="/page/actions.js" defer {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(id: &'static str, html: &str) -> Section {
        Section { id, html: Arc::from(html) }
    }

    #[tokio::test]
    async fn a_watcher_gets_everything_once_and_then_what_changed() {
        let (sender, watcher) = watch::channel(Arc::new(vec![section("a", "A"), section("b", "B")]));
        let mut changes = std::pin::pin!(changes(watcher));
        assert!(changes.next().await.is_some() && changes.next().await.is_some());
        let mut next = (**sender.borrow()).clone();
        next[1] = section("b", "C");
        sender.send_replace(Arc::new(next));
        assert!(changes.next().await.is_some());
        drop(sender);
        assert!(changes.next().await.is_none());
    }
}
