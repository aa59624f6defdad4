//! The head of an answer as clients of HTTP/2 get it, made straight from what the upstream sent where a route changes nothing
//! of it: most answers are. What is made is what [`super::super::headers::forward_response`] and [`super::Session::respond`]
//! make of it field by field; a test holds one against the other.

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use pingora_core::protocols::http::date::get_cached_date;

use super::super::downstream::as_came::names_fields;
use super::super::forward::http1::answer::{Head, Kind};
use super::super::headers::via_behind;
use super::super::observe::mark::Shown;

/// So many fields are added at most: `via`, `date`, and what is shown.
const ADDED: usize = 3;

/// What is made of `head`, and what is `shown` besides; none where it has to be made field by field.
pub(super) fn made(head: &Head, shown: Option<&Shown>) -> Option<Response<()>> {
    let mut fields = HeaderMap::with_capacity(head.count() + ADDED);
    let mut has_length = false;
    for (kind, name, value) in head.shared() {
        match kind {
            Kind::Connection if names_fields(&value) => return None,
            // These are of the upstream's connection alone; frames say where a body ends (RFC 9113, section 8.1).
            Kind::Connection | Kind::Hop | Kind::Codings | Kind::Via => continue,
            Kind::Length if std::mem::replace(&mut has_length, true) || value.contains(&b',') => return None,
            Kind::Other if shown.is_some_and(|shown| shown.is_in(name)) => continue,
            Kind::Length | Kind::Type | Kind::Date | Kind::Other => {}
        }
        let name = match kind {
            Kind::Length => header::CONTENT_LENGTH,
            Kind::Type => header::CONTENT_TYPE,
            Kind::Date => header::DATE,
            _ => HeaderName::from_bytes(name).ok()?,
        };
        fields.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    fields.insert(header::VIA, via_behind(head.values(Kind::Via)));
    if let Some(Shown { name, value }) = shown {
        fields.insert(name.clone(), value.clone());
    }
    if !fields.contains_key(header::DATE) {
        fields.insert(header::DATE, get_cached_date());
    }
    let mut made = Response::new(());
    *made.status_mut() = head.status;
    *made.headers_mut() = fields;
    Some(made)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::Version;
    use pingora_http::RequestHeader;
    use proptest::prelude::*;

    use super::super::super::forward::http1::{self, FIELDS};
    use super::super::super::forward::respond;
    use super::super::super::headers;
    use super::super::session::complete;
    use super::*;

    fn fields(headers: &HeaderMap) -> BTreeSet<(String, Vec<Vec<u8>>)> {
        let values = |name| headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
        let names = headers.keys().filter(|name| *name != header::DATE);
        names.map(|name| (name.to_string(), values(name))).collect()
    }

    proptest! {
        #[test]
        fn an_answer_is_what_it_would_be_made_field_by_field(
            chosen in prop::collection::vec(0..FIELDS.len(), 0..8), status in 0..5_usize, is_shown: bool,
        ) {
            let status = [200, 204, 304, 404, 500][status];
            let lines: String = chosen.iter().map(|&field| format!("{}\r\n", FIELDS[field])).collect();
            let Ok(head) = http1::head_of(&format!("HTTP/1.1 {status} What\r\n{lines}\r\n")) else { return Ok(()) };
            let shown = is_shown.then(|| Shown::test("x-mine", "ours"));
            let Some(straight) = made(&head, shown.as_ref()) else { return Ok(()) };

            let mut request = RequestHeader::build_no_case("GET", b"/", None).expect("a request");
            request.set_version(Version::HTTP_2);
            let mut slowly = head.to_header(false).expect("a header");
            headers::forward_response(&mut slowly).expect("made");
            respond::frame(&mut slowly, &request).expect("framed");
            if let Some(shown) = &shown {
                shown.put(&mut slowly);
            }
            complete(&mut slowly).expect("completed");
            prop_assert_eq!(straight.status(), slowly.status);
            prop_assert_eq!(straight.headers().contains_key(header::DATE), slowly.headers.contains_key(header::DATE));
            prop_assert_eq!(fields(straight.headers()), fields(&slowly.headers));
        }
    }

    #[test]
    fn most_answers_are_made_so() {
        let head = http1::head_of(
            "HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 5\r\nVia: 1.0 b\r\nConnection: keep-alive\r\n\r\n",
        );
        let made = made(&head.expect("a head"), None).expect("made so");
        let expected = [("server", "a"), ("content-length", "5"), ("via", "1.0 b, 1.1 lb")];
        let expected = expected.map(|(name, value)| (name.to_owned(), vec![value.as_bytes().to_vec()]));
        assert_eq!(fields(made.headers()), BTreeSet::from(expected));
        assert!(made.headers().contains_key(header::DATE));
    }
}
