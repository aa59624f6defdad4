//! Where a request comes in: whose it is, which route it takes, whether it may, and which way it is answered.
//!
//! ```text
//!   client ─▶ route ─▶ guard ─▶ action ── answered here
//!                         └──▶ all of it at hand, or its length known? ─ yes ─▶ forward ── answered
//!                                       └ no: it streams, Pingora's way (`app`)
//! ```

use std::sync::Arc;

use pingora_error::Result;
use tokio::time::Instant;

use super::app::App;
use super::balance::ask::Ask;
use super::client::{Client, Likeness};
use super::context::Account;
use super::downstream::Downstream;
use super::error_page::{self, Refusal};
use super::forward::tries::Tries;
use super::forward::upload::Again;
use super::forward::{self, Body, is_repeatable};
use super::limits::guard;
use super::observe::mark::Shown;
use super::route;
use super::route::look::wants_json;
use super::route::sender::Sender;

/// What became of a request.
pub(crate) enum Next {
    Answered,
    /// It streams, with these tries; its answer must have begun by then.
    Streams(Tries, Instant),
    /// Nothing: it is not to be answered past Pingora.
    Elsewhere,
}

/// Takes a request in, with the `length` of its body where it says one. It is counted by `account` from when it is known
/// what to count it for.
///
/// # Errors
///
/// When the client cannot be read from or written to.
pub(crate) async fn enter(
    app: &App,
    downstream: &mut Downstream<'_>,
    client: &Client,
    length: Option<u64>,
    account: &mut Option<Account>,
) -> Result<Next> {
    let arrived = Instant::now();
    let state = &app.state;
    let snapshot = state.snapshot();
    let mut sender = Sender::of(client);
    let peer = sender.address;
    let told = snapshot.belief.told(|| downstream.asked().headers(), peer);
    let is_trusted = told.is_some();
    if let Some(told) = told {
        client.believe(told);
        sender = Sender::of(client);
    }
    let found = route::find(&snapshot.routes, downstream.asked(), sender).cloned();
    if !downstream.may_answer(found.as_deref()) {
        return Ok(Next::Elsewhere);
    }
    let trace = state.observers.as_ref().map(|observers| {
        let from = (sender.address, peer);
        observers.begin(arrived, downstream, from, sender.secure, is_trusted)
    });
    let everybody = snapshot.guard.clone();
    let Some(route) = found else {
        *account = Some(Account::open(state.unrouted.clone(), arrived, client.clone()).traced(trace));
        let look = snapshot.look.clone();
        drop(snapshot);
        let may = guard::judge(everybody.iter(), downstream.request(), sender, &state.unrouted);
        Box::pin(may.err().unwrap_or(Refusal::NoRoute).answer(downstream, client, &look)).await?;
        return Ok(Next::Answered);
    };
    drop(snapshot);
    if let Some(trace) = &trace {
        trace.routed(&route.name, route.pool.name.as_str());
    }
    *account = Some(Account::open(route.stats.clone(), arrived, client.clone()).traced(trace.clone()));
    let mut begun = arrived;
    if everybody.is_some() || route.guard().is_some() {
        let guards = everybody.iter().chain(route.guard());
        match guard::judge(guards, downstream.request(), sender, &route.stats) {
            Ok(None) => {}
            Ok(Some(waiting)) => {
                // Boxed, as all below that few requests come to.
                if !Box::pin(guard::wait(waiting, client)).await {
                    downstream.close();
                    return Ok(Next::Answered);
                }
                begun = Instant::now();
            }
            Err(refusal) => {
                Box::pin(refusal.answer(downstream, client, route.look())).await?;
                return Ok(Next::Answered);
            }
        }
    }
    if let Some(action) = route.action() {
        let (head, body) = action.answer(downstream.request(), sender, route.look(), &route.name)?;
        Box::pin(error_page::write(downstream, head, body)).await?;
        return Ok(Next::Answered);
    }
    let most = route.body_bytes(app.limits.body_bytes);
    if length.is_some_and(|length| length > most) {
        Box::pin(Refusal::BodyTooLarge.answer(downstream, client, route.look())).await?;
        return Ok(Next::Answered);
    }
    let shown = Shown::of(downstream.asked()).cloned();
    if shown.is_some() || !route.look().is_plain() {
        let (look, json) = (route.look().clone(), wants_json(&downstream.request().headers));
        client.refuse_like(Likeness { look, json, shown });
    }
    let until = begun + route.timeout;
    let kept = forward::kept_body(downstream, client, &route, length, most).await;
    let asked = downstream.asked();
    let ask = Ask {
        repeatable: kept.is_some() && is_repeatable(asked, &route),
        at_hand: kept.is_some(),
        ..Ask::of(&route.pool, asked, sender.address)
    };
    let again = match kept {
        None if is_repeatable(asked, &route) => Again::Repeatable,
        None if route.pool.policy.tls.is_some() => Again::Unread,
        _ => Again::Never,
    };
    let learned = state.learned.cell(&route.name, ask.kind);
    let timeout = route.timeout;
    let mut tries = Tries::new(route, ask, trace);
    let (body, until) = match kept {
        None => match downstream.upload(again, until, timeout) {
            Some(upload) => (Body::Upload(Arc::new(upload)), until),
            None => return Ok(Next::Streams(tries, until)),
        },
        Some(length) => {
            let Some(body) = downstream.read_body(length).await? else {
                downstream.close();
                return Ok(Next::Answered);
            };
            // A slow upload was the client's time.
            let until = if length > 0 { Instant::now() + (until - begun) } else { until };
            (Body::AtHand(body), until)
        }
    };
    forward::forward(downstream, client, app, &mut tries, body, learned, until).await?;
    Ok(Next::Answered)
}
