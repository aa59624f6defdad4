//! A request as spans: one of the kind `server`, and one of the kind `client` below it for each of its tries. Their names
//! and attributes are those of OpenTelemetry's conventions for HTTP (semconv 1.x, stable) where it has one, and begin with
//! `holdfast.` where it has none. No query is told: secrets are in there too often.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::super::super::access_log::About;
use super::super::context::{Context, SpanId};
use super::super::trace::Attempt;

/// The longest text taken over from a request, in bytes.
const MAX_TEXT: usize = 1_024;

/// The bits of a span's flags that say whether its parent is elsewhere, and that this is known.
const KNOWS_WHERE: u32 = 0x100;
const IS_ELSEWHERE: u32 = 0x200;

/// What was asked for, as it is told.
#[derive(Debug)]
pub(crate) struct Asked {
    time: SystemTime,
    method: String,
    attributes: Vec<KeyValue>,
    route: String,
}

/// A request that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) context: Context,
    pub(crate) asked: Box<Asked>,
    pub(crate) status: Option<u16>,
    pub(crate) duration_us: u64,
    pub(crate) bytes: u64,
    pub(crate) attempts: Vec<Attempt>,
}

/// Who says all this.
#[derive(Debug)]
pub(super) struct Origin {
    resource: Resource,
    scope: InstrumentationScope,
}

/// The `service` on this `machine`.
pub(super) fn origin(service: &str, machine: &str) -> Origin {
    let attributes = vec![
        text("service.name", service),
        text("service.instance.id", machine),
        text("service.version", VERSION),
    ];
    let scope = InstrumentationScope {
        name: "holdfast-lb".to_owned(),
        version: VERSION.to_owned(),
        ..Default::default()
    };
    Origin { resource: Resource { attributes, ..Default::default() }, scope }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Asked {
    /// What there is to tell of the request that is `about`, of this `path` without a query.
    pub(crate) fn new(about: &About<'_>, path: &str, is_secure: bool) -> Self {
        let method = lossy(about.method);
        let mut attributes = vec![
            text("http.request.method", &method),
            text("url.path", &lossy(path.as_bytes())),
            text("url.scheme", if is_secure { "https" } else { "http" }),
            text("client.address", &about.client.to_string()),
            text("network.peer.address", &about.peer.to_string()),
            text("network.protocol.version", protocol(about.version)),
        ];
        let (name, port) = host(about.host);
        if !name.is_empty() {
            attributes.push(text("server.address", &name));
        }
        attributes.extend(port.map(|port| number("server.port", port.into())));
        if !about.agent.is_empty() {
            attributes.push(text("user_agent.original", &lossy(about.agent)));
        }
        if let Some(id) = about.id {
            attributes.push(text("holdfast.request_id", &lossy(id.as_bytes())));
        }
        Asked { time: about.time, method, attributes, route: String::new() }
    }

    /// Notes where it goes.
    pub(crate) fn goes(&mut self, route: &str, pool: &str) {
        if !route.is_empty() {
            route.clone_into(&mut self.route);
            self.attributes.push(text("holdfast.route", route));
            self.attributes.push(text("holdfast.pool", pool));
        }
    }
}

impl Finished {
    /// How many spans it is.
    pub(super) fn count(&self) -> u64 {
        1 + self.attempts.len() as u64
    }

    fn spans(&self) -> impl Iterator<Item = Span> {
        let attempts = self.attempts.iter().enumerate();
        std::iter::once(self.server()).chain(attempts.map(|(index, attempt)| self.client(index, attempt)))
    }

    fn server(&self) -> Span {
        let Asked { method, attributes, route, .. } = &*self.asked;
        let mut attributes = attributes.clone();
        attributes.push(number("http.response.body.size", self.bytes));
        attributes.extend(self.status.map(|status| number("http.response.status_code", status.into())));
        let error = match self.status {
            None => Some("unanswered".to_owned()),
            Some(status @ 500..) => Some(status.to_string()),
            Some(_) => None,
        };
        let parent = self.context.parent();
        let elsewhere = if parent.is_some() { IS_ELSEWHERE } else { 0 };
        let name = if route.is_empty() { method.clone() } else { format!("{method} {route}") };
        let place = Place { parent, span: self.context.span, kind: SpanKind::Server, elsewhere };
        self.span(place, name, (0, self.duration_us), attributes, error)
    }

    fn client(&self, index: usize, attempt: &Attempt) -> Span {
        let upstream = attempt.upstream.address;
        let mut attributes = vec![
            text("http.request.method", &self.asked.method),
            text("server.address", &upstream.ip().to_string()),
            number("server.port", upstream.port().into()),
            text("holdfast.upstream", attempt.upstream.id.as_str()),
            text("holdfast.outcome", attempt.outcome),
            text("holdfast.phase", attempt.phase),
            flag("holdfast.reused", attempt.reused),
            flag("holdfast.trial", attempt.trial),
        ];
        if index > 0 {
            attributes.push(number("http.request.resend_count", index as u64));
        }
        attributes.extend(attempt.status.map(|status| number("http.response.status_code", status.into())));
        attributes.extend(attempt.head_us.map(|head| number("holdfast.head_us", head)));
        let error = match (attempt.outcome, attempt.status) {
            ("answered", Some(status @ 400..)) => Some(status.to_string()),
            ("answered", _) => None,
            (outcome, _) => Some(outcome.to_owned()),
        };
        let span = attempt.span.unwrap_or_else(SpanId::random);
        let parent = Some(self.context.span);
        let place = Place { parent, span, kind: SpanKind::Client, elsewhere: 0 };
        let times = (attempt.begun_us, attempt.begun_us.saturating_add(attempt.took_us));
        self.span(place, self.asked.method.clone(), times, attributes, error)
    }

    /// A span from the first to the second of `times`, in microseconds after the request came.
    fn span(
        &self,
        place: Place,
        name: String,
        times: (u64, u64),
        mut attributes: Vec<KeyValue>,
        error: Option<String>,
    ) -> Span {
        let begun = self.asked.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let begun = u64::try_from(begun.as_nanos()).unwrap_or(u64::MAX);
        let at = |us: u64| begun.saturating_add(us.saturating_mul(1_000));
        let code = if error.is_some() { StatusCode::Error } else { StatusCode::Unset };
        attributes.extend(error.map(|error| text("error.type", &error)));
        Span {
            trace_id: self.context.trace_bytes().to_vec(),
            span_id: place.span.to_bytes().to_vec(),
            parent_span_id: place.parent.map(|parent| parent.to_bytes().to_vec()).unwrap_or_default(),
            // What is told is recorded: the one flag of the trace.
            flags: 1 | KNOWS_WHERE | place.elsewhere,
            name,
            kind: place.kind.into(),
            start_time_unix_nano: at(times.0),
            end_time_unix_nano: at(times.1),
            attributes,
            status: Some(Status { message: String::new(), code: code.into() }),
            ..Default::default()
        }
    }
}

/// Where a span is among the others.
struct Place {
    parent: Option<SpanId>,
    span: SpanId,
    kind: SpanKind,
    elsewhere: u32,
}

/// The message that tells of `batch`.
pub(super) fn message(origin: &Origin, batch: &[Finished]) -> ExportTraceServiceRequest {
    let spans = batch.iter().flat_map(Finished::spans).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(origin.scope.clone()), spans, ..Default::default() }];
    let resource = Some(origin.resource.clone());
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource, scope_spans, ..Default::default() }],
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(MAX_TEXT)]).into_owned()
}

/// HTTP's version as the conventions have it.
fn protocol(version: &[u8]) -> &'static str {
    match version {
        b"HTTP/1.0" => "1.0",
        b"HTTP/2.0" => "2",
        _ => "1.1",
    }
}

/// The name and the port that a request asks for.
fn host(host: &[u8]) -> (String, Option<u16>) {
    let host = lossy(host);
    let authority = host.parse::<http::uri::Authority>();
    authority.map_or((String::new(), None), |authority| {
        (authority.host().trim_matches(['[', ']']).to_owned(), authority.port_u16())
    })
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn flag(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}
