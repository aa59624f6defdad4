//! What is put into a request and its answer. It is put into the request as it came, before anything is made of that: so it
//! goes to the upstream on every way that a request can take.

use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use pingora_http::{RequestHeader, ResponseHeader};

use super::super::asked::Asked;
use super::Trace;
use super::context::{Context, SpanId, TRACEPARENT, TRACESTATE, is_state};

/// Version and trace are ahead of the span in a `traceparent`, in bytes.
const BEFORE_SPAN: usize = "00-".len() + 32 + "-".len();

/// The field that the answer to a request has too. It goes along as the request's extension.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
}

impl Shown {
    /// That of the answer to what was `asked`, if there is one.
    pub(crate) fn of(asked: Asked<'_>) -> Option<&Self> {
        match asked {
            Asked::Head(_) => None,
            Asked::Header(request) => request.extensions.get(),
        }
    }

    /// Puts it into `answer`, in the place of whatever is there.
    pub(crate) fn put(&self, answer: &mut ResponseHeader) {
        // A field that was one before cannot be refused.
        let _ = answer.insert_header(self.name.clone(), self.value.clone());
    }

    /// Whether it is in a field of this name.
    pub(crate) fn is_in(&self, name: &[u8]) -> bool {
        self.name.as_str().as_bytes().eq_ignore_ascii_case(name)
    }

    #[cfg(test)]
    pub(crate) fn test(name: &'static str, value: &'static str) -> Self {
        Shown { name: HeaderName::from_static(name), value: HeaderValue::from_static(value) }
    }
}

/// Gives `request` its id, in the field `name`, and has its answer show it.
pub(super) fn name(request: &mut RequestHeader, name: &HeaderName, id: &HeaderValue) {
    forget(request, name);
    // A field that was one before cannot be refused.
    let _ = request.insert_header(name.clone(), id.clone());
    request.extensions_mut().insert(Shown { name: name.clone(), value: id.clone() });
}

/// Tells upstreams which trace `request` is part of; `goes_on`: that which it came with.
pub(super) fn trace(request: &mut RequestHeader, context: &Context, goes_on: bool) {
    if !goes_on || !is_state(&request.headers) {
        request.remove_header(&TRACESTATE);
    }
    forget(request, &TRACEPARENT);
    forget_option(request, &TRACESTATE);
    let _ = request.insert_header(TRACEPARENT, context.field(context.span));
}

/// Has `request`, which is of the trace `context`, come from its try `span` instead. A route may have put something else
/// in its place, which stays.
pub(crate) fn retry(request: &mut RequestHeader, context: &Context, span: SpanId) {
    if request.headers.get(TRACEPARENT).is_some_and(|value| *value == context.field(context.span)) {
        let _ = request.insert_header(TRACEPARENT, context.field(span));
    }
}

/// Where in a head that is written already the request's own span is, as the caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsksAs(usize);

impl AsksAs {
    /// Its place in what begins with the head `wire` of a request of `trace`; none where that is not recorded, or a
    /// route has put something else there.
    pub(crate) fn find(wire: &[u8], trace: &Trace) -> Option<Self> {
        let context = trace.context().filter(|context| context.is_recorded)?;
        let field = context.field(context.span);
        let at = memchr::memmem::find(wire, field.as_bytes())?;
        Some(AsksAs(at + BEFORE_SPAN))
    }

    /// Says there that it is `span`.
    pub(crate) fn say(self, wire: &mut [u8], span: SpanId) {
        let text = span.text();
        if let Some(place) = wire.get_mut(self.0..self.0 + text.len()) {
            place.copy_from_slice(text.as_bytes());
        }
    }
}

/// Has the answer to `request` say what that is called.
pub(crate) fn show(request: &RequestHeader, answer: &mut ResponseHeader) {
    if let Some(shown) = Shown::of(request.into())
        && (!answer.status.is_informational() || answer.status == StatusCode::SWITCHING_PROTOCOLS)
    {
        shown.put(answer);
    }
}

/// Takes out of `request` what others than us say in this field, or seem to say to those who take `_` for `-`; and has
/// its client not make us drop what we say ourselves by naming it in `Connection`.
fn forget(request: &mut RequestHeader, name: &HeaderName) {
    let is_like = |other: &&HeaderName| {
        other.as_str().contains('_') && other.as_str().replace('_', "-") == name.as_str().replace('_', "-")
    };
    let alike: Vec<HeaderName> = request.headers.keys().filter(is_like).cloned().collect();
    for other in &alike {
        request.remove_header(other);
    }
    forget_option(request, name);
}

fn forget_option(request: &mut RequestHeader, name: &HeaderName) {
    let values = || request.headers.get_all(header::CONNECTION).iter();
    let options =
        || values().flat_map(|value| value.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    let names_it = |option: &[u8]| option.eq_ignore_ascii_case(name.as_str().as_bytes());
    if !options().any(names_it) {
        return;
    }
    let rest = options().filter(|option| !names_it(option)).collect::<Vec<_>>().join(&b", "[..]);
    request.remove_header(&header::CONNECTION);
    if !rest.is_empty() {
        let _ = request.insert_header(header::CONNECTION, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::Parent;
    use super::*;

    const CAME: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn request(fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        for (name, value) in fields {
            request.append_header(*name, *value).expect("a field");
        }
        request
    }

    fn all<'a>(request: &'a RequestHeader, name: &str) -> Vec<&'a str> {
        request.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    }

    #[test]
    fn a_request_has_one_id_and_its_answer_the_same() {
        let id = HeaderName::from_static("x-request-id");
        let mut named = request(&[
            ("X-Request-ID", "1"),
            ("x-request-id", "2"),
            ("X_Request_Id", "3"),
            ("Connection", "close, X-Request-ID"),
            ("Connection", "x-other"),
        ]);
        name(&mut named, &id, &HeaderValue::from_static("ours"));
        assert_eq!(all(&named, "x-request-id"), ["ours"]);
        assert!(!named.headers.contains_key("x_request_id"));
        assert_eq!(all(&named, "connection"), ["close, x-other"]);
        let mut answer = ResponseHeader::build(200, None).expect("an answer");
        answer.append_header("X-Request-Id", "theirs").expect("a field");
        show(&named.clone(), &mut answer);
        assert_eq!(answer.headers.get_all(&id).iter().collect::<Vec<_>>(), ["ours"]);
        let mut interim = ResponseHeader::build(103, None).expect("an answer");
        show(&named, &mut interim);
        show(&request(&[]), &mut interim);
        assert!(interim.headers.is_empty());
    }

    #[test]
    fn upstreams_are_told_of_the_trace_and_of_each_try() {
        let mut asked = request(&[
            ("traceparent", CAME),
            ("tracestate", "a=1"),
            ("connection", "traceparent, TraceState"),
        ]);
        let context = Context::new(Parent::of(&asked.headers), true);
        trace(&mut asked, &context, true);
        assert_eq!(all(&asked, "traceparent"), [context.field(context.span).to_str().expect("text")]);
        assert_eq!((all(&asked, "tracestate"), all(&asked, "connection")), (vec!["a=1"], vec![]));
        let span = SpanId::random();
        retry(&mut asked, &context, span);
        assert_eq!(all(&asked, "traceparent"), [context.field(span).to_str().expect("text")]);
        retry(&mut asked, &context, SpanId::random());
        assert_eq!(
            all(&asked, "traceparent"),
            [context.field(span).to_str().expect("text")],
            "it was another's"
        );
    }

    #[test]
    fn what_belongs_to_no_trace_that_goes_on_is_thrown_away() {
        for (goes_on, state) in [(false, "a=1"), (true, "A=1"), (true, "a")] {
            let mut asked = request(&[("tracestate", state)]);
            trace(&mut asked, &Context::new(None, true), goes_on);
            assert!(!asked.headers.contains_key("tracestate"), "{goes_on} {state}");
        }
    }
}
