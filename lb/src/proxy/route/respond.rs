//! What a route answers without asking an upstream: a redirect, or the same for everybody.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use wire::actions::{self, HeaderEdits};
use wire::{Problem, proxy_config};

use super::PathRule;
use super::edits::Edits;
use super::look::{Look, wants_json};
use super::sender::Sender;
use super::target::Redirect;
use super::template::Facts;

/// What is done instead of asking upstreams.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Redirect(Redirect),
    Respond(Fixed),
}

/// An answer that is the same for everybody.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    status: u16,
    body: Option<Bytes>,
    content_type: Option<HeaderValue>,
    fields: Edits,
}

impl Action {
    pub(super) fn new(described: &proxy_config::Route, rule: &PathRule) -> Option<Self> {
        if let Some(redirect) = &described.redirect {
            return Some(Action::Redirect(Redirect::new(redirect, rule)));
        }
        let actions::Respond { status, body, content_type, headers } = described.respond.as_ref()?;
        let fields = HeaderEdits { set: headers.clone(), ..HeaderEdits::default() };
        Some(Action::Respond(Fixed {
            status: *status,
            body: body.clone().map(Bytes::from),
            content_type: HeaderValue::from_str(content_type).ok(),
            fields: Edits::new(&fields),
        }))
    }

    /// The answer to `request` from `client`, with the `look` of its route.
    ///
    /// # Errors
    ///
    /// Never for what was checked.
    pub(crate) fn answer(
        &self,
        request: &RequestHeader,
        client: Sender,
        look: &Look,
        route: &str,
    ) -> Result<(ResponseHeader, Bytes)> {
        match self {
            Action::Redirect(redirect) => {
                let Some(location) = redirect.location(request, client) else {
                    let problem = Problem::new(
                        400,
                        "Bad request",
                        "the request names no host that it could be sent to",
                    );
                    return look.of_problem(&problem, Some(request), client, wants_json(&request.headers));
                };
                let mut head = ResponseHeader::build(redirect.status(), Some(4))?;
                head.insert_header(header::LOCATION, location)?;
                head.insert_header(header::CONTENT_LENGTH, 0)?;
                look.edit(&mut head, request, || client);
                Ok((head, Bytes::new()))
            }
            Action::Respond(fixed) => fixed.answer(request, client, look, route),
        }
    }
}

impl Fixed {
    fn answer(
        &self,
        request: &RequestHeader,
        client: Sender,
        look: &Look,
        route: &str,
    ) -> Result<(ResponseHeader, Bytes)> {
        let facts = Facts { request: Some(request), client, route, problem: None };
        if self.body.is_none() && self.status >= 400 {
            let title = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
            let problem = Problem::new(
                self.status,
                title.unwrap_or("Error"),
                "the configuration says that this is answered so",
            );
            let (mut head, body) =
                look.of_problem(&problem, Some(request), client, wants_json(&request.headers))?;
            self.fields.apply(&mut head, &facts);
            return Ok((head, body));
        }
        let mut head = ResponseHeader::build(self.status, Some(4))?;
        let body = self.body.clone().unwrap_or_default();
        // RFC 9110, section 8.6: 204 has no length, and 304 would tell that of another answer.
        if !matches!(self.status, 204 | 304) {
            head.insert_header(header::CONTENT_LENGTH, body.len())?;
        }
        if let Some(content_type) = self.content_type.as_ref().filter(|_| self.body.is_some()) {
            head.insert_header(header::CONTENT_TYPE, content_type.clone())?;
        }
        self.fields.apply(&mut head, &facts);
        look.edit(&mut head, request, || client);
        Ok((head, body))
    }
}
