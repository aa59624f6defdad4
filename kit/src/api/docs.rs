//! The interface's own documentation: the OpenAPI document and a page to try it on.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

const DOCUMENT: &str = "/api-docs/openapi.json";

/// Adds `/api-docs/openapi.json` and the Swagger UI at `/swagger-ui/` to `router`.
pub fn with_docs(router: Router, document: &OpenApi) -> Router {
    // Kept as text, which takes a fraction of the memory. All of it has names that are text, so that it is never empty.
    let text = Bytes::from(serde_json::to_vec(document).unwrap_or_default());
    let answer = async move || ([(CONTENT_TYPE, "application/json")], text);
    let page = SwaggerUi::new("/swagger-ui").config(Config::from(DOCUMENT));
    router.route(DOCUMENT, get(answer)).merge(page)
}
