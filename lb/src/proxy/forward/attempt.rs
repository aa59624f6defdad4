//! One try of a request that may be repeated: from the connection to the head of the answer.
//!
//! Slowness is not death. A try that waits longer than is usual for its route asks what its upstream is
//! doing before it is left:
//!
//! ```text
//!   begun ──usual time over──▶ has the upstream sent anything, to anyone? else it is in doubt: see `doubt`
//!     │ ejected meanwhile: the next upstream, free
//!     ▼
//!   first-byte deadline ──▶ has the upstream sent anything, to anyone? else: does it answer a probe?
//!                                   │ yes: it lives           │ no: it is silent
//!                                   ▼                         ▼
//!                          wait on, ask again        a failure; the next upstream, if the budget has it
//!                                   │ patience ends: the next upstream, if the budget has it
//!                                   ▼
//!                            request timeout: 504
//! ```

use std::pin::pin;
use std::time::Duration;

use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::client_stream::ClientStream;
use super::super::doubt;
use super::super::health::{self, Failure};
use super::super::metrics::Retry;
use super::super::outlier;
use super::super::state::in_flight::InFlight;
use super::super::state::learned::{Cell, Deadlines};
use super::super::state::upstream::Upstream;
use super::connect::Connection;
use super::tries::{Choice, Tries};

/// A request head that cannot be written in this time will not be: it fits into any socket's buffer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is the same for all tries of a request.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a RequestHeader,
    pub(crate) client: &'a ClientStream,
    pub(crate) learned: Cell<'a>,
    pub(crate) worker: usize,
    /// When all tries together must have brought an answer.
    pub(crate) until: Instant,
}

/// An answer whose head has been read.
pub(crate) struct Answer {
    pub(crate) upstream: HttpSession,
    pub(crate) in_flight: InFlight,
}

/// What came of a try.
pub(crate) enum Attempt {
    /// The head of an answer.
    Answered(Box<Answer>),
    /// Nothing; another upstream may be tried.
    Failed(Retry),
    /// The client went away.
    ClientGone,
    /// The request's time is up.
    OutOfTime,
}

/// Sends the request to `choice` and waits for the head of the answer.
pub(crate) async fn attempt(
    call: &Call<'_>,
    session: &mut Session,
    tries: &Tries,
    choice: &Choice,
    mut in_flight: InFlight,
) -> Attempt {
    match exchange(call, session, tries, choice, &mut in_flight).await {
        Ok(upstream) => Attempt::Answered(Box::new(Answer { upstream, in_flight })),
        Err(attempt) => {
            if let Attempt::Failed(reason) = attempt {
                in_flight.failed(reason);
            }
            attempt
        }
    }
}

/// As [`attempt`]; what is not an answer is the error.
async fn exchange(
    call: &Call<'_>,
    session: &mut Session,
    tries: &Tries,
    choice: &Choice,
    in_flight: &mut InFlight,
) -> Result<HttpSession, Attempt> {
    let upstream = &choice.member.upstream;
    let deadlines = call.learned.deadlines(&tries.pool().policy);
    upstream.asked(std::time::Instant::now(), deadlines.doubt);
    let kept = if choice.fresh { None } else { upstream.take_idle(call.worker) };
    let reused = kept.is_some();
    let connection = match kept {
        Some(connection) => connection,
        None => connect(call, tries, choice, deadlines.doubt).await?,
    };
    in_flight.connected(reused);
    let mut upstream_session = HttpSession::new(Box::new(connection));
    upstream_session.write_timeout = Some(WRITE_TIMEOUT);
    let broken = || {
        if reused {
            return Attempt::Failed(Retry::Stale);
        }
        health::failed(tries.pool(), upstream, Failure::Broken);
        Attempt::Failed(Retry::Broken)
    };
    if upstream_session.write_request_header(Box::new(call.request.clone())).await.is_err() {
        return Err(broken());
    }
    let wait = Wait { call, tries, choice, sent: Instant::now(), deadlines };
    let mut leave = pin!(wait.reason_to_leave());
    loop {
        tokio::select! {
            biased;
            read = upstream_session.read_response() => {
                let Some(head) = read.ok().and(upstream_session.resp_header()) else {
                    return Err(broken());
                };
                // We sent no `Upgrade`, so there is nothing to switch to.
                if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
                    return Err(broken());
                }
                if !head.status.is_informational() {
                    call.learned.learn(wait.sent.elapsed());
                    health::answered(upstream);
                    let status = head.status.as_u16();
                    in_flight.answered(status);
                    // It failed its trial and is out again: the client need not see it.
                    if in_flight.was_trial()
                        && outlier::is_failure(status)
                        && upstream.is_ejected()
                        && tries.may_move()
                    {
                        return Err(Attempt::Failed(Retry::Ejected));
                    }
                    return Ok(upstream_session);
                }
                let interim = Box::new(head.clone());
                // RFC 9110, section 15.2: interim answers are passed on, but not to an HTTP/1.0 client.
                if session.req_header().version == http::Version::HTTP_11
                    && session.as_downstream_mut().write_response_header(interim).await.is_err()
                {
                    return Err(Attempt::ClientGone);
                }
            }
            attempt = &mut leave => return Err(attempt),
            () = call.client.gone() => return Err(Attempt::ClientGone),
        }
    }
}

/// Connects, and gives up early where the upstream falls in doubt meanwhile and another is not: nothing was
/// sent, and a connection that did not come about at once waits for TCP's repetition, a second later.
async fn connect(
    call: &Call<'_>,
    tries: &Tries,
    choice: &Choice,
    doubt: Duration,
) -> Result<Connection, Attempt> {
    let upstream = &choice.member.upstream;
    let limit = Duration::from_millis(tries.pool().policy.connect_timeout_ms);
    tokio::select! {
        biased;
        opened = Connection::open(upstream, limit) => match opened {
            Ok(connection) => {
                health::connected(upstream);
                Ok(connection)
            }
            Err(failure) => {
                health::failed(tries.pool(), upstream, Failure::Connect(failure));
                Err(Attempt::Failed(Retry::Connect))
            }
        },
        () = better_elsewhere(tries, upstream, doubt) => {
            doubt::look_into(tries.pool(), upstream);
            Err(Attempt::Failed(Retry::Connect))
        }
        () = call.client.gone() => Err(Attempt::ClientGone),
        () = sleep_until(call.until) => Err(Attempt::OutOfTime),
    }
}

async fn better_elsewhere(tries: &Tries, upstream: &Upstream, doubt: Duration) {
    // Doubt begins after this time, not with it.
    sleep(doubt + Duration::from_millis(1)).await;
    let now = std::time::Instant::now();
    if !upstream.is_in_doubt(now) || !tries.may_move_to_trusted(now) {
        std::future::pending::<()>().await;
    }
}

/// The wait for the head of an answer.
struct Wait<'a> {
    call: &'a Call<'a>,
    tries: &'a Tries,
    choice: &'a Choice,
    sent: Instant,
    deadlines: Deadlines,
}

impl Wait<'_> {
    /// Resolves when the try should be left.
    async fn reason_to_leave(&self) -> Attempt {
        sleep_until((self.sent + self.deadlines.doubt).min(self.call.until)).await;
        // Boxed: few tries come this far.
        Box::pin(async {
            let upstream = &self.choice.member.upstream;
            if upstream.is_in_doubt(std::time::Instant::now()) {
                doubt::look_into(self.tries.pool(), upstream);
            }
            let reason = tokio::select! {
                biased;
                () = self.ejection() => Retry::Ejected,
                () = self.silence() => Retry::Silent,
                () = self.impatience() => Retry::TooSlow,
                () = sleep_until(self.call.until) => return Attempt::OutOfTime,
            };
            Attempt::Failed(reason)
        })
        .await
    }

    /// Resolves when the upstream has been ejected and there is another.
    async fn ejection(&self) {
        let upstream = &self.choice.member.upstream;
        let mut ejected = pin!(upstream.health.ejection.notified());
        ejected.as_mut().enable();
        if !upstream.is_ejected() {
            ejected.await;
        }
        if !self.tries.may_move() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when the upstream is silent and another can be afforded.
    async fn silence(&self) {
        let upstream = &self.choice.member.upstream;
        let mut since = self.sent;
        sleep_until(self.sent + self.deadlines.first_byte).await;
        loop {
            if !doubt::lives(self.tries.pool(), upstream, since.into_std()).await {
                health::failed(self.tries.pool(), upstream, Failure::Silent);
                if self.tries.may_move() && (upstream.is_ejected() || self.tries.afford()) {
                    return;
                }
            }
            since = Instant::now();
            sleep(self.deadlines.first_byte).await;
        }
    }

    /// Resolves when even a living upstream has had its time and another can be afforded.
    async fn impatience(&self) {
        sleep_until(self.sent + self.deadlines.patience).await;
        self.call.learned.learn(self.sent.elapsed());
        if !self.tries.may_move() || !self.tries.afford() {
            std::future::pending::<()>().await;
        }
    }
}
