//! The table of upstreams that users of other proxies know: one line each, as a balancer sees it.

use maud::{Markup, html};
use wire::traffic::{UpstreamTraffic, UpstreamWord};

use super::parts::{Tone, ago, millis, pill, since};

/// What stands above the numbers.
const COLUMNS: [&str; 9] = [
    "Req/s",
    "In flight",
    "Connections",
    "Mean",
    "Errors",
    "Retried away",
    "Ejections",
    "Weight",
    "Last check",
];

/// A table of `upstreams`; `now_ms` is when they were looked at, in milliseconds since 1970.
pub fn upstream_table(caption: &Markup, label: &str, upstreams: &[&UpstreamTraffic], now_ms: u64) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            table {
                caption { (caption) }
                thead { tr {
                    th scope="col" { "Upstream" } th.text scope="col" { "State" }
                    @for title in COLUMNS { th scope="col" { (title) } }
                } }
                tbody { @for upstream in upstreams { (row(upstream, now_ms)) } }
            }
        }
    }
}

fn row(upstream: &UpstreamTraffic, now_ms: u64) -> Markup {
    html! {
        tr data-upstream=(upstream.id) data-state=(upstream.state.to_string()) {
            td { span.mono { (upstream.id) } br; span.mute.mono { (upstream.address) } }
            td.text {
                (pill(tone(upstream.state), &upstream.state.to_string()))
                @if let Some(out) = upstream.out_ms { " " span.mute { (since(now_ms.saturating_sub(out))) } }
                @if !upstream.reason.is_empty() { " " span.mute { (upstream.reason) } }
            }
            td { (format!("{:.1}", upstream.per_s)) }
            td { (upstream.in_flight) }
            td { (upstream.connections) }
            td { (millis(upstream.mean_ms)) }
            td { (upstream.errors) }
            td { (upstream.retried) }
            td { (upstream.ejections) }
            td { (upstream.weight) }
            td {
                @match (upstream.check_passed, upstream.checked_ms) {
                    (Some(passed), Some(before)) => {
                        (if passed { "passed " } else { "failed " }) (ago(now_ms.saturating_sub(before)))
                    }
                    _ => "–",
                }
            }
        }
    }
}

/// Whether it gets requests.
pub fn is_used(upstream: &UpstreamTraffic) -> bool {
    upstream.state <= UpstreamWord::Suspect
}

fn tone(word: UpstreamWord) -> Tone {
    match word {
        UpstreamWord::Up => Tone::Good,
        UpstreamWord::Backup => Tone::Plain,
        UpstreamWord::Trial | UpstreamWord::Suspect | UpstreamWord::Draining | UpstreamWord::Maintenance => {
            Tone::Warn
        }
        UpstreamWord::Ejected => Tone::Bad,
    }
}
