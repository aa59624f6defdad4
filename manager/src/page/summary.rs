//! What a person must see in three seconds: does it serve, could it lose a host, who holds the addresses.

use kit::page::{Tone, availability, clock, is_used, millis, pill, spark};
use maud::{Markup, html};
use wire::MachineId;
use wire::cluster::{HostView, VipView};
use wire::traffic::Traffic;

use super::board::Look;

/// How the whole is.
fn state(look: &Look) -> (Tone, &'static str) {
    let cluster = &look.cluster;
    let is_held = !cluster.vips.is_empty() && cluster.vips.iter().all(|vip| !vip.holders.is_empty());
    let serves = |traffic: &Traffic| traffic.upstreams.iter().any(is_used);
    let holders = || cluster.vips.iter().flat_map(|vip| &vip.holders);
    let known: Vec<&Traffic> = holders().filter_map(|id| look.facts.traffic.get(id)?.as_ref().ok()).collect();
    if !is_held {
        return (Tone::Bad, "Not serving");
    }
    if !known.is_empty() && !known.into_iter().any(serves) {
        return (Tone::Bad, "No machine to serve from");
    }
    if cluster.whole { (Tone::Good, "Serving, redundant") } else { (Tone::Warn, "Serving, not redundant") }
}

pub(super) fn head(look: &Look) -> Markup {
    let (tone, words) = state(look);
    let cluster = &look.cluster;
    html! {
        div #summary {
            h1 { "Holdfast " (pill(tone, words)) }
            @for vip in &cluster.vips {
                p {
                    "VIP " span.mono { (vip.address) } " "
                    @match vip.holders.as_slice() {
                        [] => { (pill(Tone::Bad, "held by nobody")) }
                        [holder] => {
                            "held by " b { (holder) }
                            @if let Some(to) = to_move(look, vip) { " " (pill(Tone::Plain, &format!("to go to {to}"))) }
                        }
                        several => { (pill(Tone::Bad, "held by several")) " " (several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")) }
                    }
                }
            }
            p.mute {
                "seen from manager " b { (cluster.host) }
                @if look.in_maintenance { " " (pill(Tone::Warn, "maintenance: it only watches")) }
            }
            @if cluster.hosts.len() > 1 {
                p.actions { button type="button" #switchover data-do="switchover"
                    data-choices=(cluster.hosts.iter().filter(|host| host.alive && host.lb.is_some()).map(|host| host.name.to_string()).collect::<Vec<_>>().join(" "))
                    { "Move the VIPs…" } }
            }
        }
    }
}

/// The balancer that an address is to go to, if it is to go anywhere.
fn to_move<'a>(look: &'a Look, vip: &VipView) -> Option<&'a MachineId> {
    let should = |host: &&HostView| vip.should.as_ref() == Some(&host.name);
    let lb = look.cluster.hosts.iter().find(should)?.lb.as_ref()?;
    (vip.holders.first() != Some(&lb.id)).then_some(&lb.id)
}

pub(super) fn missing(look: &Look) -> Markup {
    let cluster = &look.cluster;
    let warnings =
        cluster.hosts.iter().flat_map(|host| host.warnings.iter().map(move |text| (&host.name, text)));
    let warnings: Vec<_> = warnings.collect();
    let (tone, _) = state(look);
    html! {
        section #missing {
            @if !cluster.missing.is_empty() || !warnings.is_empty() {
                div class={ "card alert " (if tone == Tone::Good { "warn" } else { tone.class() }) } {
                    h2 { @if cluster.missing.is_empty() { "To know" } @else { "What is missing" } }
                    ul {
                        @for text in &cluster.missing { li { (text) } }
                        @for (host, text) in &warnings { li { (host) ": " (text) } }
                    }
                }
            }
        }
    }
}

pub(super) fn tiles(look: &Look) -> Markup {
    let all: Vec<&Traffic> = look.facts.traffic.values().filter_map(|known| known.as_ref().ok()).collect();
    let sum = |of: &dyn Fn(&Traffic) -> u64| all.iter().map(|traffic| of(traffic)).sum::<u64>();
    let (requests, failed, retries) = (sum(&|t| t.requests), sum(&|t| t.failed), sum(&|t| t.retries));
    // Who serves most says how long requests take.
    let busiest = all.iter().max_by(|one, other| one.per_s.total_cmp(&other.per_s));
    let failover = look.events.iter().find(|event| event.kind.starts_with("vip."));
    html! {
        section #tiles.tiles aria-label="Figures" {
            div.card { h2 { "Answered" } p.big { (availability(requests, failed)) }
                p.mute { (failed) " of " (requests) " requests failed since the balancers started" } }
            div.card { h2 { "Requests per second" } p.big { (format!("{:.0}", all.iter().map(|traffic| traffic.per_s).sum::<f64>())) }
                (spark(&history(&all), "requests per second, last 15 minutes")) }
            div.card { h2 { "Latency" } p.big { (millis(busiest.and_then(|traffic| traffic.p99_ms))) " " span.mute { "p99" } }
                p.mute { (millis(busiest.and_then(|traffic| traffic.p50_ms))) " p50 · " (retries) " further tries" } }
            div.card { h2 { "Last change of a VIP" }
                @match failover {
                    Some(event) => { p.big { (clock(event.unix_ms)) } p.mute { (event.host) ": " (event.subject) " " (event.message) } }
                    None => { p.big { "none" } p.mute { "that the managers remember" } }
                }
            }
        }
    }
}

/// The sum of all balancers' histories. They end at the same time and may begin at different ones.
fn history(all: &[&Traffic]) -> Vec<f64> {
    let longest = all.iter().map(|traffic| traffic.history.len()).max().unwrap_or_default();
    let mut sums = vec![0.0; longest];
    for traffic in all {
        for (sum, value) in sums.iter_mut().rev().zip(traffic.history.iter().rev()) {
            *sum += value;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_are_added_from_their_ends() {
        let of = |history: &[f64]| Traffic { history: history.to_vec(), ..traffic() };
        let (one, other) = (of(&[1.0, 2.0, 3.0]), of(&[10.0]));
        assert_eq!(history(&[&one, &other]), [1.0, 2.0, 13.0]);
        assert!(history(&[]).is_empty());
    }

    fn traffic() -> Traffic {
        serde_json::from_value(serde_json::json!({
            "machine": "a-lb", "uptime_ms": 1, "generation": 1, "connections": 0, "in_flight": 0, "requests": 0,
            "failed": 0, "retries": 0, "per_s": 0.0, "p50_ms": null, "p99_ms": null, "history": [], "upstreams": [],
            "unlisted": 0
        }))
        .unwrap()
    }
}
