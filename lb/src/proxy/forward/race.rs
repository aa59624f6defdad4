//! The tries of a request that are under way together. Most requests have one and end with it; another
//! joins when there is a reason (`watch`), and the first answer counts.
//!
//! ```text
//!   try ──answered──▶ passed on; the other tries end, or go on unheard where their upstream lives
//!    │ failed: the others go on; if there are none, the next try
//!    │ reason to ask another ──▶ another joins, once for each try, if the request may be repeated
//!    │ it may not, and was sent ──▶ it ends with the try, or is given up (`lost`)
//!    ▼
//!   the client left · the request's time is up: all end
//! ```
//!
//! Joining costs nothing where the upstream is distrusted: there are no more of those than requests were in
//! flight. Hedges have a small budget of their own, the rest pays from the retry budget. `racer` says what
//! becomes of a try when another was faster.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use pingora_http::ResponseHeader;
use tokio::time::{Instant, sleep_until};

use super::super::alarms::Alarms;
use super::super::client::Client;
use super::super::downstream::Downstream;
use super::super::error_page::Refusal;
use super::super::health;
use super::super::metrics::Retry;
use super::super::outlier;
use super::super::state::State;
use super::super::state::in_flight::InFlight;
use super::super::state::learned::Cell;
use super::super::state::upstream::{Reuse, Upstream};
use super::exchange::{self, Answer, Exchange, Message, Outcome};
use super::lost::{Lost, lost};
use super::racer::{Racer, Running};
use super::respond;
use super::tries::{Choice, Tries};
use super::watch::{Signal, Watch};

/// What is the same for all tries of a request.
pub(crate) struct Call<'a> {
    pub(crate) state: &'a State,
    pub(crate) alarms: &'a Alarms,
    pub(crate) message: &'a Arc<Message>,
    pub(crate) client: &'a Client,
    pub(crate) learned: Cell<'a>,
    /// When all tries together must have brought an answer.
    pub(crate) until: Instant,
}

impl Call<'_> {
    /// The same, as it is while the request's body comes.
    pub(super) fn until(&self) -> Instant {
        self.message.upload.as_ref().map_or(self.until, |upload| upload.until())
    }

    async fn overdue(&self) {
        while Instant::now() < self.until() {
            sleep_until(self.until()).await;
        }
    }

    /// Whether the request may be sent again, be it that it was executed.
    fn may_be_repeated(&self, tries: &Tries) -> bool {
        tries.is_repeatable() || self.message.upload.as_ref().is_some_and(|upload| upload.may_be_repeated())
    }

    /// Whether all of it is still there to be sent again.
    fn is_whole(&self) -> bool {
        self.message.upload.as_ref().is_none_or(|upload| upload.is_whole())
    }
}

/// How the tries ended.
pub(crate) enum Ended {
    /// With an answer.
    Answered(Box<Answer>, InFlight),
    /// Without one; another upstream may be tried.
    Failed,
    /// The client went away.
    ClientGone,
    /// The client has not sent the body that it announced.
    NotSent,
    /// The request's time is up.
    OutOfTime,
    /// It was sent, is not answered and may not be sent again.
    Lost(Refusal),
}

enum Event<'a> {
    Outcome(usize, Outcome),
    Signal(usize, Watch<'a>, Signal),
    ClientGone,
    OutOfTime,
    Lost(Lost),
}

/// Sends the request to `choice`, and to others where there is reason.
pub(crate) async fn run(
    call: &Call<'_>,
    downstream: &mut Downstream<'_>,
    tries: &mut Tries,
    (choice, in_flight): (Choice, InFlight),
) -> Ended {
    let mut first = begin(call, tries, choice, in_flight);
    let begun = Instant::from_std(first.in_flight.begun());
    // Until then there is no reason to look at anything else.
    let soon = begun + first.deadlines.hedge.min(first.deadlines.doubt);
    let outcome = tokio::select! {
        biased;
        outcome = &mut first.exchange => Some(outcome),
        () = call.client.gone() => return Ended::ClientGone,
        () = call.alarms.at(soon.min(call.until)) => None,
    };
    match outcome {
        Some(Outcome::Answered(answer)) => {
            return answered(call, tries, first.choice, first.in_flight, answer);
        }
        Some(Outcome::Failed(reason)) => {
            return failed(call, tries, first.choice, first.in_flight, reason);
        }
        Some(Outcome::NotSent) => return Ended::NotSent,
        Some(Outcome::Interim(exchange, head)) => {
            // Boxed: few answers have one.
            if Box::pin(pass_on(downstream, head)).await.is_err() {
                return Ended::ClientGone;
            }
            first.exchange = Box::pin(exchange.go_on());
        }
        None => {}
    }
    // Boxed: few requests come this far.
    Box::pin(race(call, downstream, tries, first)).await
}

fn begin(call: &Call<'_>, tries: &Tries, choice: Choice, mut in_flight: InFlight) -> Running {
    let (pool, upstream) = (in_flight.pool().clone(), in_flight.upstream().clone());
    let deadlines = call.learned.deadlines(&pool.policy);
    let begun = in_flight.begun();
    upstream.asked(begun, deadlines.doubt);
    let reuse = if choice.fresh { Reuse::None } else { tries.reuse() };
    let message = call.message.of_try(in_flight.span());
    let (sent, exchange) = exchange::begin(pool, upstream, message, reuse, begun);
    in_flight.connecting(&sent);
    Running { choice, in_flight, exchange, sent, deadlines }
}

async fn race<'a>(
    call: &Call<'a>,
    downstream: &mut Downstream<'_>,
    tries: &mut Tries,
    first: Running,
) -> Ended {
    let repeatable = tries.is_repeatable();
    let (pool, upstream) = (tries.pool().clone(), first.in_flight.upstream().clone());
    let first_byte = first.deadlines.first_byte;
    // What may be repeated is sent elsewhere instead.
    let mut lost = pin!(async {
        if repeatable { std::future::pending().await } else { lost(&pool, &upstream, first_byte).await }
    });
    let mut racers = vec![Racer::new(first, call.learned)];
    loop {
        let event = tokio::select! {
            biased;
            event = next_event(&mut racers) => event,
            () = call.client.gone() => Event::ClientGone,
            why = &mut lost => Event::Lost(why),
            () = call.overdue() => Event::OutOfTime,
        };
        match event {
            Event::ClientGone => return Ended::ClientGone,
            Event::OutOfTime => return Ended::OutOfTime,
            Event::Lost(why) => {
                // It has no more than one try under way.
                let Some(racer) = racers.pop() else { return Ended::Failed };
                let reason = if racer.sent.is() { why.reason() } else { Retry::Connect };
                return match failed(call, tries, racer.choice, racer.in_flight, reason) {
                    Ended::Lost(_) => Ended::Lost(why.refusal()),
                    ended => ended,
                };
            }
            Event::Outcome(index, Outcome::Answered(answer)) => {
                let racer = racers.swap_remove(index);
                let ended = answered(call, tries, racer.choice, racer.in_flight, answer);
                if matches!(ended, Ended::Failed) && !racers.is_empty() {
                    continue;
                }
                racers.into_iter().for_each(Racer::leave);
                return ended;
            }
            Event::Outcome(index, Outcome::Interim(exchange, head)) => {
                if pass_on(downstream, head).await.is_err() {
                    return Ended::ClientGone;
                }
                racers[index].exchange = Box::pin(Exchange::go_on(*exchange));
            }
            Event::Outcome(_, Outcome::NotSent) => return Ended::NotSent,
            Event::Outcome(index, Outcome::Failed(reason)) => {
                let racer = racers.swap_remove(index);
                let ended = failed(call, tries, racer.choice, racer.in_flight, reason);
                if racers.is_empty() {
                    return ended;
                }
            }
            Event::Signal(index, mut watch, signal) => {
                tries.follow(call.state);
                watch.follow(tries.pool());
                let alone = racers.len() == 1;
                if watch.is_connecting() {
                    if alone
                        && signal != Signal::Hedge
                        && tries.may_move_to_trusted(std::time::Instant::now())
                    {
                        let racer = racers.swap_remove(index);
                        return failed(call, tries, racer.choice, racer.in_flight, Retry::Connect);
                    }
                } else if let Some(reason) =
                    reason_to_join(tries, racers[index].in_flight.upstream(), signal, alone)
                    && let Some((choice, in_flight)) = tries.join(reason)
                {
                    racers[index].left = Some(reason);
                    let running = begin(call, tries, choice, in_flight);
                    racers.push(Racer::new(running, call.learned));
                    continue;
                }
                racers[index].watch = Some(Box::pin(watch.next()));
            }
        }
    }
}

/// Notes that a try was answered, and says what follows: the client sees it, or it came to nothing all the same.
fn answered(
    call: &Call<'_>,
    tries: &mut Tries,
    choice: Choice,
    mut in_flight: InFlight,
    answer: Box<Answer>,
) -> Ended {
    if call.message.upload.is_none() {
        call.learned.learn(answer.first_byte);
    }
    in_flight.answered(answer.status, answer.head_at);
    if has_failed_its_trial(tries, &in_flight, answer.status) {
        tries.failed(choice, in_flight.upstream(), Retry::Ejected);
        return Ended::Failed;
    }
    if call.may_be_repeated(tries) && tries.would_rather_ask_another(answer.status) {
        respond::keep_connection(*answer, &mut in_flight);
        tries.failed(choice, in_flight.upstream(), Retry::Status);
        return Ended::Failed;
    }
    Ended::Answered(answer, in_flight)
}

/// Notes that a try came to nothing, and says what follows if it was the last one under way.
fn failed(
    call: &Call<'_>,
    tries: &mut Tries,
    choice: Choice,
    mut in_flight: InFlight,
    reason: Retry,
) -> Ended {
    in_flight.failed(reason);
    if !call.is_whole() || (reason != Retry::Connect && !call.may_be_repeated(tries)) {
        return Ended::Lost(Refusal::BadGateway);
    }
    tries.failed(choice, in_flight.upstream(), reason);
    Ended::Failed
}

/// Whether an answer with `status` put its upstream out of use again, so that the client need not see it.
fn has_failed_its_trial(tries: &Tries, in_flight: &InFlight, status: u16) -> bool {
    in_flight.was_trial()
        && tries.is_repeatable()
        && outlier::is_failure(status)
        && in_flight.upstream().is_ejected()
        && tries.may_move()
}

/// As what another upstream may be asked too, if it may.
fn reason_to_join(tries: &Tries, upstream: &Upstream, signal: Signal, alone: bool) -> Option<Retry> {
    if !tries.is_repeatable() {
        return None;
    }
    let now = std::time::Instant::now();
    let distrusted = health::is_distrusted(upstream);
    let (reason, may) = match signal {
        Signal::Distrusted => (Retry::Ejected, tries.may_move_to_ready()),
        Signal::Hedge => (Retry::Hedge, alone && tries.may_move_to_trusted(now) && tries.afford_hedge()),
        Signal::Doubt => (Retry::Silent, tries.may_move_to_trusted(now) && tries.afford()),
        Signal::Silent => (Retry::Silent, tries.may_move() && (distrusted || tries.afford())),
        Signal::TooSlow => (Retry::TooSlow, tries.may_move() && tries.afford()),
    };
    may.then_some(reason)
}

async fn pass_on(downstream: &mut Downstream<'_>, interim: Box<ResponseHeader>) -> pingora_error::Result<()> {
    // RFC 9110, section 15.2: interim answers are passed on, but not to an HTTP/1.0 client.
    if downstream.asked().version() >= http::Version::HTTP_11 {
        downstream.write_head(interim).await?;
    }
    Ok(())
}

/// The next thing that happens to any of `racers`. A reason to ask another is taken out of its racer.
async fn next_event<'a>(racers: &mut [Racer<'a>]) -> Event<'a> {
    poll_fn(|context| {
        for (index, racer) in racers.iter_mut().enumerate() {
            if let Poll::Ready(outcome) = racer.exchange.as_mut().poll(context) {
                return Poll::Ready(Event::Outcome(index, outcome));
            }
            if let Some(watch) = &mut racer.watch
                && let Poll::Ready((watch, signal)) = watch.as_mut().poll(context)
            {
                racer.watch = None;
                return Poll::Ready(Event::Signal(index, watch, signal));
            }
        }
        Poll::Pending
    })
    .await
}
