//! What a route does with a request besides choosing a pool: parts of a
//! [`Route`](crate::proxy_config::Route), explained in `docs/routing.md`.
//!
//! Values may contain placeholders such as `{client}`; the page has the list of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answers with the place where the request is to go instead. What is not said stays as the client asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `http` or `https`; another one than the client used takes the scheme's own port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The host, without port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The whole path; after `path_regex`, `$1` and `${name}` stand for what its groups found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What stands in the place of the route's `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_prefix: Option<String>,
    /// Whether the query goes along.
    pub keep_query: bool,
}

impl Default for Redirect {
    fn default() -> Self {
        Redirect {
            status: 302,
            scheme: None,
            host: None,
            port: None,
            path: None,
            replace_prefix: None,
            keep_query: true,
        }
    }
}

/// Changes what upstreams are asked for. The query stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rewrite {
    /// The whole path; after `path_regex`, `$1` and `${name}` stand for what its groups found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What stands in the place of the route's `path`; `/` strips it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_prefix: Option<String>,
    /// The value of `Host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// Changes header fields: first those of `remove` go, then those of `set` take the place of what there is, then
/// those of `add` come to what there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Names of fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Values by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Values by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
}

impl HeaderEdits {
    /// Whether they change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == HeaderEdits::default()
    }
}

/// An answer that needs no upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Its body; none: an error's own page, else nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The body's type.
    pub content_type: String,
    /// Further header fields.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl Default for Respond {
    fn default() -> Self {
        Respond {
            status: 200,
            body: None,
            content_type: "text/plain; charset=utf-8".to_owned(),
            headers: BTreeMap::new(),
        }
    }
}

/// Error pages by the status they are for, such as `"404"`, or its class, such as `"5xx"`.
pub type ErrorPages = BTreeMap<String, ErrorPage>;

/// The body of an error that the balancer answers with itself. A client that asks for JSON gets a problem
/// document (RFC 9457) all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorPage {
    /// The page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The file the page is in; only in the balancer's own file, which has it read when that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub file: Option<PathBuf>,
    /// Its type.
    pub content_type: String,
    /// Whether an upstream's answer with this status is taken for an error of the balancer's own too.
    pub intercept: bool,
}

impl Default for ErrorPage {
    fn default() -> Self {
        ErrorPage {
            body: None,
            file: None,
            content_type: "text/html; charset=utf-8".to_owned(),
            intercept: false,
        }
    }
}
