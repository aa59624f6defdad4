//! One try among those of a request, and what becomes of it when another was faster.
//!
//! ```text
//!   running ──not answered soon──▶ racer ──answered first──▶ passed on (`race`)
//!                                    │ another was faster
//!                                    ▼
//!                                  left ──its upstream is distrusted or in doubt──▶ ended
//!                                    │ it lives and is only slow
//!                                    ▼
//!                                 unheard ──answered──▶ noted, and the connection is kept
//!                                         ──distrusted by now, or UNHEARD is over──▶ ended
//! ```

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::super::health;
use super::super::metrics::Retry;
use super::super::state::in_flight::InFlight;
use super::super::state::learned::{Cell, Deadlines};
use super::exchange::{Answer, Exchange, Outcome, Sent};
use super::respond;
use super::tries::Choice;
use super::watch::{Signal, Watch};

/// A try that nobody waits for any more goes on for so long, so that its upstream does not look idle.
const UNHEARD: Duration = Duration::from_secs(3);

/// One try that is under way.
pub(super) struct Running {
    pub(super) choice: Choice,
    pub(super) in_flight: InFlight,
    pub(super) exchange: BoxFuture<'static, Outcome>,
    pub(super) sent: Sent,
    pub(super) deadlines: Deadlines,
}

/// A try in a race.
pub(super) struct Racer<'a> {
    pub(super) choice: Choice,
    pub(super) in_flight: InFlight,
    /// Why another has joined.
    pub(super) left: Option<Retry>,
    pub(super) sent: Sent,
    pub(super) exchange: BoxFuture<'static, Outcome>,
    /// None once another has joined because of this one.
    pub(super) watch: Option<BoxFuture<'a, (Watch<'a>, Signal)>>,
}

impl<'a> Racer<'a> {
    /// `running`, which is watched from now on. Most tries are over before.
    pub(super) fn new(running: Running, learned: Cell<'a>) -> Self {
        let Running { choice, in_flight, exchange, sent, deadlines } = running;
        let watch = Watch::new(&in_flight, sent.clone(), learned, deadlines);
        Racer { choice, in_flight, left: None, sent, exchange, watch: Some(Box::pin(watch.next())) }
    }

    /// Lets the try go on unheard where its upstream lives and is only slow; else ends it.
    pub(super) fn leave(self) {
        let Racer { mut in_flight, left, exchange, .. } = self;
        let upstream = in_flight.upstream().clone();
        if health::is_distrusted(&upstream) || upstream.is_in_doubt(std::time::Instant::now()) {
            in_flight.left(left);
            return;
        }
        tokio::spawn(async move {
            tokio::select! {
                outcome = unheard(exchange) => match outcome {
                    Ok(answer) => {
                        in_flight.late(answer.status, answer.head_at);
                        respond::keep_connection(*answer, &mut in_flight);
                    }
                    Err(Some(reason)) => in_flight.failed(reason),
                    Err(None) => {}
                },
                () = upstream.health.distrust.notified() => in_flight.left(left),
                () = sleep(UNHEARD) => in_flight.left(left),
            }
        });
    }
}

/// The end of a try for which nobody waits.
async fn unheard(mut exchange: BoxFuture<'static, Outcome>) -> Result<Box<Answer>, Option<Retry>> {
    loop {
        match exchange.await {
            Outcome::Answered(answer) => return Ok(answer),
            Outcome::Failed(reason) => return Err(Some(reason)),
            Outcome::NotSent => return Err(None),
            Outcome::Interim(next, _) => exchange = Box::pin(Exchange::go_on(*next)),
        }
    }
}
