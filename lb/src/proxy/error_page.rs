//! The answers the proxy gives itself, as problem documents or as its route's pages: who is at fault is told apart
//! by status.

use bytes::Bytes;
use http::header;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use wire::Problem;

use super::client::{Client, Likeness};
use super::downstream::Downstream;
use super::grpc;
use super::limits::rate::Quota;
use super::route::look::{Look, wants_json};
use super::route::sender::Sender;
use super::strict::Fault;

/// After so many seconds a client may ask again where there was no upstream.
const RETRY_AFTER_SECONDS: &str = "1";

/// Why a request is not answered by an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 403: its client is not among those who may ask.
    Forbidden,
    /// 404: no route matches.
    NoRoute,
    /// 4xx, 501 or 505: it is not one that can be understood in one way only, or its body did not come as it said.
    Faulty(Fault),
    /// 408: the request's head did not arrive in time.
    HeadTooSlow,
    /// 413: the request's body is larger than allowed.
    BodyTooLarge,
    /// 429: its client, or whoever it counts for, asks too often.
    TooOften(Quota),
    /// 431: the request's head is larger than allowed.
    HeadTooLarge,
    /// 502: an upstream was sent the request and broke off; it may have been executed.
    BadGateway,
    /// 502: the upstream that was sent the request left the set without having drained; it may have been executed.
    UpstreamGone,
    /// 502: upstreams could not be connected to, while others may still live. Nothing was sent.
    Unreachable,
    /// 503: there is no upstream, or none that can be reached.
    NoUpstream,
    /// 503: every upstream has its fill of requests.
    Busy,
    /// 503: the address moves to another balancer; the request may be sent again, there.
    Moving,
    /// 503: the same, but it may have been executed, and its method does not allow that twice.
    MovingMidway,
    /// 504: no upstream answered in time.
    TooSlow,
    /// 504: the upstream that was sent the request is out of use and says nothing; it may have been executed.
    UpstreamSilent,
}

impl Refusal {
    pub(crate) fn status(self) -> u16 {
        match self {
            Refusal::Forbidden => 403,
            Refusal::NoRoute => 404,
            Refusal::Faulty(fault) => fault.status,
            Refusal::HeadTooSlow => 408,
            Refusal::BodyTooLarge => 413,
            Refusal::TooOften(_) => 429,
            Refusal::HeadTooLarge => 431,
            Refusal::BadGateway | Refusal::UpstreamGone | Refusal::Unreachable => 502,
            Refusal::NoUpstream | Refusal::Busy | Refusal::Moving | Refusal::MovingMidway => 503,
            Refusal::TooSlow | Refusal::UpstreamSilent => 504,
        }
    }

    fn problem(self) -> Problem {
        let (title, detail) = match self {
            Refusal::Forbidden => ("Forbidden", "this address may not ask for it"),
            Refusal::TooOften(_) => {
                ("Too many requests", "there were too many requests of late: wait a little")
            }
            Refusal::NoRoute => ("No route", "no route matches this host and path"),
            Refusal::Faulty(fault) => (fault.title(), fault.detail),
            Refusal::HeadTooSlow => ("Request timeout", "the request's head did not arrive in time"),
            Refusal::BodyTooLarge => ("Content too large", "the request's body is larger than allowed here"),
            Refusal::HeadTooLarge => {
                ("Request header fields too large", "the request's head is larger than allowed here")
            }
            Refusal::BadGateway => {
                ("Bad gateway", "an upstream broke off before it answered; it may have executed the request")
            }
            Refusal::UpstreamGone => {
                ("Bad gateway", "the upstream is gone that was sent the request; it may have executed it")
            }
            Refusal::Unreachable => {
                ("Bad gateway", "no upstream could be connected to; the request was not executed")
            }
            Refusal::NoUpstream => ("No upstream", "no upstream can take this request now"),
            Refusal::Busy => ("Overloaded", "every upstream has as many requests as it may"),
            Refusal::Moving => ("Moving", "another balancer takes this address now: send the request again"),
            Refusal::MovingMidway => (
                "Moving",
                "another balancer takes this address now; the request was not answered and may have been executed",
            ),
            Refusal::TooSlow => ("Gateway timeout", "no upstream answered in time"),
            Refusal::UpstreamSilent => (
                "Gateway timeout",
                "the upstream that was sent the request says nothing any more; it may have executed it",
            ),
        };
        let kind = self.kind().to_owned();
        Problem { kind, ..Problem::new(self.status(), title, detail) }
    }

    /// Tells programs apart what has the same status: whether the request may have been executed.
    fn kind(self) -> &'static str {
        match self {
            Refusal::BadGateway | Refusal::MovingMidway => "/problems/broken-off",
            Refusal::UpstreamGone => "/problems/upstream-gone",
            Refusal::Moving => "/problems/moving",
            Refusal::Unreachable => "/problems/unreachable",
            Refusal::NoUpstream => "/problems/no-upstream",
            Refusal::Busy => "/problems/overloaded",
            Refusal::TooSlow => "/problems/too-slow",
            Refusal::UpstreamSilent => "/problems/upstream-silent",
            Refusal::TooOften(_) => "/problems/too-often",
            Refusal::Forbidden
            | Refusal::NoRoute
            | Refusal::Faulty(_)
            | Refusal::HeadTooSlow
            | Refusal::BodyTooLarge
            | Refusal::HeadTooLarge => "about:blank",
        }
    }

    fn is_worth_repeating(self) -> bool {
        matches!(self, Refusal::NoUpstream | Refusal::Busy | Refusal::Moving)
    }

    /// Whether the rest of the request is still on its way, so that the connection cannot be used again.
    fn ends_connection(self) -> bool {
        matches!(
            self,
            Refusal::Faulty(_) | Refusal::HeadTooSlow | Refusal::BodyTooLarge | Refusal::HeadTooLarge
        )
    }

    /// The answer, with the `look` of its route; `json`: the client asks for a problem document.
    ///
    /// # Errors
    ///
    /// Where a page's values cannot be header fields, which was looked at before.
    pub(crate) fn answer_to(
        self,
        request: Option<&RequestHeader>,
        client: Sender,
        look: &Look,
        json: bool,
    ) -> Result<(ResponseHeader, Bytes)> {
        let (mut head, body) = look.of_problem(&self.problem(), request, client, json)?;
        if self.is_worth_repeating() {
            head.insert_header(header::RETRY_AFTER, RETRY_AFTER_SECONDS)?;
        }
        if let Refusal::TooOften(Quota { requests, seconds, retry_after }) = self {
            head.insert_header(header::RETRY_AFTER, retry_after)?;
            // draft-ietf-httpapi-ratelimit-headers
            head.insert_header("RateLimit-Policy", format!("\"limit\";q={requests};w={seconds}"))?;
            head.insert_header("RateLimit", format!("\"limit\";r=0;t={retry_after}"))?;
        }
        Ok((head, body))
    }

    /// Answers with it.
    ///
    /// # Errors
    ///
    /// When the client cannot be written to.
    pub(crate) async fn answer(
        self,
        downstream: &mut Downstream<'_>,
        client: &Client,
        look: &Look,
    ) -> Result<()> {
        if self.ends_connection() || downstream.is_last() {
            downstream.close();
        }
        if grpc::is_grpc(downstream.request()) {
            return downstream.write_head_alone(grpc::refusal(self)?).await;
        }
        let request = downstream.request();
        let client = Sender::of(client);
        let (head, body) = self.answer_to(Some(request), client, look, wants_json(&request.headers))?;
        write(downstream, head, body).await
    }

    /// What is wrong, in words.
    pub(crate) fn detail(self) -> String {
        self.problem().detail
    }

    /// The whole answer, for when there is no Pingora session, and how much of it is the body: it ends the connection.
    pub(crate) fn raw(self, client: Sender, likeness: &Likeness) -> (Vec<u8>, u64) {
        let Likeness { look, json, shown } = likeness;
        let Ok((mut head, body)) = self.answer_to(None, client, look, *json) else { return (Vec::new(), 0) };
        if let Some(shown) = shown {
            shown.put(&mut head);
        }
        let reason = head.status.canonical_reason().unwrap_or_default();
        let mut answer = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()).into_bytes();
        let mut line = |name: &[u8], value: &[u8]| {
            for part in [name, b": ", value, b"\r\n"] {
                answer.extend_from_slice(part);
            }
        };
        for (name, value) in &head.headers {
            line(name.as_str().as_bytes(), value.as_bytes());
        }
        line(b"Connection", b"close");
        answer.extend_from_slice(b"\r\n");
        answer.extend_from_slice(&body);
        (answer, body.len() as u64)
    }
}

/// Sends an answer of ours.
///
/// # Errors
///
/// When the client cannot be written to.
pub(crate) async fn write(downstream: &mut Downstream<'_>, head: ResponseHeader, body: Bytes) -> Result<()> {
    if downstream.is_last() {
        downstream.close();
    }
    downstream.write_head(Box::new(head)).await?;
    downstream.write_body(body, true).await
}

/// What of an upstream's answer goes along with the one that takes its place: what it asks of the client.
const KEPT: [header::HeaderName; 4] =
    [header::ALLOW, header::RETRY_AFTER, header::SET_COOKIE, header::WWW_AUTHENTICATE];

/// The answer that takes the place of an upstream's, whose head is `upstream`, by the `look` of its route.
///
/// # Errors
///
/// Never for what was checked.
pub(crate) fn instead_of(
    upstream: &ResponseHeader,
    request: &RequestHeader,
    client: Sender,
    look: &Look,
) -> Result<(ResponseHeader, Bytes)> {
    let title = upstream.status.canonical_reason().unwrap_or("Error");
    let problem = Problem::new(upstream.status.as_u16(), title, "the service answered with this status");
    let (mut head, body) = look.of_problem(&problem, Some(request), client, wants_json(&request.headers))?;
    for name in KEPT {
        for value in upstream.headers.get_all(&name) {
            head.append_header(&name, value.clone())?;
        }
    }
    Ok((head, body))
}
