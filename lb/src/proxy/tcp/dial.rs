//! Finds an upstream for a connection: chosen, limited and held like requests are, and tried one after the other until
//! one takes it.
//!
//! ```text
//!   choose ──▶ connect ──▶ open
//!     ▲  │        └─ not to be had: held against the upstream, and the next one
//!     │  ├─ all have their fill: in line, at most pending_timeout_ms
//!     └──┴─ nobody can be reached: held, at most hold_ms, until one comes
//! ```
//!
//! Nothing was said to an upstream that did not take the connection, so the next one is free, as with requests: only
//! those that were known to be down count as tries.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smallvec::SmallVec;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use wire::PoolName;
use wire::balancing::{Algorithm, HashKey};

use super::super::accept::UNSENT;
use super::super::balance::ask::{Ask, client_key};
use super::super::balance::{self, Nobody};
use super::super::forward::connect::{ConnectFailure, classify, watch_for_death};
use super::super::forward::hold::{self, Held};
use super::super::forward::tries::{MAX_CONNECTS, MAX_RENEWALS};
use super::super::primary::Stay;
use super::super::state::State;
use super::super::state::pool::{Member, Pool};
use super::super::state::upstream::{Opened, Upstream};
use super::attempt::Attempt;
use super::ended::Ended;
use super::primary;
use super::service::Goal;
use super::streams::Entry;

/// A connection to an upstream.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) tcp: TcpStream,
    pub(super) attempt: Attempt,
    /// Of a pool that gives connections to its primary only: until when that is so.
    pub(super) stay: Option<Stay>,
    pub(super) _opened: Opened,
}

/// The search for one connection.
struct Search<'a> {
    state: &'a Arc<State>,
    pool: &'a PoolName,
    client: IpAddr,
    tried: SmallVec<[Arc<Upstream>; 1]>,
    /// Tries that are not free.
    counted: u32,
    renewals: u32,
}

/// An upstream to try.
struct Choice {
    pool: Arc<Pool>,
    ask: Ask,
    attempt: Attempt,
    was_down: bool,
}

/// Why there is none.
enum Lack {
    /// Those that are there have their fill.
    HasRoom(Arc<Pool>),
    /// Nobody can be reached.
    Hopeless(Arc<Pool>),
    /// It was tried enough.
    Enough,
    /// There is no such pool any more.
    NoPool,
}

/// Connects the client at `client`, whose connection is `tcp`, to an upstream for `goal`. `tries` counts the upstreams that
/// were tried.
///
/// # Errors
///
/// Why there is none.
pub(super) async fn dial(
    goal: &Goal,
    client: SocketAddr,
    (tcp, entry): (&TcpStream, &Entry),
    state: &Arc<State>,
    tries: &mut u32,
) -> Result<Dialled, Ended> {
    let mut search = Search {
        state,
        pool: &goal.pool,
        client: client.ip(),
        tried: SmallVec::new(),
        counted: 0,
        renewals: 0,
    };
    let Some(pool) = search.pool() else { return Err(Ended::NoUpstream) };
    pool.budget.count_request();
    let until = Instant::now() + Duration::from_millis(pool.policy.request_timeout_ms);
    if pool.policy.primary_only {
        drop(pool);
        return primary::dial(goal, (tcp, entry), state, until, tries).await;
    }
    drop(pool);
    let mut since = hold::Since::default();
    loop {
        let choice = match search.choose() {
            Ok(choice) => choice,
            Err(Lack::HasRoom(pool)) => search.in_line(&pool, until).await?,
            Err(Lack::Hopeless(pool)) => {
                let may_go_on = || search.begin_anew();
                match hold::wait(state, (&pool.name, &pool.policy), &mut since, until, may_go_on, left(tcp))
                    .await
                {
                    Held::Again => continue,
                    Held::InVain => return Err(Ended::NoUpstream),
                    Held::ClientGone => return Err(Ended::ClientLeft),
                }
            }
            Err(Lack::Enough) => return Err(Ended::Unreachable),
            Err(Lack::NoPool) => return Err(Ended::NoUpstream),
        };
        *tries += 1;
        let Choice { pool, ask, mut attempt, was_down } = choice;
        entry.goes_to(attempt.upstream());
        let limit = goal.service.described.connect_timeout_ms.unwrap_or(pool.policy.connect_timeout_ms);
        let left = until.saturating_duration_since(Instant::now());
        match connect(attempt.upstream(), Duration::from_millis(limit).min(left)).await {
            Ok((tcp, opened)) => {
                attempt.connected(&pool, &ask, std::time::Instant::now());
                return Ok(Dialled { tcp, attempt, stay: None, _opened: opened });
            }
            Err(failure) => {
                goal.service.stats.failed(failure);
                attempt.failed(&pool, &ask, failure);
                search.counted += u32::from(was_down);
            }
        }
        if Instant::now() >= until {
            return Err(Ended::Unreachable);
        }
    }
}

impl Search<'_> {
    /// The pool as it is now: a set that came meanwhile counts at once.
    fn pool(&self) -> Option<Arc<Pool>> {
        self.state.snapshot().pools.get(self.pool).cloned()
    }

    fn choose(&mut self) -> Result<Choice, Lack> {
        let pool = self.pool().ok_or(Lack::NoPool)?;
        if self.counted >= pool.policy.max_tries || self.tried.len() >= MAX_CONNECTS {
            return Err(if pool.is_dead() { Lack::Hopeless(pool) } else { Lack::Enough });
        }
        let ask = self.ask(&pool);
        loop {
            let now = std::time::Instant::now();
            let pick = match balance::pick(&pool, &ask, &self.tried, now) {
                Ok(pick) => pick,
                Err(Nobody::HasRoom) => return Err(Lack::HasRoom(pool)),
                Err(Nobody::Left) if pool.is_dead() => return Err(Lack::Hopeless(pool)),
                Err(Nobody::Left) if self.renews(&pool) => continue,
                Err(Nobody::Left) => return Err(Lack::Enough),
            };
            let upstream = &pick.member.upstream;
            let was_down = upstream.is_down();
            // Another worker may have taken the last room since we looked.
            if let Some(attempt) = Attempt::begin(&pool, upstream, pick.is_trial, now) {
                self.tried.push(upstream.clone());
                return Ok(Choice { pool, ask, attempt, was_down });
            }
        }
    }

    /// What the choice depends on: of what requests have, connections have the client alone.
    fn ask(&self, pool: &Pool) -> Ask {
        let balance = &pool.policy.balance;
        let is_hashed = matches!(balance.algorithm, Algorithm::RingHash | Algorithm::Maglev);
        let key = (is_hashed && balance.hash_key == HashKey::Client).then(|| client_key(self.client));
        Ask { key, repeatable: true, at_hand: true, ..Ask::default() }
    }

    /// Whether upstreams came back while others were tried in vain: they are tried anew.
    fn renews(&mut self, pool: &Pool) -> bool {
        let is_up = |member: &Member| !member.upstream.is_down();
        let renews = self.renewals < MAX_RENEWALS && pool.eligible().iter().any(is_up);
        if renews {
            self.renewals += 1;
            self.tried.clear();
        }
        renews
    }

    /// Whether there may be an upstream again; then none has been tried.
    fn begin_anew(&mut self) -> bool {
        let is_back = self.pool().is_none_or(|pool| !pool.is_dead());
        if is_back {
            self.tried.clear();
            self.counted = 0;
        }
        is_back
    }

    /// Waits until an upstream has room.
    async fn in_line(&mut self, pool: &Pool, until: Instant) -> Result<Choice, Ended> {
        let limits = &pool.policy.upstream_limits;
        let until = until.min(Instant::now() + Duration::from_millis(limits.pending_timeout_ms));
        let limit = u64::from(limits.max_pending) * pool.eligible().len() as u64;
        let choose = || match self.choose() {
            Err(Lack::HasRoom(_)) => None,
            decided => Some(decided),
        };
        match pool.lasting.queue.in_line(limit, until, choose).await {
            Some(Ok(choice)) => Ok(choice),
            Some(Err(Lack::Hopeless(_) | Lack::NoPool)) => Err(Ended::NoUpstream),
            Some(Err(Lack::Enough)) => Err(Ended::Unreachable),
            Some(Err(Lack::HasRoom(_))) | None => Err(Ended::Busy),
        }
    }
}

/// Connects to `upstream` within `limit`.
pub(super) async fn connect(
    upstream: &Arc<Upstream>,
    limit: Duration,
) -> Result<(TcpStream, Opened), ConnectFailure> {
    upstream.counters.connects.fetch_add(1, Ordering::Relaxed);
    let opened = upstream.opening();
    let tcp = timeout(limit, TcpStream::connect(upstream.address))
        .await
        .map_err(|_elapsed| ConnectFailure::TimedOut)?
        .map_err(|error| classify(&error))?;
    let _ = tcp.set_nodelay(true);
    let socket = SockRef::from(&tcp);
    watch_for_death(&socket);
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    Ok((tcp, opened))
}

/// Resolves when the client has reset its connection. One that has only ended its side waits for an answer.
pub(super) async fn left(tcp: &TcpStream) {
    loop {
        match tcp.ready(Interest::ERROR).await {
            Ok(ready) if !ready.is_error() => {}
            Ok(_) | Err(_) => return,
        }
    }
}
