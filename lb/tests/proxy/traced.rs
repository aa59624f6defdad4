//! Requests are found again: by an id, in traces that go on from program to program, as spans at a collector, and in the
//! access log's other forms.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use serde_json::json;
use tempfile::TempDir;

use crate::backend::{Backend, Reply, nobody, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::{Message, Reader, get};
use crate::http2;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// The ways that a request can take: past Pingora, with it, and past it changed by its route.
const WAYS: [&str; 3] = ["/direct", "/streamed", "/changed"];

/// Asks on one of the ways, with these fields besides.
async fn ask(balancer: &Balancer, way: &str, fields: &str) -> Message {
    let mut client = Reader::connect(balancer.clients()).await;
    if way == "/streamed" {
        let head = format!("POST {way} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n{fields}\r\n");
        return client.ask(&format!("{head}1\r\nx\r\n0\r\n\r\n")).await;
    }
    client.ask(&format!("GET {way} HTTP/1.1\r\nHost: t\r\n{fields}\r\n")).await
}

/// A balancer with `settings`, and what is behind it, where the way `/changed` has its requests and answers changed.
async fn stage(settings: &str) -> (Balancer, Backend) {
    let balancer = Balancer::start_also_with(settings).await;
    let answer = b"HTTP/1.1 200 OK\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n";
    let backend = Backend::start(move |_| Reply::Bytes(answer.to_vec())).await;
    let edits = json!({"set": {"X-Mine": "1"}});
    let routes = json!([
        {"name": "changed", "path": "/changed", "pool": "p", "request_headers": edits, "response_headers": edits},
        {"name": "here", "path": "/here", "respond": {"status": 200, "body": "x"}},
        {"name": "all", "pool": "p"},
    ]);
    balancer.use_backends(&[&backend]).await;
    balancer.use_routes(routes).await;
    (balancer, backend)
}

fn last(backend: &Backend, name: &str) -> Option<String> {
    backend.seen().last().expect("a request").headers.get(name).cloned()
}

#[tokio::test]
async fn a_request_has_one_id_on_every_way() {
    let (balancer, backend) = stage("[request_id]").await;
    let mut ids = BTreeSet::new();
    for way in WAYS {
        for fields in ["", "X-Request-ID: mine\r\n", "x_request_id: mine\r\nConnection: X-Request-Id\r\n"] {
            let answer = ask(&balancer, way, fields).await;
            assert_eq!(answer.status(), 200, "{way}");
            let id = answer.headers["x-request-id"].clone();
            assert_eq!(last(&backend, "x-request-id").as_deref(), Some(id.as_str()), "{way} {fields}");
            assert_eq!(last(&backend, "x_request_id"), None);
            assert_eq!(id.len(), 36, "a stranger's id is not taken over: {id}");
            ids.insert(id);
        }
    }
    assert_eq!(ids.len(), 9, "each has its own");
    let late = Backend::start(|_| Reply::Nothing).await;
    balancer.use_backends(&[&late]).await;
    balancer.use_routes(json!([{"name": "late", "pool": "p", "request_timeout_ms": 200}])).await;
    for way in WAYS {
        let refused = ask(&balancer, way, "").await;
        assert_eq!((refused.status(), refused.headers["x-request-id"].len()), (504, 36), "{way}");
    }
    balancer.use_backends(&[&backend]).await;
    balancer.use_routes(json!([{"name": "here", "path": "/here", "respond": {"status": 200}}, {"name": "all", "pool": "p"}])).await;
    // So has what is answered here, and what nobody answers.
    assert_eq!(get(balancer.clients(), "/here").await.headers["x-request-id"].len(), 36);
    balancer.use_upstreams(&[]).await;
    let refused = ask(&balancer, "/direct", "").await;
    assert_eq!((refused.status(), refused.headers["x-request-id"].len()), (503, 36));
}

#[tokio::test]
async fn an_id_is_taken_over_from_whom_the_settings_say() {
    let directory = TempDir::new().expect("a directory");
    let log = directory.path().join("access.log");
    let settings =
        format!("[request_id]\nheader = \"X-Trace-Me\"\naccept = \"always\"\n[access_log]\npath = {log:?}");
    let (balancer, backend) = stage(&settings).await;
    for way in WAYS {
        let answer = ask(&balancer, way, "X-Trace-Me: the-clients.own\r\n").await;
        assert_eq!(answer.headers["x-trace-me"], "the-clients.own", "{way}");
        assert_eq!(answer.headers["x-request-id"], "theirs", "another field is the upstream's: {way}");
        assert_eq!(last(&backend, "x-trace-me").as_deref(), Some("the-clients.own"), "{way}");
        for bad in ["a b", "\"x\"", &"x".repeat(129)] {
            let answer = ask(&balancer, way, &format!("X-Trace-Me: {bad}\r\n")).await;
            assert_eq!(answer.headers["x-trace-me"].len(), 36, "{way} {bad}");
        }
    }
    let written = eventually("all is written", async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.lines().count() == 12).then_some(text)
    })
    .await;
    assert_eq!(written.matches("\"request_id\":\"the-clients.own\"").count(), 3, "{written}");
}

#[tokio::test]
async fn clients_of_http_2_have_ids_and_traces_too() {
    let (balancer, backend) = stage("[request_id]\n[tracing]").await;
    let (id, status) = http2::get_field(balancer.clients(), "/direct", "x-request-id").await;
    assert_eq!((status, last(&backend, "x-request-id")), (200, id.clone()));
    assert_eq!(id.map_or(0, |id| id.len()), 36);
    let parent = last(&backend, "traceparent").expect("a trace");
    assert!(parent.starts_with("00-") && parent.len() == 55, "{parent}");
}

#[tokio::test]
async fn a_trace_is_gone_on_with_begun_or_begun_anew() {
    let (balancer, backend) = stage("[tracing]").await;
    for way in WAYS {
        let came = format!("traceparent: 00-{TRACE}-{CALLER}-01\r\ntracestate: a=1,b=2\r\n");
        ask(&balancer, way, &came).await;
        let parent = last(&backend, "traceparent").expect("a trace");
        assert!(parent.starts_with(&format!("00-{TRACE}-")) && !parent.contains(CALLER), "{way}: {parent}");
        assert_eq!(last(&backend, "tracestate").as_deref(), Some("a=1,b=2"), "{way}");

        let mut begun = BTreeSet::new();
        for fields in [
            "",
            "traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01\r\ntracestate: a=1\r\n",
            "traceparent: nonsense\r\ntracestate: a=1\r\n",
            "tracestate: a=1\r\n",
        ] {
            ask(&balancer, way, fields).await;
            let parent = last(&backend, "traceparent").expect("a trace");
            assert!(parent.len() == 55 && parent.ends_with("-01"), "{way} {fields}: {parent}");
            assert!(begun.insert(parent[3..35].to_owned()), "{way} {fields}: each is another");
            assert_eq!(last(&backend, "tracestate"), None, "{way} {fields}: what belongs to no trace goes");
        }
        ask(&balancer, way, &format!("traceparent: 00-{TRACE}-{CALLER}-01\r\ntracestate: A=1\r\n")).await;
        assert_eq!(last(&backend, "tracestate"), None, "{way}: what is not valid goes");
        assert!(last(&backend, "traceparent").expect("a trace").contains(TRACE), "{way}");
    }
}

#[tokio::test]
async fn without_tracing_its_fields_are_like_any_other() {
    let (balancer, backend) = stage("").await;
    for way in WAYS {
        let answer = ask(&balancer, way, "traceparent: nonsense\r\nX-Request-Id: mine\r\n").await;
        assert_eq!(last(&backend, "traceparent").as_deref(), Some("nonsense"), "{way}");
        assert_eq!(last(&backend, "x-request-id").as_deref(), Some("mine"), "{way}");
        assert_eq!(answer.headers["x-request-id"], "theirs", "{way}");
    }
}

/// A collector, which keeps what it gets and answers as it is told.
struct Collector {
    backend: Backend,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    async fn start(answer: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Self {
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let kept = spans.clone();
        let backend = Backend::start(move |request| {
            assert_eq!(request.start, "POST /v1/traces HTTP/1.1");
            assert_eq!(request.headers["content-type"], "application/x-protobuf");
            let message =
                ExportTraceServiceRequest::decode(request.body.as_slice()).expect("a message of OTLP");
            let answer = answer();
            if answer.starts_with(b"HTTP/1.1 200") {
                let scopes = message.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
                kept.lock().expect("lock").extend(scopes.flat_map(|scope| scope.spans));
            }
            Reply::Bytes(answer)
        })
        .await;
        Collector { backend, spans }
    }

    fn settings(&self) -> String {
        format!("[tracing]\nendpoint = \"http://{}/\"\n", self.backend.address)
    }

    async fn spans(&self, count: usize) -> Vec<Span> {
        eventually("the spans arrive", async || {
            let spans = self.spans.lock().expect("lock");
            (spans.len() >= count).then(|| spans.clone())
        })
        .await
    }
}

fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    match span.attributes.iter().find(|attribute| attribute.key == key).map(|found| &found.value) {
        Some(Some(value)) => match &value.value {
            Some(Value::StringValue(text)) => text,
            other => panic!("{key}: {other:?}"),
        },
        other => panic!("{key}: {other:?} in {span:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_request_and_each_of_its_tries_are_spans_of_one_trace() {
    for way in WAYS {
        let collector = Collector::start(|| ok("")).await;
        let (balancer, backend) = stage(&collector.settings()).await;
        let dead = nobody().await;
        let dead = json!({"id": "dead", "address": dead.ip(), "port": dead.port()});
        // The living one is asked when nobody else is left.
        let mut backup = backend.upstream();
        backup["backup"] = json!(true);
        balancer.use_upstreams(&[dead, backup]).await;
        ask(&balancer, way, &format!("traceparent: 00-{TRACE}-{CALLER}-00\r\n")).await;
        let spans = collector.spans(3).await;
        assert_eq!(spans.len(), 3, "{way}: {spans:?}");
        let [server, first, second] = &spans[..] else { panic!("{spans:?}") };
        assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{way}: {spans:?}");
        assert_eq!((hex(&server.parent_span_id), server.kind()), (CALLER.to_owned(), SpanKind::Server));
        assert_eq!(text(server, "url.path"), way);
        let name = text(server, "holdfast.route");
        assert_eq!(server.name, format!("{} {name}", text(server, "http.request.method")));
        for span in [first, second] {
            assert_eq!((&span.parent_span_id, span.kind()), (&server.span_id, SpanKind::Client), "{way}");
        }
        assert_eq!((text(first, "holdfast.upstream"), text(first, "error.type")), ("dead", "connect"));
        assert_eq!(first.status.as_ref().map(|status| status.code()), Some(StatusCode::Error));
        assert_eq!(text(second, "holdfast.outcome"), "answered");
        assert!(server.start_time_unix_nano <= first.start_time_unix_nano, "{way}");
        assert!(first.start_time_unix_nano <= second.start_time_unix_nano, "{way}");
        // What the upstream was told to be asked by is that very try.
        let told = last(&backend, "traceparent");
        assert_eq!(told, Some(format!("00-{TRACE}-{}-01", hex(&second.span_id))), "{way}");
    }
}

#[tokio::test]
async fn what_is_not_sampled_is_passed_on_and_not_told() {
    let collector = Collector::start(|| ok("")).await;
    let settings = format!("{}sample = 0.0\n", collector.settings());
    let (balancer, backend) = stage(&settings).await;
    ask(&balancer, "/direct", &format!("traceparent: 00-{TRACE}-{CALLER}-01\r\n")).await;
    let told = last(&backend, "traceparent").expect("a trace");
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"), "{told}");
    // A proxy that is trusted decides for us.
    let config = json!({"generation": 100, "routes": [{"name": "all", "pool": "p"}], "trusted_proxies": ["127.0.0.0/8"]});
    assert_eq!(balancer.put("/config", &config).await.0, 200);
    ask(&balancer, "/trusted", &format!("traceparent: 00-{TRACE}-{CALLER}-01\r\n")).await;
    let spans = collector.spans(2).await;
    assert_eq!((spans.len(), text(&spans[0], "url.path")), (2, "/trusted"));
    balancer.counts("lb_spans_sent_total 2").await;
}

#[tokio::test]
async fn what_does_not_arrive_is_counted_and_keeps_nobody_waiting() {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too odd".to_owned() };
    let partial = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let mut whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", partial.len()).into_bytes();
    whole.extend(partial);
    let status = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes();
    // From its end: tried again, then refused; and then one of two spans is not wanted.
    answers.lock().expect("lock").extend([
        whole,
        status("400 Bad Request"),
        status("503 Service Unavailable"),
    ]);
    let collector =
        Collector::start(move || answers.lock().expect("lock").pop().expect("no more than these")).await;
    let (mut balancer, _backend) = stage(&collector.settings()).await;
    assert_eq!(ask(&balancer, "/direct", "").await.status(), 200);
    balancer.counts("lb_spans_dropped_total{reason=\"refused\"} 2").await;
    assert_eq!(ask(&balancer, "/direct", "").await.status(), 200);
    balancer.counts("lb_spans_dropped_total{reason=\"refused\"} 3").await;
    balancer.counts("lb_spans_sent_total 1").await;
    collector.backend.stop().await;
    assert_eq!(ask(&balancer, "/direct", "").await.status(), 200);
    balancer.counts("lb_spans_dropped_total{reason=\"unreachable\"} 2").await;
    assert!(balancer.terminate().await.success());
}

#[tokio::test]
async fn the_end_loses_no_spans() {
    let collector = Collector::start(|| ok("")).await;
    let (mut balancer, _backend) = stage(&collector.settings()).await;
    for _ in 0..3 {
        ask(&balancer, "/direct", "").await;
    }
    assert!(balancer.terminate().await.success());
    assert_eq!(collector.spans(6).await.len(), 6);
}

#[tokio::test]
async fn the_log_can_be_combined_of_errors_alone_or_of_a_share() {
    let directory = TempDir::new().expect("a directory");
    let log = directory.path().join("access.log");
    let begin = format!("[access_log]\npath = {log:?}\nformat = \"combined\"\n");
    let fields = "Referer: http://r/\r\nUser-Agent: a \"b\"\r\n";

    let (mut balancer, _backend) = stage(&format!("{begin}[request_id]\naccept = \"always\"")).await;
    ask(&balancer, "/direct", &format!("X-Request-Id: mine\r\n{fields}")).await;
    assert!(balancer.terminate().await.success());
    let line = std::fs::read_to_string(&log).expect("written");
    let (before, after) = line.split_once(" - - [").expect("what httpd writes");
    assert!(before.starts_with("127.0.0.1"), "{line}");
    let (_, after) = after.split_once("] ").expect("a time");
    assert_eq!(after, "\"GET /direct HTTP/1.1\" 200 - \"http://r/\" \"a \\\"b\\\"\" \"mine\"\n");

    for (rule, most) in [("only = \"errors\"", 0), ("sample = 0.000001", 5)] {
        std::fs::remove_file(&log).expect("removed");
        let (mut balancer, _backend) = stage(&format!("{begin}{rule}")).await;
        for _ in 0..50 {
            ask(&balancer, "/direct", "").await;
        }
        balancer.use_upstreams(&[]).await;
        assert_eq!(ask(&balancer, "/direct", "").await.status(), 503);
        assert!(balancer.terminate().await.success());
        let text = std::fs::read_to_string(&log).expect("written");
        assert_eq!(text.lines().filter(|line| line.contains("\" 503 ")).count(), 1, "{rule}: {text}");
        assert!(text.lines().count() <= 1 + most, "{rule}: {text}");
    }
}
