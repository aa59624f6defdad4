//! Which upstream a request goes to next, and when it has been tried enough.
//!
//! A request is sent to at most `max_tries` upstreams. An upstream that could not be connected to was
//! not sent anything, so it does not count, unless it was known to be down: otherwise a request would
//! call on every dead machine there is.

use std::sync::Arc;
use std::time::Instant;

use http::header;
use pingora_http::ResponseHeader;

use super::super::access_log::Trace;
use super::super::balance::ask::Ask;
use super::super::balance::{self, Nobody, same};
use super::super::doubt;
use super::super::error_page::Refusal;
use super::super::metrics::Retry;
use super::super::route::Route;
use super::super::state::in_flight::InFlight;
use super::super::state::pool::{Member, Pool};
use super::super::state::upstream::Upstream;

/// The most upstreams one request tries to connect to, even where that is free.
const MAX_CONNECTS: usize = 16;

/// The tries of one request.
#[derive(Debug)]
pub(crate) struct Tries {
    route: Arc<Route>,
    ask: Ask,
    trace: Option<Arc<Trace>>,
    tried: Vec<Member>,
    /// Counted tries, the present one included.
    counted: u32,
    /// Broke off on a kept connection: it may be tried once more when nobody else is left.
    stale: Option<Member>,
    /// An upstream was sent the request and failed it.
    was_sent: bool,
    /// Why the last try came to nothing.
    last: Option<Retry>,
}

/// The upstream for a try.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) member: Member,
    /// Use no kept connection.
    pub(crate) fresh: bool,
    was_down: bool,
}

impl Tries {
    pub(crate) fn new(route: Arc<Route>, ask: Ask, trace: Option<Arc<Trace>>) -> Self {
        route.pool.budget.count_request();
        Tries { route, ask, trace, tried: Vec::new(), counted: 0, stale: None, was_sent: false, last: None }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.route.pool
    }

    /// Whom to try now.
    ///
    /// # Errors
    ///
    /// What to answer when there is nobody or it is enough.
    pub(crate) fn next(&mut self) -> Result<(Choice, InFlight), Refusal> {
        let pool = &self.route.pool;
        if self.counted >= pool.policy.max_tries || self.tried.len() >= MAX_CONNECTS {
            return Err(self.refusal());
        }
        let (choice, mut in_flight) = loop {
            let pick = balance::pick(pool, &self.ask, &self.tried, Instant::now());
            if let Some(member) = pick.ok().and_then(|pick| pick.in_doubt) {
                doubt::look_into(pool, &member.upstream);
            }
            let (choice, is_trial) = match (pick, &self.stale) {
                (Ok(pick), _) => {
                    let upstream = &pick.member.upstream;
                    let member = pick.member.clone();
                    (Choice { was_down: upstream.is_down(), member, fresh: false }, pick.is_trial)
                }
                (Err(_), Some(member)) => {
                    (Choice { member: member.clone(), fresh: true, was_down: false }, false)
                }
                (Err(Nobody::HasRoom), None) => return Err(Refusal::Busy),
                (Err(Nobody::Left), None) => return Err(self.refusal()),
            };
            // Another worker may have taken the last room since we looked.
            match InFlight::begin(pool, &choice.member.upstream, self.ask, is_trial) {
                Some(in_flight) => break (choice, in_flight),
                None if choice.fresh => return Err(Refusal::Busy),
                None => {}
            }
        };
        if self.was_sent || self.stale.is_some() {
            in_flight.replays();
        }
        if choice.fresh {
            self.stale = None;
        }
        in_flight.traced(self.trace.clone());
        if let Some(reason) = self.last.take() {
            self.route.stats.count_retry(reason);
        }
        self.counted += 1;
        self.tried.push(choice.member.clone());
        Ok((choice, in_flight))
    }

    /// Whether another upstream could be tried that is not known to be down.
    pub(crate) fn may_move(&self) -> bool {
        self.may_move_to(|_| true)
    }

    /// Whether one of those is not in doubt either.
    pub(crate) fn may_move_to_trusted(&self, now: Instant) -> bool {
        self.may_move_to(|member| !member.upstream.is_in_doubt(now))
    }

    fn may_move_to(&self, wanted: impl Fn(&Member) -> bool) -> bool {
        let pool = &self.route.pool;
        let fits = |member: &Member| {
            !member.upstream.is_down()
                && !self.tried.iter().any(|other| same(&other.upstream, &member.upstream))
                && wanted(member)
        };
        self.counted < pool.policy.max_tries && pool.eligible().iter().any(fits)
    }

    /// Whether the pool can afford a retry that is not free.
    pub(crate) fn afford(&self) -> bool {
        self.route.pool.budget.take(&self.route.pool.policy, Instant::now())
    }

    /// Notes that the try of `choice` came to nothing.
    pub(crate) fn failed(&mut self, choice: Choice, reason: Retry) {
        match reason {
            Retry::Connect => {
                if !choice.was_down {
                    self.counted = self.counted.saturating_sub(1);
                }
            }
            Retry::Stale => self.stale = Some(choice.member),
            Retry::Broken => {
                self.was_sent = true;
                if !self.afford() {
                    self.counted = u32::MAX;
                }
            }
            // Paid for when it was left.
            Retry::Silent | Retry::TooSlow | Retry::Ejected => self.was_sent = true,
        }
        self.last = Some(reason);
    }

    /// Gives the client the cookie that leads to `upstream` again, unless it came with that one.
    pub(crate) fn keep_client(&self, response: &mut ResponseHeader, upstream: &Upstream) {
        let Some(cookies) = self.route.pool.sticky() else { return };
        let machine = upstream.id.machine();
        if self.ask.sticky.and_then(|index| cookies.machine(index)) == Some(machine) {
            return;
        }
        if let Some(cookie) = cookies.set_cookie(machine) {
            // A value that was made into one before cannot be refused.
            let _ = response.append_header(header::SET_COOKIE, cookie.clone());
        }
    }

    fn refusal(&self) -> Refusal {
        let pool = &self.route.pool;
        if pool.offered().is_empty() || (!self.was_sent && pool.is_dead()) {
            Refusal::NoUpstream
        } else {
            Refusal::BadGateway
        }
    }
}
