//! Which upstream a request goes to next, and when it has been tried enough.
//!
//! A request is sent to at most `max_tries` upstreams. An upstream that could not be connected to was
//! not sent anything, so it does not count, unless it was known to be down: otherwise a request would
//! call on every dead machine there is. A set that is pushed meanwhile counts at once: the next try is made
//! among its upstreams.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, header};
use pingora_http::ResponseHeader;
use smallvec::SmallVec;

use super::super::balance::ask::Ask;
use super::super::balance::{self, Nobody, same};
use super::super::doubt;
use super::super::error_page::Refusal;
use super::super::metrics::Retry;
use super::super::observe::Trace;
use super::super::route::Route;
use super::super::state::State;
use super::super::state::in_flight::InFlight;
use super::super::state::pool::{Member, Pool, Rank};
use super::super::state::upstream::{Reuse, Upstream};

/// The most upstreams one request tries to connect to, even where that is free.
pub(crate) const MAX_CONNECTS: usize = 16;

/// A request's tries are renewed so often where those before say nothing about the upstreams there are now.
pub(crate) const MAX_RENEWALS: u32 = 3;

/// The tries of one request.
#[derive(Debug)]
pub(crate) struct Tries {
    route: Arc<Route>,
    ask: Ask,
    trace: Option<Arc<Trace>>,
    tried: SmallVec<[Arc<Upstream>; 1]>,
    /// Counted tries, the present one included.
    counted: u32,
    renewals: u32,
    /// The last try failed because its upstream could not be reached or died: it may be back.
    excused: bool,
    /// Broke off on a kept connection: it may be tried once more when nobody else is left.
    stale: Option<Arc<Upstream>>,
    /// An upstream was sent the request and failed it.
    was_sent: bool,
    /// Why the last try came to nothing.
    last: Option<Retry>,
}

/// How the upstream for a try was chosen, which is that of the request in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    /// Use no kept connection.
    pub(crate) fresh: bool,
    was_down: bool,
    /// It had yet to show that it is well.
    was_on_trial: bool,
}

impl Tries {
    pub(crate) fn new(route: Arc<Route>, ask: Ask, trace: Option<Arc<Trace>>) -> Self {
        route.pool.budget.count_request();
        Tries {
            route,
            ask,
            trace,
            tried: SmallVec::new(),
            counted: 0,
            renewals: 0,
            excused: false,
            stale: None,
            was_sent: false,
            last: None,
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.route.pool
    }

    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// What is known of the request, where that is told to anybody.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_deref()
    }

    /// Whether the request may be sent again after it was sent.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.ask.repeatable
    }

    /// Which kept connections are good enough. What is lost with one is lost where it may not be sent again.
    pub(crate) fn reuse(&self) -> Reuse {
        let any = self.is_repeatable() || self.route.pool.policy.reuse_unrepeatable;
        if any { Reuse::Any } else { Reuse::Proven }
    }

    /// Whether nothing has been tried yet.
    pub(crate) fn are_new(&self) -> bool {
        self.tried.is_empty()
    }

    /// Goes on with the route as it is now, where it still is.
    pub(crate) fn follow(&mut self, state: &State) {
        let snapshot = state.snapshot();
        let named = || snapshot.routes.iter().filter(|route| route.name == self.route.name);
        // Of a route that shares its requests, the one with the pool that was chosen, if it is still there.
        let chosen = named().find(|route| route.pool.name == self.route.pool.name);
        let Some(route) = chosen.or_else(|| named().next()) else { return };
        if Arc::ptr_eq(route, &self.route) {
            return;
        }
        let before = std::mem::replace(&mut self.route, route.clone());
        // Its place among the cookies may be another one now.
        self.ask.sticky = self.ask.sticky.and_then(|index| {
            let machine = before.pool.sticky()?.machine(index)?;
            self.route.pool.sticky()?.index_of(machine)
        });
        let is_new = |member: &Member| {
            let is_same = |other: &Upstream| same(other, &member.upstream);
            !before.pool.members().iter().any(|other| is_same(&other.upstream))
                && !self.tried.iter().any(|other| is_same(other))
        };
        if self.renewals < MAX_RENEWALS && self.counted > 0 && self.route.pool.eligible().iter().any(is_new) {
            self.renewals += 1;
            self.counted = 0;
        }
    }

    /// Begins anew, as if nothing had been tried.
    pub(crate) fn begin_anew(&mut self) {
        (self.tried, self.counted, self.stale, self.excused) = (SmallVec::new(), 0, None, false);
    }

    /// Begins anew if upstreams came back while others were tried in vain.
    fn renew(&mut self) -> bool {
        let is_up = |member: &Member| !member.upstream.is_down();
        let renews =
            self.excused && self.renewals < MAX_RENEWALS && self.route.pool.eligible().iter().any(is_up);
        if renews {
            self.renewals += 1;
            self.begin_anew();
        }
        renews
    }

    /// Whom to try now.
    ///
    /// # Errors
    ///
    /// What to answer when there is nobody or it is enough.
    pub(crate) fn next(&mut self) -> Result<(Choice, InFlight), Refusal> {
        let (choice, mut in_flight) = match self.choose() {
            Err(refusal) if refusal != Refusal::Busy && self.renew() => self.choose()?,
            chosen => chosen?,
        };
        if self.was_sent {
            in_flight.replays();
        }
        in_flight.traced(self.trace.clone());
        if let Some(reason) = self.last.take() {
            self.route.stats.count_retry(reason);
        }
        self.counted += 1;
        self.tried.push(in_flight.upstream().clone());
        Ok((choice, in_flight))
    }

    fn choose(&mut self) -> Result<(Choice, InFlight), Refusal> {
        let pool = &self.route.pool;
        if self.counted >= pool.policy.max_tries || self.tried.len() >= MAX_CONNECTS {
            return Err(self.refusal());
        }
        loop {
            let now = Instant::now();
            let pick = balance::pick(pool, &self.ask, &self.tried, now);
            if let Some(member) = pick.ok().and_then(|pick| pick.in_doubt) {
                doubt::look_into(pool, &member.upstream);
            }
            let (upstream, choice, is_trial) = match (pick, &self.stale) {
                (Ok(pick), _) => {
                    let upstream = &pick.member.upstream;
                    let choice = Choice {
                        fresh: false,
                        was_down: upstream.is_down(),
                        was_on_trial: !upstream.health.trial.is_over(),
                    };
                    (upstream, choice, pick.is_trial)
                }
                (Err(_), Some(upstream)) => {
                    (upstream, Choice { fresh: true, was_down: false, was_on_trial: false }, false)
                }
                (Err(Nobody::HasRoom), None) => return Err(Refusal::Busy),
                (Err(Nobody::Left), None) => return Err(self.refusal()),
            };
            // Another worker may have taken the last room since we looked.
            match InFlight::begin(pool, upstream, self.ask, is_trial, now) {
                Some(in_flight) => {
                    if choice.fresh {
                        self.stale = None;
                    }
                    return Ok((choice, in_flight));
                }
                None if choice.fresh => return Err(Refusal::Busy),
                None => {}
            }
        }
    }

    /// Whether another upstream could be tried that is not known to be down.
    pub(crate) fn may_move(&self) -> bool {
        self.may_move_to(|_| true)
    }

    /// Whether there is one of those that its manager does not suspect.
    pub(crate) fn may_move_to_ready(&self) -> bool {
        self.is_left(|member| member.rank < Rank::Suspect)
    }

    /// Whether one of those that can be tried is not in doubt either.
    pub(crate) fn may_move_to_trusted(&self, now: Instant) -> bool {
        self.may_move_to(|member| !member.upstream.is_in_doubt(now))
    }

    fn may_move_to(&self, wanted: impl Fn(&Member) -> bool) -> bool {
        self.counted < self.route.pool.policy.max_tries && self.is_left(wanted)
    }

    fn is_left(&self, wanted: impl Fn(&Member) -> bool) -> bool {
        let pool = &self.route.pool;
        let fits = |member: &Member| {
            !member.upstream.is_down()
                && member.upstream.has_room()
                && !self.tried.iter().any(|other| same(other, &member.upstream))
                && wanted(member)
        };
        pool.eligible().iter().any(fits)
    }

    /// Whether an answer with `status` is not to be passed on, as another upstream can be asked instead: for a request
    /// that may be repeated. It is paid for then.
    pub(crate) fn would_rather_ask_another(&self, status: u16) -> bool {
        self.route.pool.policy.retry_statuses.contains(&status) && self.may_move() && self.afford()
    }

    /// Whether the pool can afford a retry that is not free.
    pub(crate) fn afford(&self) -> bool {
        self.route.pool.budget.take(&self.route.pool.policy, Instant::now())
    }

    /// Whether the pool can afford to ask a second upstream before the first one has failed.
    pub(crate) fn afford_hedge(&self) -> bool {
        self.route.pool.budget.take_hedge(&self.route.pool.policy, Instant::now())
    }

    /// The upstream for a further try while another goes on, if there is any.
    pub(crate) fn join(&mut self, reason: Retry) -> Option<(Choice, InFlight)> {
        self.was_sent = true;
        self.last = Some(reason);
        if reason == Retry::Ejected {
            // What was sent to it is void.
            self.counted = self.counted.saturating_sub(1);
        }
        let next = self.next().ok();
        if next.is_none() {
            self.last = None;
        }
        next
    }

    /// Notes that the try of `choice` at `upstream` came to nothing.
    pub(crate) fn failed(&mut self, choice: Choice, upstream: &Arc<Upstream>, reason: Retry) {
        // That one which comes and goes is gone again is no news: it would be a storm.
        let is_news = !choice.was_down && !choice.was_on_trial && !upstream.has_relapsed();
        let died = is_news && upstream.is_down();
        self.excused = match reason {
            Retry::Connect | Retry::Stale => true,
            Retry::Broken => died,
            Retry::Silent
            | Retry::TooSlow
            | Retry::Ejected
            | Retry::Hedge
            | Retry::Refused
            | Retry::Status => false,
        };
        match reason {
            Retry::Connect => {
                if !choice.was_down {
                    self.counted = self.counted.saturating_sub(1);
                }
            }
            Retry::Stale => {
                self.was_sent = true;
                self.stale = Some(upstream.clone());
            }
            Retry::Broken => {
                self.was_sent = true;
                // All that an upstream had in flight when it died breaks off together: these are no storm.
                if !died && !self.afford() {
                    self.counted = u32::MAX;
                }
            }
            // It was not looked at; that it counts bounds how often others are asked.
            Retry::Refused => {}
            // Paid for when another joined, or when it was decided.
            Retry::Silent | Retry::TooSlow | Retry::Ejected | Retry::Hedge | Retry::Status => {
                self.was_sent = true;
            }
        }
        self.last = Some(reason);
    }

    /// Gives the client the cookie that leads to `upstream` again, unless it came with that one.
    pub(crate) fn keep_client(&self, response: &mut ResponseHeader, upstream: &Upstream) {
        if let Some(cookie) = self.cookie(upstream) {
            // A value that was made into one before cannot be refused.
            let _ = response.append_header(header::SET_COOKIE, cookie.clone());
        }
    }

    fn cookie(&self, upstream: &Upstream) -> Option<&HeaderValue> {
        let cookies = self.route.pool.sticky()?;
        let machine = upstream.id.machine();
        let has_it = self.ask.sticky.and_then(|index| cookies.machine(index)) == Some(machine);
        if has_it { None } else { cookies.set_cookie(machine) }
    }

    /// Whether the head of an answer of `upstream` is another one when it leaves than when it came.
    pub(crate) fn change_answers(&self, upstream: &Upstream) -> bool {
        self.route.changes_answers() || self.cookie(upstream).is_some()
    }

    /// Whether nobody is left who could answer, so that waiting is better than refusing.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.route.pool.is_dead()
    }

    fn refusal(&self) -> Refusal {
        let pool = &self.route.pool;
        if pool.offered().is_empty() || (!self.was_sent && self.is_hopeless()) {
            Refusal::NoUpstream
        } else if self.was_sent {
            Refusal::BadGateway
        } else {
            Refusal::Unreachable
        }
    }
}
