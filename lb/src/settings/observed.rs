//! What is told of requests, and how they are found again: `[access_log]`, `[request_id]` and `[tracing]`.

use std::path::PathBuf;

use http::header::{self, HeaderName};
use kit::config::{ConfigError, Source, Spanned};
use kit::notify::is_spoken;
use serde::Deserialize;

use crate::proxy::limits::forwarded;
use crate::proxy::route;

/// The access log's file is put aside at this size unless told otherwise.
const DEFAULT_LOG_BYTES: u64 = 100 << 20;

/// Smaller files would be put aside all the time.
const MIN_LOG_BYTES: u64 = 64 << 10;

/// So many of them are kept unless told otherwise.
const DEFAULT_LOG_KEEP: u32 = 5;

/// The longest `service` of `[tracing]`, in bytes.
const MAX_SERVICE: usize = 255;

/// The field a request's id is in unless told otherwise.
const DEFAULT_ID_HEADER: &str = "x-request-id";

/// What this program is called in spans unless told otherwise.
const DEFAULT_SERVICE: &str = "holdfast-lb";

/// The log of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// Its file.
    pub path: PathBuf,
    /// A file of so many bytes is put aside and a new one begun.
    pub max_bytes: u64,
    /// So many old files are kept.
    pub keep: u32,
    /// How its lines are written.
    pub format: LogFormat,
    /// Which requests are written at all.
    pub only: Only,
    /// The share of requests that are written, of those that went well: above 0, at most 1.
    pub sample: f64,
}

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// An object with every attempt.
    #[default]
    Json,
    /// The Combined Log Format of Apache's httpd.
    Combined,
}

/// Which requests the access log has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// All that are sampled, and all that failed.
    #[default]
    All,
    /// Those answered with 500 or above, or not at all.
    Errors,
}

/// How requests are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIds {
    /// The field of the request, to upstreams, and of the answer.
    pub header: HeaderName,
    /// Whose ids are taken over.
    pub accept: Accept,
}

/// From whom the id of a request is taken over, where it is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// From proxies that are trusted (`trusted_proxies`).
    #[default]
    Trusted,
    /// From everybody.
    Always,
    /// From nobody.
    Never,
}

/// How requests are followed from program to program.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Where spans are sent: a collector that takes OTLP over HTTP. None: nowhere.
    pub endpoint: Option<String>,
    /// The share of requests whose spans are recorded, 0 to 1, where no trusted proxy has decided it.
    pub sample: f64,
    /// What this program is called there.
    pub service: String,
}

/// The log of requests.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct AccessLogFile {
    /// Its file, as an absolute path.
    path: Spanned<PathBuf>,
    /// A file of so many bytes, at least 65536, is put aside and a new one begun.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_LOG_BYTES)))]
    max_bytes: Option<Spanned<u64>>,
    /// So many old files are kept, 1 to 1000.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_LOG_KEEP)))]
    keep: Option<Spanned<u32>>,
    /// How its lines are written.
    #[serde(default)]
    format: LogFormat,
    /// Which requests it has.
    #[serde(default)]
    only: Only,
    /// The share of requests that are written, of those that went well: above 0, at most 1.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = 1.0)))]
    sample: Option<Spanned<f64>>,
}

/// How requests are named.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RequestIdFile {
    /// The field it is in: of the request, to upstreams, and of the answer.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_ID_HEADER)))]
    header: Option<Spanned<String>>,
    /// Whose ids are taken over.
    #[serde(default)]
    accept: Accept,
}

/// How requests are followed from program to program.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct TracingFile {
    /// Where spans are sent: a collector that takes OTLP over HTTP. Without one they are sent nowhere.
    #[serde(default)]
    endpoint: Option<Spanned<String>>,
    /// The share of requests whose spans are recorded, 0 to 1, where no trusted proxy has decided it.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = 1.0)))]
    sample: Option<Spanned<f64>>,
    /// What this program is called there, in at most 255 bytes.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_SERVICE)))]
    service: Option<Spanned<String>>,
}

impl AccessLogFile {
    pub(super) fn check(self, source: &Source) -> Result<AccessLog, ConfigError> {
        let AccessLogFile { path, max_bytes, keep, format, only, sample } = self;
        if !path.as_ref().is_absolute() {
            return Err(source.error_at(Some(path.span()), "expected a path that begins with a slash"));
        }
        if let Some(bytes) = max_bytes.as_ref().filter(|bytes| *bytes.as_ref() < MIN_LOG_BYTES) {
            return Err(source.error_at(Some(bytes.span()), "expected 65536 bytes or more"));
        }
        if let Some(keep) = keep.as_ref().filter(|keep| !(1..=1_000).contains(keep.as_ref())) {
            return Err(source.error_at(Some(keep.span()), "expected 1 to 1000 old files"));
        }
        if let Some(sample) = &sample {
            if only == Only::Errors {
                let message = "says nothing beside only = \"errors\", which are all written";
                return Err(source.error_at(Some(sample.span()), message));
            }
            if !(*sample.as_ref() > 0.0 && *sample.as_ref() <= 1.0) {
                let message = "expected a share above 0 and at most 1, such as 0.01; for none of those that went well: \
                               only = \"errors\"";
                return Err(source.error_at(Some(sample.span()), message));
            }
        }
        Ok(AccessLog {
            path: path.into_inner(),
            max_bytes: max_bytes.map_or(DEFAULT_LOG_BYTES, Spanned::into_inner),
            keep: keep.map_or(DEFAULT_LOG_KEEP, Spanned::into_inner),
            format,
            only,
            sample: sample.map_or(1.0, Spanned::into_inner),
        })
    }
}

impl RequestIdFile {
    pub(super) fn check(self, source: &Source) -> Result<RequestIds, ConfigError> {
        let RequestIdFile { header, accept } = self;
        let Some(header) = header else {
            return Ok(RequestIds { header: HeaderName::from_static(DEFAULT_ID_HEADER), accept });
        };
        let span = Some(header.span());
        let name: HeaderName = header.as_ref().parse().map_err(|_| {
            source.error_at(span.clone(), "expected the name of a header field, such as \"x-request-id\"")
        })?;
        let is_taken = route::is_refused(&name)
            || !forwarded::may_stay(name.as_str(), false)
            || [header::HOST, header::VIA, header::DATE, header::COOKIE, header::SET_COOKIE].contains(&name)
            || ["traceparent", "tracestate", "x-real-ip"].contains(&name.as_str());
        if is_taken {
            let message =
                format!("{name} says something else: expected a field of its own, such as \"x-request-id\"");
            return Err(source.error_at(span, &message));
        }
        Ok(RequestIds { header: name, accept })
    }
}

impl TracingFile {
    pub(super) fn check(self, source: &Source) -> Result<Tracing, ConfigError> {
        let TracingFile { endpoint, sample, service } = self;
        if let Some(endpoint) = endpoint.as_ref().filter(|endpoint| !is_spoken(endpoint.as_ref())) {
            let message = "expected the URL of a collector near by, such as http://127.0.0.1:4318 (https is not spoken)";
            return Err(source.error_at(Some(endpoint.span()), message));
        }
        if let Some(sample) = sample.as_ref().filter(|sample| !(0.0..=1.0).contains(sample.as_ref())) {
            return Err(source.error_at(Some(sample.span()), "expected a share of 0 to 1, such as 0.1"));
        }
        let is_name =
            |name: &str| (1..=MAX_SERVICE).contains(&name.len()) && !name.contains(char::is_control);
        if let Some(service) = service.as_ref().filter(|service| !is_name(service.as_ref())) {
            return Err(
                source.error_at(Some(service.span()), "expected a name of 1 to 255 visible characters")
            );
        }
        Ok(Tracing {
            endpoint: endpoint.map(Spanned::into_inner),
            sample: sample.map_or(1.0, Spanned::into_inner),
            service: service.map_or_else(|| DEFAULT_SERVICE.to_owned(), Spanned::into_inner),
        })
    }
}
