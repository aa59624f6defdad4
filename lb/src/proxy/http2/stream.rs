//! One stream of a client's connection, which is one request and its answer.
//!
//! Like a connection of HTTP/1 it has two handles: Pingora's session reads and writes through one, the way of the
//! request looks through the other whether the client is still there. Both are of one task, as h2 wakes only the one
//! that asked last.

use std::cell::RefMut;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};
use tokio::time::{Instant, timeout_at};

use super::super::client::Likeness;
use super::super::headers::Origin;
use super::super::limits::hops::Told;
use super::super::one_thread::OneThread;
use super::super::route::sender::Sender;
use super::Facts;

/// A body that says no length is waited for so long before it is taken for a stream.
const GATHER_FOR: Duration = Duration::from_millis(50);

/// A handle to it.
#[derive(Clone)]
pub(crate) struct Stream(Arc<Shared>);

struct Shared {
    facts: Arc<Facts>,
    state: OneThread<State>,
}

struct State {
    body: RecvStream,
    /// Read ahead of who wants it.
    gathered: VecDeque<Bytes>,
    /// The last of the body was read.
    body_over: bool,
    /// Anything of the body was given out.
    body_begun: bool,
    respond: SendResponse<Bytes>,
    /// There once the head was sent.
    answer: Option<SendStream<Bytes>>,
    /// The last of the answer was handed over, or it was reset.
    ended: bool,
    answer_by: Option<Instant>,
    look: Option<Box<Likeness>>,
    told: Option<Arc<Told>>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stream").field("id", &self.state().respond.stream_id()).finish()
    }
}

impl Stream {
    pub(super) fn new(facts: Arc<Facts>, body: RecvStream, respond: SendResponse<Bytes>) -> Self {
        let state = State {
            body,
            gathered: VecDeque::new(),
            body_over: false,
            body_begun: false,
            respond,
            answer: None,
            ended: false,
            answer_by: None,
            look: None,
            told: None,
        };
        Stream(Arc::new(Shared { facts, state: OneThread::new(state) }))
    }

    /// What upstreams are told of the client.
    pub(crate) fn origin(&self) -> Origin {
        Origin { told: self.state().told.clone(), ..self.0.facts.origin.clone() }
    }

    /// Whose request it is.
    pub(crate) fn sender(&self) -> Sender {
        let Origin { peer, is_secure, .. } = self.0.facts.origin;
        Sender::behind(peer, is_secure, self.state().told.as_deref())
    }

    /// Believes what the peer says of whose request it is.
    pub(crate) fn believe(&self, told: Arc<Told>) {
        self.state().told = Some(told);
    }

    /// Has it refused like this from now on.
    pub(crate) fn refuse_like(&self, likeness: Likeness) {
        self.state().look = Some(Box::new(likeness));
    }

    /// How it is refused, where its route says so.
    pub(super) fn look(&self) -> Option<Likeness> {
        self.state().look.as_deref().cloned()
    }

    /// Sets until when the answer must have begun; none when it has.
    pub(crate) fn answer_by(&self, deadline: Option<Instant>) {
        self.state().answer_by = deadline;
    }

    /// Until when the answer must have begun.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.state().answer_by
    }

    /// Whether its address moves without it, and nothing of the answer was written.
    pub(crate) fn is_cut_unanswered(&self) -> bool {
        !self.has_answered() && self.0.facts.on_vip.as_ref().is_some_and(|on_vip| on_vip.is_cut())
    }

    /// Whether the head of the answer was written.
    pub(crate) fn has_answered(&self) -> bool {
        self.state().answer.is_some()
    }

    /// Resolves when the client has reset the stream or its connection is gone.
    pub(crate) async fn gone(&self) {
        poll_fn(|context| self.poll_gone(context).map(drop)).await;
    }

    pub(super) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        let mut state = self.state();
        match &mut state.answer {
            Some(answer) => answer.poll_reset(context),
            None => state.respond.poll_reset(context),
        }
    }

    /// Breaks the answer off.
    pub(crate) fn abort(&self) {
        self.reset(Reason::INTERNAL_ERROR);
    }

    /// Ends the stream for `reason`, unless all of the answer was handed over.
    pub(super) fn reset(&self, reason: Reason) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.ended, true) {
            state.respond.send_reset(reason);
        }
    }

    /// See [`super::super::client::Client::gather`].
    pub(crate) async fn gather(&self, limit: u64, may_wait: bool) -> Option<u64> {
        let end = Instant::now() + if may_wait { GATHER_FOR } else { Duration::ZERO };
        let mut size = 0;
        while !self.is_body_over() {
            let ahead = poll_fn(|context| {
                let part = ready!(self.state().poll_part(context));
                Poll::Ready(part)
            });
            // What is there already is taken even when there is no time.
            let part = timeout_at(end, ahead).await.ok()??.ok()?;
            size += part.len() as u64;
            self.state().gathered.push_back(part);
            if size > limit {
                return None;
            }
        }
        Some(size)
    }

    /// The next part of the body.
    pub(super) fn poll_body(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let mut state = self.state();
        state.body_begun = true;
        match state.gathered.pop_front() {
            Some(part) => Poll::Ready(Some(Ok(part))),
            None => state.poll_part(context),
        }
    }

    fn is_body_over(&self) -> bool {
        let mut state = self.state();
        state.body_over |= state.body.is_end_stream();
        state.body_over
    }

    /// Whether all of the body was given out.
    pub(super) fn is_body_done(&self) -> bool {
        self.is_body_over() && self.state().gathered.is_empty()
    }

    /// Whether there was none.
    pub(super) fn is_body_empty(&self) -> bool {
        let done = self.is_body_done();
        done && !self.state().body_begun
    }

    /// Sends an interim answer (RFC 9110, section 15.2).
    pub(super) fn write_interim(&self, head: Response<()>) -> Result<(), h2::Error> {
        self.state().respond.send_informational(head)
    }

    /// Sends the head of the answer, and that this is all of it if `end`.
    pub(super) fn write_head(&self, head: Response<()>, end: bool) -> Result<(), h2::Error> {
        let mut state = self.state();
        let answer = state.respond.send_response(head, end)?;
        state.answer = Some(answer);
        state.ended |= end;
        Ok(())
    }

    /// Sends `data` as the client takes it, and that this is all if `end`.
    pub(super) async fn write_data(&self, mut data: Bytes, end: bool) -> Result<(), h2::Error> {
        while !data.is_empty() {
            let room = poll_fn(|context| {
                let mut state = self.state();
                let Some(answer) = &mut state.answer else { return Poll::Ready(Ok(0)) };
                answer.reserve_capacity(data.len());
                match ready!(answer.poll_capacity(context)) {
                    Some(room) => Poll::Ready(room),
                    None => Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
                }
            });
            let part = data.split_to(room.await?.min(data.len()));
            self.send(part, end && data.is_empty())?;
        }
        if end { self.finish() } else { Ok(()) }
    }

    fn send(&self, part: Bytes, end: bool) -> Result<(), h2::Error> {
        let mut state = self.state();
        let Some(answer) = &mut state.answer else { return Err(Reason::INTERNAL_ERROR.into()) };
        answer.send_data(part, end)?;
        state.ended |= end;
        Ok(())
    }

    /// Says that all of the answer was sent, where its head was.
    pub(super) fn finish(&self) -> Result<(), h2::Error> {
        let is_open = {
            let state = self.state();
            !state.ended && state.answer.is_some()
        };
        if is_open { self.send(Bytes::new(), true) } else { Ok(()) }
    }

    /// Sends what ends the answer (RFC 9110, section 6.5).
    pub(super) fn write_trailers(&self, trailers: HeaderMap) -> Result<(), h2::Error> {
        let mut state = self.state();
        if state.ended {
            return Ok(());
        }
        let Some(answer) = &mut state.answer else { return Err(Reason::INTERNAL_ERROR.into()) };
        answer.send_trailers(trailers)?;
        state.ended = true;
        Ok(())
    }

    /// Whether the last of the answer was handed over.
    pub(super) fn has_ended(&self) -> bool {
        self.state().ended
    }

    fn state(&self) -> RefMut<'_, State> {
        self.0.state.look()
    }
}

impl State {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let part = match ready!(self.body.poll_data(context)) {
            Some(Ok(part)) => part,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => {
                // Trailers may follow; nobody beyond us would take them.
                self.body_over = true;
                return Poll::Ready(None);
            }
        };
        // So much more may come: what was read is at most what is gathered, or gone.
        self.body.flow_control().release_capacity(part.len())?;
        Poll::Ready(Some(Ok(part)))
    }
}
