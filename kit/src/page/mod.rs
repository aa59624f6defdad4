//! Pages for people: one look, one style sheet, one script, and nothing from anywhere else.
//!
//! A page is made on the server and complete without a script. Where there is one, it keeps the page as it is now: it
//! replaces the sections of `main` that have changed, and nothing else, so that neither the place in the page nor what
//! is being typed is lost. No script, style or image stands in the page itself, which lets the policy forbid all that is
//! not ours (Content Security Policy Level 3).

mod parts;
mod upstreams;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};

pub use parts::{Tone, ago, availability, clock, millis, pill, since, spark};
pub use upstreams::{is_used, upstream_table};

/// Nothing but what the program itself serves.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How a page stays as things are now.
#[derive(Clone, Copy, Debug)]
pub enum Renewal {
    /// It is fetched again, each so many seconds.
    Poll(u32),
    /// Its sections come as server-sent events `section`, from this path.
    Stream(&'static str),
}

/// A whole page: `head` stands above `main`, `after` below it.
pub fn document(title: &str, renewal: Renewal, head: &Markup, main: &Markup, after: &Markup) -> Response {
    let (poll, stream) = match renewal {
        Renewal::Poll(seconds) => (Some(seconds), None),
        Renewal::Stream(path) => (None, Some(path)),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="/page/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/page/style.css";
                script src="/page/live.js" defer {}
                noscript { meta http-equiv="refresh" content="5"; }
            }
            body data-poll=[poll] data-stream=[stream] {
                a.skip href="#main" { "To the content" }
                header.top { (head) p #freshness.mute role="status" { "as of " (clock(now_ms())) } }
                main #main { (main) }
                (after)
            }
        }
    };
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))],
        guarded(),
        page.into_string(),
    )
        .into_response()
}

/// What the browser is told of every page.
fn guarded() -> [(HeaderName, HeaderValue); 4] {
    [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]
}

/// What pages are made with: `/page/style.css`, `/page/live.js`, `/page/icon.svg`.
pub fn assets<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/page/style.css", get(|| async { asset("text/css", include_str!("style.css")) }))
        .route("/page/live.js", get(|| async { asset("text/javascript", include_str!("live.js")) }))
        .route("/page/icon.svg", get(|| async { asset("image/svg+xml", include_str!("icon.svg")) }))
}

/// A file that is the same as long as the program is; it is asked for again, in case that is another.
pub fn asset(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, content).into_response()
}

/// Now, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_allows_nothing_that_is_not_ours_and_has_nothing_inline() {
        let body = html! { section #a { "1 < 2" } };
        let response = document("A \"title\" <b>", Renewal::Poll(2), &html! {}, &body, &html! {});
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.contains("1 &lt; 2") && text.contains("&lt;b&gt;"), "{text}");
        assert!(!text.contains("<style") && !text.contains(" style=") && !text.contains("onclick"), "{text}");
        assert!(text.contains(r#"data-poll="2""#) && !text.contains("data-stream"), "{text}");
    }
}
