//! Serves a router until the program is asked to end.

use std::future::Future;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use tokio::net::TcpListener;
use wire::Problem;

use super::ApiError;

/// The largest request body our interfaces take, in bytes. A set of 10,000 upstreams has about two
/// million.
pub const MAX_BODY: usize = 8 << 20;

/// Gives unknown paths and wrong methods a problem document, and limits bodies to [`MAX_BODY`].
pub fn with_fallbacks(router: Router) -> Router {
    router
        .fallback(async |uri: Uri| {
            ApiError(Problem::not_found(format!(
                "there is no {}; /swagger-ui/ lists what there is",
                uri.path()
            )))
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            ApiError(Problem::new(
                405,
                "Method not allowed",
                format!(
                    "{method} cannot be used on {}; the field Allow and /swagger-ui/ say what can",
                    uri.path()
                ),
            ))
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Serves `router` on `listener` until `end` resolves; requests in progress are finished.
///
/// # Errors
///
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(end)
        .await
}
