//! The balancer's own page: its upstreams, as it sees them, one line each.

use std::collections::BTreeMap;

use axum::extract::State as Extract;
use axum::response::Response;
use kit::page::{Renewal, Tone, availability, document, is_used, millis, pill, since, spark, upstream_table};
use maud::{Markup, html};
use wire::PoolName;
use wire::traffic::{Traffic, UpstreamTraffic};
use wire::vip::{RouterState, VipStatus};

use super::reads::ask_vip;
use super::{Shared, traffic};

/// The time between two looks at the page, in seconds.
const POLL_S: u32 = 2;

/// The page.
pub(super) async fn page(Extract(admin): Shared) -> Response {
    let (traffic, vip) = (traffic::of(&admin), ask_vip(&admin).await.ok());
    let title = format!("{}: balancer", traffic.machine);
    document(&title, Renewal::Poll(POLL_S), &head(&traffic, vip.as_ref()), &body(&traffic), &html! {})
}

fn head(traffic: &Traffic, vip: Option<&VipStatus>) -> Markup {
    let up = traffic.upstreams.iter().filter(|upstream| is_used(upstream)).count();
    html! {
        h1 { "Balancer " span.mono { (traffic.machine) } }
        div #state {
            @if up > 0 { (pill(Tone::Good, "serving")) }
            @else { (pill(Tone::Bad, "no upstream to serve from")) }
            @for router in vip.iter().flat_map(|vip| &vip.routers) {
                " " span { "VIP " span.mono { (router.address) } " "
                    @if router.state == RouterState::Master { (pill(Tone::Good, "held here")) }
                    @else { span.mute { "not held here" } }
                }
            }
        }
    }
}

fn body(traffic: &Traffic) -> Markup {
    let mut pools: BTreeMap<&PoolName, Vec<&UpstreamTraffic>> = BTreeMap::new();
    for upstream in &traffic.upstreams {
        pools.entry(&upstream.pool).or_default().push(upstream);
    }
    let started = kit::page::now_ms().saturating_sub(traffic.uptime_ms);
    html! {
        section #tiles.tiles aria-label="Figures" {
            (tile("Requests per second", &format!("{:.1}", traffic.per_s), &spark(&traffic.history, "requests per second, last 15 minutes")))
            (tile("Latency", &format!("{} p99", millis(traffic.p99_ms)), &html! { span.mute { (millis(traffic.p50_ms)) " p50, of the last 10 s" } }))
            (tile("Answered", &availability(traffic.requests, traffic.failed), &html! {
                span.mute { (traffic.failed) " of " (traffic.requests) " requests failed; " (traffic.retries) " further tries; running " (since(started)) }
            }))
            (tile("Connections", &traffic.connections.to_string(), &html! { span.mute { (traffic.in_flight) " requests in progress" } }))
        }
        section #upstreams.card {
            h2 { "Upstreams " span.mute { "also as " a href="/statistics.csv" { "CSV" } ", " a href="/traffic" { "JSON" } ", "
                a href="/status" { "all that is known" } "; set " (traffic.generation) } }
            @if pools.is_empty() { p.mute { "No set was given yet: the manager pushes it, or " code { "[upstreams]" } " in the settings names one." } }
            @for (name, upstreams) in &pools { (table(name, upstreams)) }
            @if traffic.unlisted > 0 { p.mute { (traffic.unlisted) " more upstreams are in the CSV." } }
        }
    }
}

fn tile(title: &str, figure: &str, below: &Markup) -> Markup {
    html! { div.card { h2 { (title) } p.big { (figure) } (below) } }
}

fn table(pool: &PoolName, upstreams: &[&UpstreamTraffic]) -> Markup {
    let used = upstreams.iter().filter(|upstream| is_used(upstream)).count();
    let caption = html! { "Pool " (pool) ": " (used) " of " (upstreams.len()) " used" };
    upstream_table(&caption, &format!("Pool {pool}"), upstreams, kit::page::now_ms())
}
