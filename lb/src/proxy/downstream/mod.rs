//! Whoever is to be answered, as the way of a request at hand sees it: through Pingora, or past it.
//!
//! Pingora's session serves what is passed on as it comes. It costs a request more than its upstream does, so one of HTTP/1
//! whose body has a length is read and answered by [`direct`], and one of HTTP/2 that has none by its stream.

pub(super) mod as_came;
pub(crate) mod direct;
mod framing;
pub(crate) mod request;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use pingora_core::protocols::http::HttpTask;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use tokio::time::Instant;
use wire::proxy_config::Protocol;

use self::direct::Direct;
use super::asked::Asked;
use super::context::is_last;
use super::forward::http1::answer::Head;
use super::forward::streams;
use super::forward::upload::{Again, Upload};
use super::http2;
use super::observe::mark;
use super::route::Route;

/// One request, and whom its answer goes to.
pub(crate) enum Downstream<'a> {
    Pingora(&'a mut Session),
    Direct(&'a mut Direct),
    Http2(&'a mut http2::Session),
}

impl Downstream<'_> {
    pub(crate) fn request(&self) -> &RequestHeader {
        match self {
            Downstream::Pingora(session) => session.req_header(),
            Downstream::Direct(direct) => direct.head().header(),
            Downstream::Http2(session) => session.head(),
        }
    }

    /// The same, to be changed.
    pub(crate) fn request_mut(&mut self) -> &mut RequestHeader {
        match self {
            Downstream::Pingora(session) => session.req_header_mut(),
            Downstream::Direct(direct) => direct.head_mut().header_mut(),
            Downstream::Http2(session) => session.head_mut(),
        }
    }

    /// The same, as far as most requests need it: to make a header costs more.
    pub(crate) fn asked(&self) -> Asked<'_> {
        match self {
            Downstream::Direct(direct) => direct.head().asked(),
            Downstream::Pingora(_) | Downstream::Http2(_) => Asked::Header(self.request()),
        }
    }

    /// Whether more than an answer is to pass before all of the request has come.
    pub(crate) fn streams(&self) -> bool {
        match self {
            Downstream::Direct(direct) => direct.streams(),
            Downstream::Pingora(_) | Downstream::Http2(_) => streams(self.request()),
        }
    }

    /// Notes how long the body is of a request that did not say it.
    ///
    /// # Errors
    ///
    /// Never: a number can be a field's value.
    pub(crate) fn set_length(&mut self, length: u64) -> Result<()> {
        match self {
            // It has said it.
            Downstream::Direct(_) => Ok(()),
            Downstream::Pingora(_) | Downstream::Http2(_) => {
                self.request_mut().insert_header(header::CONTENT_LENGTH, length)
            }
        }
    }

    /// Whether a request that takes `route`, or none, can be answered this way; it is from then on.
    pub(crate) fn may_answer(&self, route: Option<&Route>) -> bool {
        let may = route.is_none_or(|route| route.pool.policy.protocol == Protocol::Http1);
        match self {
            Downstream::Pingora(_) => return true,
            Downstream::Direct(direct) if may => direct.take(),
            Downstream::Direct(_) | Downstream::Http2(_) => {}
        }
        may
    }

    /// Whether the request has no body.
    pub(crate) fn is_body_empty(&mut self) -> bool {
        match self {
            Downstream::Pingora(session) => session.is_body_empty(),
            Downstream::Direct(direct) => direct.length() == 0,
            Downstream::Http2(session) => session.has_no_body(),
        }
    }

    /// Whether the answer to it is the last one on its connection.
    pub(crate) fn is_last(&self) -> bool {
        match self {
            Downstream::Pingora(session) => is_last(session),
            Downstream::Direct(direct) => direct.is_last(),
            // Its connection is told by itself (GOAWAY).
            Downstream::Http2(_) => false,
        }
    }

    /// Has the connection end with the answer.
    pub(crate) fn close(&mut self) {
        match self {
            Downstream::Pingora(session) => session.set_keepalive(None),
            Downstream::Direct(direct) => direct.close(),
            Downstream::Http2(_) => {}
        }
    }

    /// Reads a body of `length` bytes; none when it ended before.
    ///
    /// # Errors
    ///
    /// When the client cannot be read from.
    pub(crate) async fn read_body(&mut self, length: u64) -> Result<Option<Bytes>> {
        match self {
            Downstream::Pingora(_) | Downstream::Http2(_) if length == 0 => Ok(Some(Bytes::new())),
            // Boxed, as all that Pingora does here: what is done past it must not carry the space for it.
            Downstream::Pingora(session) => {
                let mut body = BytesMut::new();
                while let Some(part) = Box::pin(session.as_downstream_mut().read_request_body()).await? {
                    body.extend_from_slice(&part);
                }
                Ok((body.len() as u64 == length).then(|| body.freeze()))
            }
            Downstream::Direct(direct) => direct.read_body().await,
            Downstream::Http2(_) => Ok(None),
        }
    }

    /// Its body, to be passed on while it comes as [`Upload::new`] says, if that can be done past Pingora.
    pub(crate) fn upload(&mut self, again: Again, until: Instant, timeout: Duration) -> Option<Upload> {
        match self {
            Downstream::Direct(direct) => Some(direct.upload(again, until, timeout)),
            Downstream::Pingora(_) | Downstream::Http2(_) => None,
        }
    }

    /// Writes the head of an answer, or an interim one.
    ///
    /// # Errors
    ///
    /// When the client cannot be written to; so with all that follow.
    pub(crate) async fn write_head(&mut self, mut head: Box<ResponseHeader>) -> Result<()> {
        mark::show(self.request(), &mut head);
        match self {
            Downstream::Pingora(session) => {
                Box::pin(session.as_downstream_mut().write_response_header(head)).await
            }
            Downstream::Direct(direct) => direct.write_head(head).await,
            Downstream::Http2(session) => session.respond(head, false),
        }
    }

    /// Writes the head of an answer as it came from an upstream. Returns whether it can be written so: else nothing was.
    ///
    /// # Errors
    ///
    /// As above.
    pub(crate) fn write_as_came(&mut self, head: &Head) -> Result<bool> {
        match self {
            Downstream::Pingora(_) => Ok(false),
            Downstream::Direct(direct) => direct.write_as_came(head),
            Downstream::Http2(session) => session.write_as_came(head),
        }
    }

    /// Writes a part of the body, the last one or not.
    ///
    /// # Errors
    ///
    /// As above.
    pub(crate) async fn write_body(&mut self, part: Bytes, end: bool) -> Result<()> {
        match self {
            Downstream::Pingora(session) => {
                Box::pin(session.as_downstream_mut().write_response_body(part, end)).await
            }
            Downstream::Direct(direct) => direct.write_body(&part, end).await,
            Downstream::Http2(session) => session.send(part, end).await,
        }
    }

    /// Writes the last part of the body, and ends it.
    ///
    /// # Errors
    ///
    /// As above.
    pub(crate) async fn write_last(&mut self, part: Bytes) -> Result<()> {
        match self {
            Downstream::Pingora(_) => {
                self.write_body(part, false).await?;
                self.finish().await
            }
            Downstream::Direct(_) | Downstream::Http2(_) => self.write_body(part, true).await,
        }
    }

    /// Ends the body.
    ///
    /// # Errors
    ///
    /// As above.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        match self {
            Downstream::Pingora(session) => Box::pin(session.as_downstream_mut().finish_body()).await,
            Downstream::Direct(direct) => direct.finish().await,
            Downstream::Http2(session) => session.end(),
        }
    }

    /// Writes an answer that is a head alone.
    ///
    /// # Errors
    ///
    /// As above.
    pub(crate) async fn write_head_alone(&mut self, mut head: ResponseHeader) -> Result<()> {
        mark::show(self.request(), &mut head);
        match self {
            Downstream::Pingora(session) => {
                let whole = vec![HttpTask::Header(Box::new(head), true)];
                Box::pin(session.as_downstream_mut().response_duplex_vec(whole)).await.map(drop)
            }
            Downstream::Direct(direct) => {
                direct.write_head(Box::new(head)).await?;
                direct.finish().await
            }
            Downstream::Http2(session) => {
                session.respond(Box::new(head), true)?;
                session.end()
            }
        }
    }
}
