//! What the balancer does right now. Every second the counters are looked at; rates and latencies are the
//! differences between two looks, so that nothing is done for them while requests pass.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State as Extract;
use kit::api::Json;
use tokio::time::MissedTickBehavior;
use wire::EndpointId;
use wire::traffic::{MOST_UPSTREAMS, STEP_S, STEPS, Traffic, UpstreamTraffic, UpstreamWord, WINDOW_S};
use wire::upstreams::UpstreamState;

use super::{Admin, Shared};
use crate::proxy::health;
use crate::proxy::lock;
use crate::proxy::metrics::{BUCKETS, CLASSES, RouteStats};
use crate::proxy::state::State;
use crate::proxy::state::in_flight::Outcome;
use crate::proxy::state::pool::{Member, Pool, Rank};

/// What the balancer does right now: rates and latencies of the last ten seconds.
#[utoipa::path(get, path = "/traffic", responses((status = 200, body = Traffic)))]
pub(super) async fn traffic(Extract(admin): Shared) -> Json<Traffic> {
    Json(of(&admin))
}

/// The counters of some seconds.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// One look a second, the oldest first.
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    looks: VecDeque<Look>,
    history: VecDeque<f64>,
    since_step: usize,
}

/// The counters at one time.
#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    total: Total,
    upstreams: HashMap<EndpointId, Counted>,
}

/// The sums over all routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Total {
    requests: u64,
    failed: u64,
    retries: u64,
    within: [u64; BUCKETS.len()],
    timed: u64,
}

/// Those of one upstream.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    requests: u64,
    answers: u64,
    heads_us: u64,
}

impl Looks {
    /// Looks once a second, for ever.
    pub(super) async fn keep(&self, state: &Arc<State>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            lock(&self.recent).take(Look::at(state));
        }
    }
}

impl Recent {
    fn take(&mut self, look: Look) {
        self.looks.push_back(look);
        self.since_step += 1;
        if self.since_step > STEP_S && self.looks.len() > 1 {
            self.since_step = 1;
            let rate = self.rate();
            self.history.push_back(rate);
        }
        while self.history.len() > STEPS {
            self.history.pop_front();
        }
        while self.looks.len() > WINDOW_S + 1 {
            self.looks.pop_front();
        }
    }

    /// The time that the looks span, in seconds; none if that is no time.
    fn span(&self) -> Option<f64> {
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        Some(last.at.saturating_duration_since(first.at).as_secs_f64()).filter(|span| *span > 0.0)
    }

    fn rate(&self) -> f64 {
        let difference =
            |(first, last): (&Look, &Look)| last.total.requests.saturating_sub(first.total.requests);
        per(self.looks.front().zip(self.looks.back()).map_or(0, difference), self.span())
    }

    fn quantile(&self, q: f64) -> Option<f64> {
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        quantile(&last.total.since(&first.total), q)
    }
}

#[allow(clippy::cast_precision_loss)] // counts of seconds
fn per(count: u64, seconds: Option<f64>) -> f64 {
    seconds.map_or(0.0, |seconds| (count as f64 / seconds * 10.0).round() / 10.0)
}

impl Look {
    fn at(state: &State) -> Self {
        let snapshot = state.snapshot();
        let mut total = Total::default();
        for stats in snapshot.routes.iter().map(|route| &route.stats).chain([&state.unrouted]) {
            total.add(stats);
        }
        let members = snapshot.pools.values().flat_map(|pool| pool.members()).take(MOST_UPSTREAMS);
        let upstreams = members.map(|member| (member.upstream.id.clone(), Counted::of(member))).collect();
        Look { at: Instant::now(), total, upstreams }
    }
}

impl Total {
    fn add(&mut self, stats: &RouteStats) {
        let answers = stats.answers();
        let of = |name| {
            CLASSES.iter().zip(&answers).find(|(class, _)| **class == name).map_or(0, |(_, count)| *count)
        };
        let (within, timed) = stats.durations();
        self.requests += answers.iter().sum::<u64>();
        self.failed += of("5xx") + of("none");
        self.retries += stats.retries();
        self.timed += timed;
        for (sum, count) in self.within.iter_mut().zip(within) {
            *sum += count;
        }
    }

    /// What came since `before`. A route that is gone took its counts along.
    fn since(&self, before: &Total) -> Total {
        Total {
            requests: self.requests.saturating_sub(before.requests),
            failed: self.failed.saturating_sub(before.failed),
            retries: self.retries.saturating_sub(before.retries),
            within: std::array::from_fn(|i| self.within[i].saturating_sub(before.within[i])),
            timed: self.timed.saturating_sub(before.timed),
        }
    }
}

/// The quantile `q` of the durations in `total`, in milliseconds: between the bounds of its bucket by proportion, as
/// Prometheus' `histogram_quantile` does. None where there are none.
#[allow(clippy::cast_precision_loss)] // counts of seconds
fn quantile(total: &Total, q: f64) -> Option<f64> {
    if total.timed == 0 {
        return None;
    }
    let rank = q * total.timed as f64;
    let index = total.within.iter().position(|count| *count as f64 >= rank);
    // Longer than the last bound: that is all that is known.
    let Some(index) = index else { return BUCKETS.last().map(|bound| bound * 1e3) };
    let (lower, before) = match index.checked_sub(1) {
        Some(below) => (BUCKETS[below], total.within[below]),
        None => (0.0, 0),
    };
    let inside = total.within[index].saturating_sub(before) as f64;
    let part = if inside > 0.0 { (rank - before as f64) / inside } else { 1.0 };
    Some((lower + (BUCKETS[index] - lower) * part) * 1e3)
}

impl Counted {
    fn of(member: &Member) -> Self {
        let counters = &member.upstream.counters;
        let (answers, heads_us) = counters.heads();
        let requests = counters.requests.load(std::sync::atomic::Ordering::Relaxed);
        Counted { requests, answers, heads_us }
    }
}

/// What `/traffic` says now.
pub(super) fn of(admin: &Admin) -> Traffic {
    let now = Look::at(&admin.state);
    let recent = lock(&admin.looks.recent);
    let snapshot = admin.state.snapshot();
    let before = recent.looks.front();
    let newest = recent.looks.back();
    let span = recent.span();
    let members =
        || snapshot.pools.values().flat_map(|pool| pool.members().iter().map(move |member| (pool, member)));
    let upstreams = members().take(MOST_UPSTREAMS).map(|(pool, member)| {
        let id = &member.upstream.id;
        let of =
            |look: Option<&Look>| look.and_then(|look| look.upstreams.get(id).copied()).unwrap_or_default();
        upstream(pool, member, (of(before), of(newest)), span)
    });
    let upstreams: Vec<_> = upstreams.collect();
    Traffic {
        machine: admin.settings.machine.clone(),
        uptime_ms: millis(admin.started.elapsed()),
        generation: snapshot.generation,
        connections: admin.state.connections.open(),
        in_flight: admin.state.connections.busy(),
        requests: now.total.requests,
        failed: now.total.failed,
        retries: now.total.retries,
        per_s: recent.rate(),
        p50_ms: recent.quantile(0.5),
        p99_ms: recent.quantile(0.99),
        history: recent.history.iter().copied().collect(),
        unlisted: members().count().saturating_sub(upstreams.len()) as u64,
        upstreams,
    }
}

#[allow(clippy::cast_precision_loss)] // counts of seconds
fn upstream(pool: &Pool, member: &Member, looks: (Counted, Counted), span: Option<f64>) -> UpstreamTraffic {
    use std::sync::atomic::Ordering::Relaxed;
    let (before, newest) = looks;
    let upstream = &member.upstream;
    let counters = &upstream.counters;
    let since = health::ejected_since(upstream);
    let last = upstream.health.checks.last();
    let heads = newest.answers.saturating_sub(before.answers);
    let took = newest.heads_us.saturating_sub(before.heads_us) as f64 / 1e3;
    let elsewhere =
        Outcome::all().filter(|outcome| !["answered", "truncated", "abandoned"].contains(&outcome.name()));
    let fifth = CLASSES.iter().position(|class| *class == "5xx").unwrap_or_default();
    UpstreamTraffic {
        id: upstream.id.clone(),
        pool: pool.name.clone(),
        address: upstream.address.to_string(),
        zone: wire::HostName::clone(&member.zone),
        state: word(member),
        reason: reason(member),
        out_ms: since.map(|(at, _)| millis(at.elapsed())),
        weight: member.weight,
        per_s: per(newest.requests.saturating_sub(before.requests), span),
        in_flight: upstream.in_flight(),
        connections: upstream.open_connections(),
        requests: counters.requests.load(Relaxed),
        errors: counters.failures.load(Relaxed) + counters.answers(fifth),
        retried: elsewhere.map(|outcome| counters.outcomes(outcome)).sum(),
        ejections: counters.ejections.load(Relaxed),
        mean_ms: (heads > 0).then(|| took / heads as f64),
        checked_ms: last.as_ref().map(|last| millis(last.at.elapsed())),
        check_passed: last.as_ref().map(|last| last.outcome.is_ok()),
    }
}

fn word(member: &Member) -> UpstreamWord {
    match member.rank {
        Rank::Maintenance => UpstreamWord::Maintenance,
        Rank::Draining => UpstreamWord::Draining,
        _ if member.upstream.is_ejected() => UpstreamWord::Ejected,
        Rank::Suspect => UpstreamWord::Suspect,
        _ if !member.upstream.health.trial.is_over() => UpstreamWord::Trial,
        _ if member.backup => UpstreamWord::Backup,
        _ => UpstreamWord::Up,
    }
}

fn reason(member: &Member) -> String {
    if member.ordered.as_ref().is_some_and(|order| order.mode.is_some()) {
        return "a person's order".to_owned();
    }
    if let Some((_, failure)) = health::ejected_since(&member.upstream) {
        let check = member.upstream.health.checks.last().and_then(|last| last.outcome.err());
        return check.map_or_else(|| failure.name().replace('_', " "), |fault| fault.to_string());
    }
    match member.state {
        UpstreamState::Suspect if member.checked_elsewhere => {
            "its manager misses its heartbeat, or its checks by other balancers fail".to_owned()
        }
        UpstreamState::Suspect => "its manager misses its heartbeat".to_owned(),
        _ => String::new(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: Instant, seconds: u64, requests: u64) -> Look {
        let total = Total { requests, ..Total::default() };
        Look { at: at + Duration::from_secs(seconds), total, upstreams: HashMap::new() }
    }

    #[test]
    fn rates_are_of_the_last_seconds_and_the_history_of_the_last_quarter_of_an_hour() {
        let (start, mut recent) = (Instant::now(), Recent::default());
        assert_eq!((recent.rate(), recent.span()), (0.0, None));
        let long = (STEPS * STEP_S + 5 * STEP_S) as u64;
        // 100 a second, and none in the last five seconds.
        for second in 0..=long {
            recent.take(look(start, second, 100 * second.min(long - 5)));
        }
        assert_eq!(recent.rate(), 50.0);
        assert_eq!(recent.history.len(), STEPS);
        assert_eq!(recent.history.front(), Some(&100.0));
        assert_eq!(recent.looks.len(), WINDOW_S + 1);
    }

    #[test]
    fn quantiles_lie_in_their_bucket() {
        let mut total = Total::default();
        assert_eq!(quantile(&total, 0.5), None);
        // 90 between 1 and 2.5 ms, 10 between 10 and 25 ms.
        let (from, to) =
            (BUCKETS.iter().position(|b| *b == 0.0025), BUCKETS.iter().position(|b| *b == 0.025));
        for (index, count) in total.within.iter_mut().enumerate() {
            *count = if Some(index) >= to {
                100
            } else if Some(index) >= from {
                90
            } else {
                0
            };
        }
        total.timed = 100;
        let at = |total: &Total, q| quantile(total, q).unwrap();
        assert!(
            (1.0..2.5).contains(&at(&total, 0.5)) && (10.0..25.0).contains(&at(&total, 0.99)),
            "{} {}",
            at(&total, 0.5),
            at(&total, 0.99)
        );
        // Longer than the longest bound.
        total.timed = 1000;
        assert_eq!(at(&total, 0.99), 30_000.0);
    }

    #[test]
    fn counts_that_went_away_with_their_route_are_no_requests() {
        let total = |requests| Total { requests, ..Total::default() };
        assert_eq!(total(5).since(&total(7)).requests, 0);
    }
}
