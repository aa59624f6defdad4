//! The hosts and their machines.

use kit::page::{Tone, millis, pill, since};
use maud::{Markup, html};
use wire::MachineId;
use wire::cluster::{HostView, MachineView, Phase};
use wire::traffic::UpstreamTraffic;

use super::board::Look;
use crate::config::LB;

pub(super) fn hosts(look: &Look) -> Markup {
    html! {
        section #hosts.hosts aria-label="Hosts" {
            @for view in &look.cluster.hosts { (host(look, view)) }
        }
    }
}

fn host(look: &Look, host: &HostView) -> Markup {
    let is_own = host.name == look.cluster.host;
    html! {
        div.card data-host=(host.name) {
            div.host-head {
                h2 { "Host " (host.name) }
                span.mono.mute { (host.address) }
                @if host.alive { (pill(Tone::Good, "alive")) }
                @else if let Some(ago) = host.heard_ms_ago {
                    span { (pill(Tone::Bad, "not heard")) " " span.mute { (since(look.now_ms.saturating_sub(ago))) } }
                }
                @else { (pill(Tone::Bad, "never heard")) }
                span.mute { (ready(host)) " of " (host.desired) " machines ready" @if !host.driver.is_empty() { " · " (host.driver) } }
            }
            ul.machines { @for machine in &host.machines { (row(look, host, machine, is_own)) } }
            @if is_own {
                p.actions { button type="button" #create data-do="create" data-choices=(look.services.join(" ")) { "Add a machine…" } }
            } @else if host.alive {
                // What changes a host is asked of its own manager.
                p.actions { a href={ "//" (host.address) ":8080/" } data-peer=(host.address) { "To the manager of " (host.name) } }
            }
        }
    }
}

fn ready(host: &HostView) -> usize {
    // A standby that does not run is as ready as it is to be.
    host.machines.iter().filter(|machine| matches!(machine.phase, Phase::Ready | Phase::Standby)).count()
}

fn row(look: &Look, host: &HostView, machine: &MachineView, is_own: bool) -> Markup {
    let is_lb = machine.service.as_str() == LB;
    let holds = look.cluster.vips.iter().filter(|vip| vip.holders.contains(&machine.id));
    let holds: Vec<_> = holds.map(|vip| vip.address.to_string()).collect();
    html! {
        li.machine data-machine=(machine.id) data-phase=(machine.phase.to_string()) {
            div {
                b { (machine.id) } " " span.mono.mute { (machine.address) } " "
                (pill(tone(machine), &machine.phase.to_string()))
                @if machine.drained { " " (pill(Tone::Warn, "drained")) }
                @if machine.standby && machine.phase != Phase::Standby { " " (pill(Tone::Plain, "standby")) }
                @if machine.crash_looping { " " (pill(Tone::Bad, "keeps dying")) }
                @if let Some(condition) = machine.condition { " " (pill(Tone::Bad, &condition.to_string())) }
                @if !holds.is_empty() { " " (pill(Tone::Plain, &format!("holds {}", holds.join(", ")))) }
                @else if is_lb && host.lb.as_ref().is_some_and(|lb| !lb.vips.is_empty()) { " " (pill(Tone::Plain, "standby")) }
            }
            div.figures { (figures(look, machine, is_lb)) }
            div.why.mute {
                (since(look.now_ms.saturating_sub(machine.for_ms)))
                " · build " (machine.incarnation)
                @if machine.restarts > 0 { " · rebuilt " (machine.restarts) "×" }
                @if !machine.reason.is_empty() { " · " (machine.reason) }
            }
            @if is_own {
                div.actions {
                    button type="button" id={ "logs-" (machine.id) } data-do="logs" data-machine=(machine.id) { "Console" }
                    button type="button" id={ "replace-" (machine.id) } data-do="replace" data-machine=(machine.id) { "Replace…" }
                    @if !is_lb {
                        button type="button" id={ "drain-" (machine.id) } data-do=(if machine.drained { "undrain" } else { "drain" }) data-machine=(machine.id) {
                            @if machine.drained { "Undrain…" } @else { "Drain…" }
                        }
                        button.danger type="button" id={ "delete-" (machine.id) } data-do="delete" data-machine=(machine.id) { "Delete…" }
                    }
                }
            }
        }
    }
}

fn tone(machine: &MachineView) -> Tone {
    match machine.phase {
        Phase::Ready => Tone::Good,
        Phase::Booting | Phase::Draining | Phase::Suspect => Tone::Warn,
        Phase::Dead => Tone::Bad,
        Phase::Standby => Tone::Plain,
    }
}

/// What balancers measure of a machine, or a balancer of itself.
fn figures(look: &Look, machine: &MachineView, is_lb: bool) -> Markup {
    if is_lb {
        return match look.facts.traffic.get(&machine.id) {
            Some(Ok(traffic)) => {
                html! { (format!("{:.0}", traffic.per_s)) "/s" br; span.mute { "set " (traffic.generation) } }
            }
            Some(Err(_)) => html! { span.mute { "gives no figures" } },
            None => html! {},
        };
    }
    let seen: Vec<&UpstreamTraffic> = look
        .facts
        .traffic
        .values()
        .filter_map(|known| known.as_ref().ok())
        .flat_map(|traffic| &traffic.upstreams)
        .filter(|upstream| MachineId::from(upstream.id.machine()) == machine.id)
        .collect();
    if seen.is_empty() {
        return html! {};
    }
    let rate: f64 = seen.iter().map(|upstream| upstream.per_s).sum();
    let busiest = seen.iter().max_by(|one, other| one.per_s.total_cmp(&other.per_s));
    html! { (format!("{rate:.0}")) "/s" br; span.mute { (millis(busiest.and_then(|upstream| upstream.mean_ms))) } }
}
