//! What answers of our own look like on a route: error pages, and the changes to their header.
//!
//! ```text
//!   a problem ──▶ does the client ask for JSON? ──no──▶ the route's page for 502, for 5xx; everybody's for 502, for 5xx
//!                        │ yes, or there is no page                    │
//!                        ▼                                             ▼
//!                 problem document (RFC 9457)                  the page, filled in
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use wire::Problem;
use wire::actions::{self, ErrorPages, HeaderEdits};

use super::edits::Edits;
use super::sender::Sender;
use super::template::{Facts, Template, Word};

/// What answers of ours look like.
#[derive(Debug, Default)]
pub(crate) struct Look {
    route: String,
    pages: Pages,
    edits: Edits,
}

impl Look {
    /// That of a route, with `everybody`'s pages where it has none of its own.
    pub(crate) fn new(route: &str, pages: &ErrorPages, everybody: &ErrorPages, edits: &HeaderEdits) -> Self {
        let all = everybody.iter().chain(pages).map(|(key, page)| (key.as_str(), page));
        Look { route: route.to_owned(), pages: Pages::new(all, pages), edits: Edits::new(edits) }
    }

    /// Whether it is that of problem documents without more.
    pub(crate) fn is_plain(&self) -> bool {
        self.pages.0.is_empty() && self.edits.is_empty()
    }

    /// Whether it changes the header of answers.
    pub(crate) fn edits(&self) -> bool {
        !self.edits.is_empty()
    }

    /// Whether an upstream's answer with `status` is replaced.
    pub(crate) fn intercepts(&self, status: u16) -> bool {
        status >= 400 && self.pages.get(status).is_some_and(|page| page.intercept)
    }

    /// The answer that tells a client of `problem`.
    ///
    /// # Errors
    ///
    /// Never for what was checked.
    pub(crate) fn of_problem(
        &self,
        problem: &Problem,
        request: Option<&RequestHeader>,
        client: Sender,
        json: bool,
    ) -> Result<(ResponseHeader, Bytes)> {
        let facts = Facts { request, client, route: &self.route, problem: Some(problem) };
        let page = self.pages.get(problem.status).filter(|_| !json);
        let (kind, body) = match page {
            Some(page) => (page.content_type.clone(), page.body.fill(&facts).into_bytes()),
            // Serializing strings and numbers cannot fail; an empty body would still be a right answer.
            None => (
                HeaderValue::from_static(Problem::MEDIA_TYPE),
                serde_json::to_vec(problem).unwrap_or_default(),
            ),
        };
        let mut head = ResponseHeader::build(problem.status, Some(8))?;
        head.insert_header(header::CONTENT_TYPE, kind)?;
        head.insert_header(header::CONTENT_LENGTH, body.len())?;
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        self.edits.apply(&mut head, &facts);
        Ok((head, body.into()))
    }

    /// Changes the header of an answer to `request`.
    pub(crate) fn edit(
        &self,
        head: &mut ResponseHeader,
        request: &RequestHeader,
        client: impl FnOnce() -> Sender,
    ) {
        if !self.edits.is_empty() {
            let facts = Facts { request: Some(request), client: client(), route: &self.route, problem: None };
            self.edits.apply(head, &facts);
        }
    }
}

/// Whether a client that sent `headers` asks for JSON in so many words.
pub(crate) fn wants_json(headers: &HeaderMap) -> bool {
    let ranges =
        headers.get_all(header::ACCEPT).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
    let mut wanted = ranges.filter(|range| {
        let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let kind = parts.next().unwrap_or_default();
        let is_json = [&b"application/json"[..], Problem::MEDIA_TYPE.as_bytes()]
            .iter()
            .any(|json| kind.eq_ignore_ascii_case(json));
        // A weight of nothing says that it is not wanted (RFC 9110, section 12.4.2).
        is_json && !parts.any(|part| matches!(part, b"q=0" | b"q=0.0" | b"q=0.00" | b"q=0.000"))
    });
    wanted.next().is_some()
}

/// Pages by status or class of statuses, the best one first.
#[derive(Debug, Default)]
struct Pages(Vec<(Statuses, Page)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Statuses {
    One(u16),
    Class(u16),
}

#[derive(Debug)]
struct Page {
    body: Template,
    content_type: HeaderValue,
    intercept: bool,
}

impl Pages {
    /// All of them, of which `first` go before the others.
    fn new<'a>(all: impl Iterator<Item = (&'a str, &'a actions::ErrorPage)>, first: &ErrorPages) -> Self {
        let mut found = BTreeMap::new();
        for (key, page) in all {
            let Some(statuses) = statuses(key) else { continue };
            let is_later = !first.get(key).is_some_and(|own| std::ptr::eq(own, page));
            let Ok(content_type) = HeaderValue::from_str(&page.content_type) else { continue };
            let body = Template::new(page.body.as_deref().unwrap_or_default(), Word::IN_PAGES);
            found.insert((is_later, statuses), Page { body, content_type, intercept: page.intercept });
        }
        Pages(found.into_iter().map(|((_, statuses), page)| (statuses, page)).collect())
    }

    fn get(&self, status: u16) -> Option<&Page> {
        let fits = |statuses: Statuses| match statuses {
            Statuses::One(one) => one == status,
            Statuses::Class(class) => class == status / 100,
        };
        self.0.iter().find(|(statuses, _)| fits(*statuses)).map(|(_, page)| page)
    }
}

/// The statuses that `key` stands for, such as `404` or `5xx`.
fn statuses(key: &str) -> Option<Statuses> {
    match key.as_bytes() {
        [class @ (b'4' | b'5'), b'x', b'x'] => Some(Statuses::Class(u16::from(class - b'0'))),
        [b'4' | b'5', b'0'..=b'9', b'0'..=b'9'] => key.parse().ok().map(Statuses::One),
        _ => None,
    }
}

/// Whether pages can have this key.
pub(crate) fn is_key(key: &str) -> bool {
    statuses(key).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(pages: &[(&str, &str)]) -> ErrorPages {
        let page = |body: &str| actions::ErrorPage { body: Some(body.to_owned()), ..Default::default() };
        pages.iter().map(|(key, body)| ((*key).to_owned(), page(body))).collect()
    }

    #[test]
    fn a_routes_own_page_goes_first_and_a_status_goes_before_its_class() {
        let everybody = pages(&[("404", "e404"), ("5xx", "e5xx"), ("503", "e503"), ("502", "e502")]);
        let own = pages(&[("5xx", "o5xx"), ("503", "o503 {status} {detail}")]);
        let look = Look::new("r", &own, &everybody, &HeaderEdits::default());
        let other = Look::new("s", &ErrorPages::new(), &everybody, &HeaderEdits::default());
        let body = |look: &Look, status: u16, json| {
            let problem = Problem::new(status, "t", "d");
            let (head, body) = look.of_problem(&problem, None, Sender::somebody(), json).expect("an answer");
            let kind = head.headers["content-type"].to_str().expect("text").to_owned();
            (String::from_utf8(body.into()).expect("text"), kind)
        };
        for (status, expected, others) in
            [(404, "e404", "e404"), (502, "o5xx", "e502"), (503, "o503 503 d", "e503"), (504, "o5xx", "e5xx")]
        {
            assert_eq!(
                body(&look, status, false),
                (expected.to_owned(), "text/html; charset=utf-8".to_owned())
            );
            assert_eq!(body(&other, status, false).0, others);
            assert!(body(&look, status, true).0.starts_with("{\"type\":"));
        }
        assert_eq!(body(&look, 413, false).1, Problem::MEDIA_TYPE, "there is no page for it");
    }

    #[test]
    fn json_is_for_who_asks_for_it() {
        for (accept, expected) in [
            (&[][..], false),
            (&["text/html,application/xhtml+xml,*/*;q=0.8"], false),
            (&["application/json"], true),
            (&["text/html", "Application/Problem+JSON;q=0.5"], true),
            (&["application/json;q=0, text/html"], false),
            (&["application/jsonp"], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(wants_json(&headers), expected, "{accept:?}");
        }
    }
}
