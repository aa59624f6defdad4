//! Who may ask, and how often: for everybody, or for the requests of a route.

use std::sync::Arc;
use std::time::Instant;

use pingora_http::RequestHeader;
use wire::clients::Network;
use wire::rates::RateLimit;

use super::super::client::Client;
use super::super::error_page::Refusal;
use super::super::metrics::{Limited, RouteStats};
use super::super::route::sender::Sender;
use super::networks::Networks;
use super::rate::{Limiter, Verdict, Waiting};

/// What clients have to pass.
#[derive(Debug)]
pub(crate) struct Guard {
    allow: Networks,
    deny: Networks,
    rates: Vec<Arc<Limiter>>,
}

impl Guard {
    /// What is described; none where nothing is. What `before` knows of clients goes on where it says the same.
    pub(crate) fn new(
        allow: &[Network],
        deny: &[Network],
        rates: &[RateLimit],
        before: Option<&Guard>,
    ) -> Option<Arc<Self>> {
        if allow.is_empty() && deny.is_empty() && rates.is_empty() {
            return None;
        }
        let known = |index: usize| before.and_then(|before| before.rates.get(index));
        let rates = rates.iter().enumerate().map(|(index, rate)| Limiter::new(rate, known(index)));
        Some(Arc::new(Guard {
            allow: Networks::new(allow),
            deny: Networks::new(deny),
            rates: rates.collect(),
        }))
    }

    fn admits(&self, sender: Sender) -> bool {
        !self.deny.contains(sender.address) && (self.allow.is_empty() || self.allow.contains(sender.address))
    }
}

/// Whether `request` from `sender` may pass all of `guards`, now or after it has waited. What was refused counts
/// nowhere.
///
/// # Errors
///
/// What to answer where it may not.
pub(crate) fn judge<'a>(
    guards: impl Iterator<Item = &'a Arc<Guard>> + Clone,
    request: &RequestHeader,
    sender: Sender,
    stats: &RouteStats,
) -> Result<Option<Waiting>, Refusal> {
    if guards.clone().any(|guard| !guard.admits(sender)) {
        stats.count_limited(Limited::Denied);
        return Err(Refusal::Forbidden);
    }
    let now = Instant::now();
    let mut longest: Option<Waiting> = None;
    let mut counted = Vec::new();
    for limiter in guards.flat_map(|guard| &guard.rates) {
        let key = limiter.key(request, sender.address);
        match limiter.ask(key, now) {
            Verdict::Now => {}
            Verdict::Wait(waiting) => {
                if longest.as_ref().is_none_or(|longest| longest.time < waiting.time) {
                    longest = Some(waiting);
                }
            }
            Verdict::Refused(quota) => {
                counted.into_iter().for_each(|(limiter, key): (&Arc<Limiter>, u64)| limiter.give_back(key));
                stats.count_limited(Limited::Refused);
                return Err(Refusal::TooOften(quota));
            }
        }
        counted.push((limiter, key));
    }
    if longest.is_some() {
        stats.count_limited(Limited::Delayed);
    }
    Ok(longest)
}

/// Waits as long as a request has to; whether its client has waited too.
pub(crate) async fn wait(waiting: Waiting, client: &Client) -> bool {
    tokio::select! {
        biased;
        () = client.gone() => false,
        () = tokio::time::sleep(waiting.time) => true,
    }
}
