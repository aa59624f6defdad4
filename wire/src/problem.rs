//! The one shape of every error our HTTP interfaces give: problem+json.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A problem document (RFC 9457, section 3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI reference that names the kind of problem; `about:blank` when the status says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short summary of the kind of problem.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// What went wrong this time, and what to do about it.
    pub detail: String,
    /// The parameter, field or header that is at fault, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The generation (or epoch) that the receiver holds, in an answer of 409 to an older one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
}

impl Problem {
    /// The media type of a problem document.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// A problem with no kind of its own beyond its HTTP `status`.
    pub fn new(status: u16, title: &str, detail: impl Into<String>) -> Self {
        Problem {
            kind: "about:blank".to_owned(),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            parameter: None,
            held: None,
        }
    }

    /// 400: the caller's `parameter` cannot be used.
    pub fn bad_parameter(parameter: &str, detail: impl Into<String>) -> Self {
        Problem { parameter: Some(parameter.to_owned()), ..Problem::new(400, "Bad parameter", detail) }
    }

    /// 400: the body cannot be used.
    pub fn bad_body(detail: impl Into<String>) -> Self {
        Problem::new(400, "Bad request body", detail)
    }

    /// 403: the caller may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Problem::new(403, "Forbidden", detail)
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Problem::new(404, "Not found", detail)
    }

    /// 409: the request does not fit the present state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Problem::new(409, "Conflict", detail)
    }

    /// 409: what was sent is older than what is held.
    pub fn stale(held: u64, detail: impl Into<String>) -> Self {
        Problem { held: Some(held), ..Problem::new(409, "Older than what is held", detail) }
    }

    /// 503: the service cannot do this now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Problem::new(503, "Service unavailable", detail)
    }
}
