//! The tries of a request that are under way together. Most requests have one and end with it; another
//! joins when there is a reason (`watch`), and the first answer counts.
//!
//! ```text
//!   try ──answered──▶ passed on; the other tries end, or go on unheard where their upstream lives
//!    │ failed: the others go on; if there are none, the next try
//!    │ reason to ask another ──▶ another joins, once for each try
//!    ▼
//!   the client left · the request's time is up: all end
//! ```
//!
//! Joining costs nothing where the upstream is distrusted: there are no more of those than requests were in
//! flight. Hedges have a small budget of their own, the rest pays from the retry budget.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::client_stream::ClientStream;
use super::super::health;
use super::super::metrics::Retry;
use super::super::state::State;
use super::super::state::learned::Cell;
use super::exchange::{self, Answer, Ask, Exchange, Outcome};
use super::respond;
use super::tries::{Choice, Tries};
use super::watch::{Signal, Watch};

/// A try that nobody waits for any more goes on for so long, so that its upstream does not look idle.
const UNHEARD: Duration = Duration::from_secs(3);

/// What is the same for all tries of a request.
pub(crate) struct Call<'a> {
    pub(crate) state: &'a State,
    pub(crate) ask: &'a Ask,
    pub(crate) client: &'a ClientStream,
    pub(crate) learned: Cell<'a>,
    /// When all tries together must have brought an answer.
    pub(crate) until: Instant,
}

/// How the tries ended.
pub(crate) enum Ended {
    /// With an answer.
    Answered(Box<Answer>),
    /// Without one; another upstream may be tried.
    Failed,
    /// The client went away.
    ClientGone,
    /// The request's time is up.
    OutOfTime,
}

/// One try that is under way.
struct Running<'a> {
    choice: Choice,
    exchange: BoxFuture<'static, Outcome>,
    watch: Watch<'a>,
}

/// A try in a race.
struct Racer<'a> {
    choice: Choice,
    exchange: BoxFuture<'static, Outcome>,
    /// None once another has joined because of this one.
    watch: Option<BoxFuture<'a, (Watch<'a>, Signal)>>,
}

enum Event<'a> {
    Outcome(usize, Outcome),
    Signal(usize, Watch<'a>, Signal),
    ClientGone,
    OutOfTime,
}

/// Sends the request to `choice`, and to others where there is reason.
pub(crate) async fn run(call: &Call<'_>, session: &mut Session, tries: &mut Tries, choice: Choice) -> Ended {
    let mut first = begin(call, tries, choice);
    let deadlines = first.watch.deadlines();
    // Until then there is no reason to look at anything else.
    let soon = Instant::now() + deadlines.hedge.min(deadlines.doubt);
    let outcome = tokio::select! {
        biased;
        outcome = &mut first.exchange => Some(outcome),
        () = call.client.gone() => return Ended::ClientGone,
        () = sleep_until(soon.min(call.until)) => None,
    };
    match outcome {
        Some(Outcome::Answered(answer)) => {
            call.learned.learn(answer.first_byte);
            return Ended::Answered(answer);
        }
        Some(Outcome::Failed(reason)) => {
            tries.failed(first.choice, reason);
            return Ended::Failed;
        }
        Some(Outcome::Interim(exchange, head)) => {
            if pass_on(session, head).await.is_err() {
                return Ended::ClientGone;
            }
            first.exchange = Box::pin(exchange.go_on());
        }
        None => {}
    }
    // Boxed: few requests come this far.
    Box::pin(race(call, session, tries, first)).await
}

fn begin<'a>(call: &Call<'a>, tries: &Tries, choice: Choice) -> Running<'a> {
    let pool = tries.pool().clone();
    let upstream = choice.member.upstream.clone();
    let deadlines = call.learned.deadlines(&pool.policy);
    let in_flight = upstream.begin();
    let begun = Instant::now();
    upstream.asked(begun.into_std(), deadlines.doubt);
    let (sent, exchange) = exchange::begin(pool.clone(), in_flight, call.ask.clone(), choice.fresh);
    let watch = Watch::new(pool, upstream, sent, call.learned, deadlines, begun);
    Running { choice, exchange: Box::pin(exchange), watch }
}

async fn race<'a>(call: &Call<'a>, session: &mut Session, tries: &mut Tries, first: Running<'a>) -> Ended {
    let mut racers = vec![Racer::from(first)];
    loop {
        let event = tokio::select! {
            biased;
            event = next_event(&mut racers) => event,
            () = call.client.gone() => Event::ClientGone,
            () = sleep_until(call.until) => Event::OutOfTime,
        };
        match event {
            Event::ClientGone => return Ended::ClientGone,
            Event::OutOfTime => return Ended::OutOfTime,
            Event::Outcome(index, Outcome::Answered(answer)) => {
                racers.swap_remove(index);
                call.learned.learn(answer.first_byte);
                racers.into_iter().for_each(Racer::leave);
                return Ended::Answered(answer);
            }
            Event::Outcome(index, Outcome::Interim(exchange, head)) => {
                if pass_on(session, head).await.is_err() {
                    return Ended::ClientGone;
                }
                racers[index].exchange = Box::pin(Exchange::go_on(*exchange));
            }
            Event::Outcome(index, Outcome::Failed(reason)) => {
                let racer = racers.swap_remove(index);
                tries.failed(racer.choice, reason);
                if racers.is_empty() {
                    return Ended::Failed;
                }
            }
            Event::Signal(index, watch, signal) => {
                tries.follow(call.state);
                let alone = racers.len() == 1;
                if watch.is_connecting() {
                    if alone
                        && signal != Signal::Hedge
                        && tries.may_move_to_trusted(std::time::Instant::now())
                    {
                        let racer = racers.swap_remove(index);
                        tries.failed(racer.choice, Retry::Connect);
                        return Ended::Failed;
                    }
                } else if let Some(reason) = reason_to_join(tries, &racers[index].choice, signal, alone)
                    && let Some(choice) = tries.join(reason)
                {
                    let running = begin(call, tries, choice);
                    racers.push(Racer::from(running));
                    continue;
                }
                racers[index].watch = Some(Box::pin(watch.next()));
            }
        }
    }
}

/// As what another upstream may be asked too, if it may.
fn reason_to_join(tries: &Tries, choice: &Choice, signal: Signal, alone: bool) -> Option<Retry> {
    let now = std::time::Instant::now();
    let distrusted = health::is_distrusted(&choice.member.upstream);
    let (reason, may) = match signal {
        Signal::Distrusted => (Retry::Ejected, tries.may_move_to_ready()),
        Signal::Hedge => (Retry::Hedge, alone && tries.may_move_to_trusted(now) && tries.afford_hedge()),
        Signal::Doubt => (Retry::Silent, tries.may_move_to_trusted(now) && tries.afford()),
        Signal::Silent => (Retry::Silent, tries.may_move() && (distrusted || tries.afford())),
        Signal::TooSlow => (Retry::TooSlow, tries.may_move() && tries.afford()),
    };
    may.then_some(reason)
}

async fn pass_on(session: &mut Session, interim: Box<ResponseHeader>) -> pingora_error::Result<()> {
    // RFC 9110, section 15.2: interim answers are passed on, but not to an HTTP/1.0 client.
    if session.req_header().version == http::Version::HTTP_11 {
        session.as_downstream_mut().write_response_header(interim).await?;
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

impl<'a> From<Running<'a>> for Racer<'a> {
    fn from(Running { choice, exchange, watch }: Running<'a>) -> Self {
        Racer { choice, exchange, watch: Some(Box::pin(watch.next())) }
    }
}

impl Racer<'_> {
    /// Lets the try go on unheard where its upstream lives and is only slow; else ends it.
    fn leave(self) {
        let upstream = self.choice.member.upstream;
        if health::is_distrusted(&upstream) || upstream.is_in_doubt(std::time::Instant::now()) {
            return;
        }
        let exchange = self.exchange;
        tokio::spawn(async move {
            tokio::select! {
                outcome = exchange => {
                    if let Outcome::Answered(answer) = outcome {
                        respond::keep_connection(*answer).await;
                    }
                }
                () = upstream.health.distrust.notified() => {}
                () = sleep(UNHEARD) => {}
            }
        });
    }
}
