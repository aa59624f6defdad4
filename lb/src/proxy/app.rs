//! Pingora's hooks: where a request enters, which way it is forwarded, and what is said when it fails.
//!
//! ```text
//!   request_filter ─▶ entrance ── all of it is at hand ──▶ forward::forward, answered
//!        │ the rest: large bodies, streams, upgrades
//!        ▼
//!   upstream_peer ◀──── retry ─────┬──────────────────────────┐
//!        ▼                         │ nothing was sent         │ idempotent, whole, nothing answered yet
//!     (connect) ─────▶ fail_to_connect                        │
//!        ▼                                                    │
//!   upstream_request_filter ─▶ … ─────────────────────▶ error_while_proxy
//!        ▼                                                    ▼
//!   upstream_response_filter ─▶ response_filter        fail_to_proxy: 502, 503, 504, 413
//! ```

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Version;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio::time::Instant;
use wire::proxy_config::Protocol;

use super::alarms::Alarms;
use super::client::Client;
use super::context::{Context, client_of, expect_body};
use super::downstream::Downstream;
use super::entrance::{self, Next};
use super::error_page::{self, Refusal};
use super::forward::announce;
use super::forward::connect::{ConnectFailure, Purpose, pingora_peer};
use super::forward::dial::Dial;
use super::forward::exchange::unread;
use super::forward::h2c;
use super::forward::hold::{Held, hold};
use super::forward::lost::Lookout;
use super::forward::respond::{self, Framing};
use super::forward::sound::MAX_INTERIM;
use super::forward::tries::Tries;
use super::forward::{is_repeatable, is_upgrade};
use super::headers;
use super::health::{self, Failure};
use super::metrics::Retry;
use super::observe::mark;
use super::queue;
use super::route::sender::Sender;
use super::state::State;
use super::state::learned::SHORTEST_DOUBT;
use crate::settings::Limits;

/// A client that sends nothing for so long into a tunnel or a stream of HTTP/2 is given up.
const CLIENT_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Once a tunnel or a stream of HTTP/2 is answered, its client may be silent for so long while the other side talks.
/// One that is gone without a word is found by keep-alive long before.
const CLIENT_SILENCE: Duration = Duration::from_secs(3600);

/// The rest of a body that nobody waits for any more is read away for so long.
const CLIENT_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether a request that was sent on Pingora's path may be sent again, and can be: all of it is still there.
fn may_repeat(session: &Session, tries: &Tries) -> bool {
    is_repeatable(session.req_header().into(), tries.route()) && !session.as_ref().retry_buffer_truncated()
}

/// The proxy as one worker's Pingora knows it.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) state: Arc<State>,
    pub(crate) limits: Limits,
    pub(crate) worker: usize,
    pub(crate) alarms: Alarms,
}

#[async_trait]
impl ProxyHttp for App {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    /// None: the compression module of the default costs every request.
    fn init_downstream_modules(&self, _modules: &mut pingora_core::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        let client = client_of(session)?;
        let length = expect_body(session, &client);
        // How slow the client may be otherwise, its connection knows.
        let is_http2 = matches!(client, Client::Http2(_));
        let read_timeout = (is_http2 || is_upgrade(session.req_header())).then_some(CLIENT_READ_TIMEOUT);
        session.set_read_timeout(read_timeout);
        session.set_write_timeout(is_http2.then(|| Duration::from_millis(self.limits.send_timeout_ms)));
        session.set_total_drain_timeout(Some(CLIENT_DRAIN_TIMEOUT));
        context.client = Some(client.clone());
        if session.req_header().version == Version::HTTP_10 {
            // It knows no interim answers (RFC 9110, section 15.2).
            session.as_downstream_mut().set_ignore_info_resp(true);
        }

        let downstream = &mut Downstream::Pingora(session);
        let next = entrance::enter(self, downstream, &client, length, &mut context.account).await?;
        let Next::Streams(tries, until) = next else { return Ok(true) };
        client.answer_by(Some(until));
        context.tries = Some(tries);
        Ok(false)
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        context: &mut Context,
    ) -> Result<()> {
        // A slow upload is the client's time: the answer's time begins anew with each part.
        if let (Some(client), Some(tries)) = (&context.client, &context.tries) {
            let timeout = tries.route().timeout;
            client.answer_by(client.deadline().map(|_| Instant::now() + timeout));
        }
        context.body_bytes += body.as_ref().map_or(0, |body| body.len() as u64);
        let usual = self.limits.body_bytes;
        let most = context.tries.as_ref().map_or(usual, |tries| tries.route().body_bytes(usual));
        if context.body_bytes > most {
            context.refusal = Some(Refusal::BodyTooLarge);
            return Err(Error::new_down(ErrorType::HTTPStatus(Refusal::BodyTooLarge.status())));
        }
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        let Some(tries) = &mut context.tries else { return Err(Error::new_in(ErrorType::InternalError)) };
        (context.present, context.lookout, context.interim) = (None, None, 0);
        // A repeated body is counted anew.
        context.body_bytes = 0;
        if !tries.are_new() {
            tries.follow(&self.state);
        }
        let (choice, in_flight) = loop {
            let until = context.client.as_ref().and_then(Client::deadline);
            let until = until.unwrap_or_else(|| Instant::now() + tries.route().timeout);
            let refusal = match (queue::next(tries, &self.state, until).await, &context.client) {
                (Ok(next), _) => break next,
                (Err(refusal), Some(client)) if refusal != Refusal::Busy && tries.is_hopeless() => {
                    match hold(&self.state, tries, client, &mut context.held_since, until).await {
                        Held::Again => continue,
                        Held::InVain | Held::ClientGone => Refusal::NoUpstream,
                    }
                }
                (Err(refusal), _) => refusal,
            };
            context.refusal = Some(refusal);
            return Err(Error::new_in(ErrorType::HTTPStatus(refusal.status())));
        };
        let upstream = in_flight.upstream();
        let policy = &tries.pool().policy;
        // Requests share a connection of HTTP/2; what is lost with it is told as what is lost with one of their own.
        let may_reuse = is_repeatable(session.req_header().into(), tries.route())
            || policy.reuse_unrepeatable
            || policy.protocol.is_http2();
        context.dial = (policy.tls.is_some() || policy.proxy_protocol.is_some()).then(|| {
            let name = upstream.name_for(tries.route().host_of(session.req_header()));
            let limit = Duration::from_millis(policy.connect_timeout_ms);
            let client = context.client.as_ref().map(|client| Sender::of(client).address);
            let header = |version| announce::header(version, client, upstream.address);
            let purpose = Purpose { name, ahead: policy.proxy_protocol.map(header) };
            Dial::new(upstream.clone(), limit, self.worker, purpose, policy.protocol)
        });
        let fresh = choice.fresh || !may_reuse || context.dial.as_ref().is_some_and(|dial| !dial.is_shared());
        let peer = pingora_peer(upstream, policy, fresh, context.dial.clone());
        upstream.asked(std::time::Instant::now(), SHORTEST_DOUBT);
        context.present = Some((choice, in_flight));
        Ok(Box::new(peer))
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let (Some(tries), Some((choice, mut in_flight))) = (&mut context.tries, context.present.take()) {
            in_flight.failed(Retry::Connect);
            let known = context.dial.take().and_then(|dial| dial.failure());
            let failure = match error.etype() {
                _ if known.is_some() => known,
                // A kept connection of HTTP/2 that ends: it says nothing about whether a new one could be had.
                ErrorType::H2Error => None,
                ErrorType::ConnectRefused | ErrorType::ConnectNoRoute => Some(ConnectFailure::Refused),
                ErrorType::ConnectTimedout => Some(ConnectFailure::TimedOut),
                _ => Some(ConnectFailure::Other),
            };
            if let Some(failure) = failure {
                health::failed(tries.pool(), in_flight.upstream(), Failure::Connect(failure));
            }
            tries.failed(choice, in_flight.upstream(), Retry::Connect);
        }
        // Nothing was sent, so this is safe for every method; `upstream_peer` says when it is enough.
        error.set_retry(true);
        error
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        fd: std::os::unix::io::RawFd,
        _digest: Option<&Digest>,
        context: &mut Context,
    ) -> Result<()> {
        let dialled = context.dial.as_ref().and_then(|dial| dial.fd());
        let fd = dialled.unwrap_or(fd);
        // A kept connection says nothing about whether a new one could be had.
        if let Some((_, in_flight)) = &mut context.present {
            in_flight.connected(reused);
            if !reused {
                if dialled.is_none() {
                    in_flight.upstream().sockets.add(fd);
                }
                health::connected(in_flight.upstream());
            }
            let pool = context.tries.as_ref().map(Tries::pool);
            context.lookout = pool.and_then(|pool| Lookout::begin(pool, in_flight.upstream(), fd));
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        if request.version == http::Version::HTTP_2 {
            h2c::prepare(session, request).await?;
        }
        let Some(client) = &context.client else { return Ok(()) };
        // Pingora has dropped the hop-by-hop fields before.
        let sender = Sender::of(client);
        let Some(tries) = &context.tries else { return Ok(()) };
        headers::describe_client(request, &client.origin(), tries.route().forwarded())?;
        tries.route().change_request(request, session.req_header(), sender)?;
        if let (Some(trace), Some((_, in_flight))) = (tries.trace(), &context.present) {
            trace.mark_try(request, in_flight.span());
        }
        if tries.pool().policy.protocol == Protocol::H2 {
            h2c::say_https(request);
        }
        Ok(())
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        error.set_retry(false);
        if *error.esource() != ErrorSource::Upstream || session.response_written().is_some() {
            if let (ErrorSource::Upstream, Some((_, in_flight))) = (error.esource(), &mut context.present) {
                in_flight.broke_off();
            }
            return error;
        }
        let (Some(tries), Some((choice, mut in_flight))) = (&mut context.tries, context.present.take())
        else {
            return error;
        };
        if std::mem::take(&mut context.is_unwanted) {
            in_flight.done(std::time::Instant::now());
            tries.failed(choice, in_flight.upstream(), Retry::Status);
            error.set_retry(true);
            return error;
        }
        let lost = context.lookout.take().and_then(|lookout| lookout.found());
        let unread = unread(&error, in_flight.upstream());
        if let Some(failure) = unread {
            health::failed(tries.pool(), in_flight.upstream(), Failure::Connect(failure));
        }
        let refused = h2c::was_refused(&error) || unread.is_some();
        let reason = match (lost, reused) {
            (Some(lost), _) => lost.reason(),
            _ if refused => Retry::Refused,
            (None, true) => Retry::Stale,
            (None, false) => {
                health::failed(tries.pool(), in_flight.upstream(), Failure::Broken);
                Retry::Broken
            }
        };
        in_flight.failed(reason);
        // Once sent, only what may be executed twice is sent again, and only if we still have all of it.
        let whole = !session.as_ref().retry_buffer_truncated();
        if whole && (refused || may_repeat(session, tries)) && context.refusal.is_none() {
            tries.failed(choice, in_flight.upstream(), reason);
            error.set_retry(true);
        } else if let Some(lost) = lost {
            context.refusal.get_or_insert(lost.refusal());
        }
        error
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        context.interim += u32::from(response.status.is_informational());
        if context.interim > MAX_INTERIM {
            return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
        }
        if let Some((_, in_flight)) = &mut context.present {
            in_flight.upstream().touch();
            if !response.status.is_informational() || response.status == http::StatusCode::SWITCHING_PROTOCOLS
            {
                context.lookout = None;
                health::answered(in_flight.upstream());
                in_flight.answered(response.status.as_u16(), std::time::Instant::now());
            }
        }
        if let Some(tries) = &context.tries
            && may_repeat(session, tries)
            && tries.would_rather_ask_another(response.status.as_u16())
        {
            context.is_unwanted = true;
            // `error_while_proxy` says what follows.
            return Err(Error::new_up(ErrorType::HTTPStatus(response.status.as_u16())));
        }
        if let Some(client) = &context.client
            && (!response.status.is_informational()
                || response.status == http::StatusCode::SWITCHING_PROTOCOLS)
        {
            client.answer_by(None);
        }
        if let Some(tries) = &context.tries
            && tries.route().look().intercepts(response.status.as_u16())
        {
            if let Some((_, in_flight)) = &mut context.present {
                in_flight.done(std::time::Instant::now());
            }
            context.replaced = Some(Box::new(response.clone()));
            // `fail_to_proxy` answers.
            return Err(Error::new_in(ErrorType::HTTPStatus(response.status.as_u16())));
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        end: bool,
        context: &mut Context,
    ) -> Result<Option<Duration>> {
        if let Some((_, in_flight)) = &mut context.present {
            in_flight.upstream().touch();
            if end {
                in_flight.done(std::time::Instant::now());
            }
        }
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        headers::forward_response(response)?;
        mark::show(session.req_header(), response);
        if let (Some(tries), Some((_, in_flight))) = (&context.tries, &context.present)
            && !response.status.is_informational()
        {
            tries.keep_client(response, in_flight.upstream());
            if let Some(client) = &context.client {
                tries.route().look().edit(response, session.req_header(), || Sender::of(client));
            }
            context.encoder = tries.route().compress(session.req_header(), response)?.map(Box::new);
        }
        let is_tunnel = response.status == http::StatusCode::SWITCHING_PROTOCOLS;
        let is_stream =
            matches!(context.client, Some(Client::Http2(_))) && !response.status.is_informational();
        if is_tunnel || is_stream {
            session.set_read_timeout(Some(CLIENT_SILENCE));
        }
        let is_last = context.client.as_ref().is_some_and(Client::is_closing);
        if respond::frame(response, session.req_header())? == Framing::Close || is_last {
            session.set_keepalive(None);
        }
        Ok(())
    }

    /// Compresses each part by itself: it is not known here whether the next one comes soon.
    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        context: &mut Context,
    ) -> Result<Option<Duration>> {
        let Some(encoder) = &mut context.encoder else { return Ok(None) };
        let compressed = encoder.part(body.as_deref().unwrap_or_default(), end);
        *body = Some(compressed.or_err(ErrorType::InternalError, "compressing an answer")?);
        Ok(None)
    }

    /// The end of an answer that has trailers: those go, as what is compressed ends with its last byte.
    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        _trailers: &mut http::HeaderMap,
        context: &mut Context,
    ) -> Result<Option<Bytes>> {
        let Some(encoder) = &mut context.encoder else { return Ok(None) };
        encoder.part(&[], true).map(Some).or_err(ErrorType::InternalError, "compressing an answer")
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        let fault = context.client.as_ref().and_then(Client::fault).map(Refusal::Faulty);
        let refusal = match (context.refusal.or(fault), error.esource(), error.etype()) {
            (Some(refusal), _, _) => Some(refusal),
            (None, ErrorSource::Downstream, _) => None,
            (None, _, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => Some(Refusal::TooSlow),
            (None, _, _) => Some(Refusal::BadGateway),
        };
        let begun = session.response_written().is_some_and(|response| !response.status.is_informational());
        let look = context.tries.as_ref().map(|tries| tries.route().look().clone());
        let look = look.unwrap_or_else(|| self.state.snapshot().look.clone());
        if let (Some(upstream), Some(client), false) = (&context.replaced, &context.client, begun) {
            let answer = error_page::instead_of(upstream, session.req_header(), Sender::of(client), &look);
            if let Ok((head, body)) = answer {
                session.set_keepalive(None);
                let _ = error_page::write(&mut Downstream::Pingora(session), head, body).await;
            }
            return FailToProxy { error_code: upstream.status.as_u16(), can_reuse_downstream: false };
        }
        match (refusal, &context.client) {
            (Some(refusal), Some(client)) if !begun => {
                let _ = refusal.answer(&mut Downstream::Pingora(session), client, &look).await;
            }
            // What the client has is a part, and must not look like the whole.
            (_, Some(client)) if begun => client.abort().await,
            (_, _) => {}
        }
        FailToProxy { error_code: refusal.map_or(0, Refusal::status), can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, context: &mut Context) {
        if let Some(account) = &mut context.account {
            account.answered = session.response_written().map(|response| response.status.as_u16());
            account.bytes = session.body_bytes_sent() as u64;
        }
    }

    /// Failures are counted, and logged where an upstream changes state; not once per request.
    fn suppress_error_log(&self, _session: &Session, _context: &Context, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _context: &Context,
        _error: &Error,
        _what: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
