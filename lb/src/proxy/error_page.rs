//! The answers the proxy gives itself, as problem documents: who is at fault is told apart by status.

use bytes::Bytes;
use http::header;
use pingora_core::protocols::http::HttpTask;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use wire::Problem;

use super::context::is_last;
use super::grpc;

/// After so many seconds a client may ask again where there was no upstream.
const RETRY_AFTER_SECONDS: &str = "1";

/// The same as a line of a head.
const RETRY_AFTER: &str = "Retry-After: 1\r\n";

/// Why a request is not answered by an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 404: no route matches.
    NoRoute,
    /// 408: the request's head did not arrive in time.
    HeadTooSlow,
    /// 413: the request's body is larger than allowed.
    BodyTooLarge,
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
            Refusal::NoRoute => 404,
            Refusal::HeadTooSlow => 408,
            Refusal::BodyTooLarge => 413,
            Refusal::HeadTooLarge => 431,
            Refusal::BadGateway | Refusal::UpstreamGone | Refusal::Unreachable => 502,
            Refusal::NoUpstream | Refusal::Busy | Refusal::Moving | Refusal::MovingMidway => 503,
            Refusal::TooSlow | Refusal::UpstreamSilent => 504,
        }
    }

    fn problem(self) -> Problem {
        let (title, detail) = match self {
            Refusal::NoRoute => ("No route", "no route matches this host and path"),
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
            Refusal::NoRoute | Refusal::HeadTooSlow | Refusal::BodyTooLarge | Refusal::HeadTooLarge => {
                "about:blank"
            }
        }
    }

    fn body(self) -> Bytes {
        // Serializing strings and numbers cannot fail; an empty body would still be a right answer.
        serde_json::to_vec(&self.problem()).unwrap_or_default().into()
    }

    fn is_worth_repeating(self) -> bool {
        matches!(self, Refusal::NoUpstream | Refusal::Busy | Refusal::Moving)
    }

    /// Whether the rest of the request is still on its way, so that the connection cannot be used again.
    fn ends_connection(self) -> bool {
        matches!(self, Refusal::HeadTooSlow | Refusal::BodyTooLarge | Refusal::HeadTooLarge)
    }

    /// Answers with it through Pingora.
    ///
    /// # Errors
    ///
    /// When the client cannot be written to.
    pub(crate) async fn answer(self, session: &mut Session) -> Result<()> {
        if self.ends_connection() || is_last(session) {
            session.set_keepalive(None);
        }
        if grpc::is_grpc(session.req_header()) {
            let (response, _no_body) = grpc::refusal(self)?;
            let whole = vec![HttpTask::Header(Box::new(response), true)];
            return session.as_downstream_mut().response_duplex_vec(whole).await.map(drop);
        }
        let (response, body) = self.document()?;
        session.as_downstream_mut().write_response_header(Box::new(response)).await?;
        session.as_downstream_mut().write_response_body(body, true).await
    }

    /// Head and body of the answer.
    ///
    /// # Errors
    ///
    /// Never for these values.
    pub(crate) fn document(self) -> Result<(ResponseHeader, Bytes)> {
        let body = self.body();
        let mut response = ResponseHeader::build(self.status(), Some(6))?;
        response.insert_header(header::CONTENT_TYPE, Problem::MEDIA_TYPE)?;
        response.insert_header(header::CONTENT_LENGTH, body.len())?;
        response.insert_header(header::CACHE_CONTROL, "no-store")?;
        if self.is_worth_repeating() {
            response.insert_header(header::RETRY_AFTER, RETRY_AFTER_SECONDS)?;
        }
        Ok((response, body))
    }

    /// What is wrong, in words.
    pub(crate) fn detail(self) -> String {
        self.problem().detail
    }

    /// The whole answer, for when there is no Pingora session: it ends the connection.
    pub(crate) fn raw(self) -> Vec<u8> {
        let body = self.body();
        let problem = self.problem();
        let mut answer = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{}Connection: close\r\n\r\n",
            problem.status,
            problem.title,
            Problem::MEDIA_TYPE,
            body.len(),
            if self.is_worth_repeating() { RETRY_AFTER } else { "" },
        )
        .into_bytes();
        answer.extend_from_slice(&body);
        answer
    }
}
