//! How answers are compressed: part of a [`Route`](crate::proxy_config::Route), explained in `docs/limits.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Compresses answers for clients that ask for it. `{}` does so with what is usual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Compress {
    /// How, the best first: of those that a client likes equally it gets the first.
    pub codings: Vec<Coding>,
    /// The types of what is compressed, such as `text/html` or `text/*`.
    pub types: Vec<String>,
    /// Answers of fewer bytes are not compressed. One that does not say how long it is may be.
    pub min_bytes: u64,
}

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// Brotli: RFC 7932.
    Br,
    /// RFC 1952.
    Gzip,
}

/// What is compressed unless told otherwise: all that is text.
const TYPES: [&str; 12] = [
    "text/*",
    "application/atom+xml",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/problem+json",
    "application/rss+xml",
    "application/wasm",
    "application/xhtml+xml",
    "application/xml",
    "image/svg+xml",
];

impl Default for Compress {
    fn default() -> Self {
        Compress {
            codings: vec![Coding::Zstd, Coding::Br, Coding::Gzip],
            types: TYPES.map(str::to_owned).to_vec(),
            min_bytes: 1_024,
        }
    }
}
