//! The upstreams as each balancer sees them.

use kit::page::{Tone, pill, upstream_table};
use maud::{Markup, html};
use wire::cluster::LbView;
use wire::traffic::Traffic;

use super::board::Look;
use crate::config::LB_ADMIN_PORT;

pub(super) fn tables(look: &Look) -> Markup {
    let balancers = look.cluster.hosts.iter().filter_map(|host| host.lb.as_ref());
    html! {
        section #upstreams.card {
            h2 { "Upstreams, as each balancer sees them" }
            @for lb in balancers { (balancer(look, lb)) }
        }
    }
}

fn balancer(look: &Look, lb: &LbView) -> Markup {
    let own = format!("http://{}", std::net::SocketAddr::new(lb.address, LB_ADMIN_PORT));
    html! {
        @match look.facts.traffic.get(&lb.id) {
            Some(Ok(traffic)) => { (table(look, traffic, &own)) }
            Some(Err(why)) => { p { b { (lb.id) } " " (pill(Tone::Bad, "no figures")) " " span.mute { (why) } } }
            None => { p.mute { b { (lb.id) } " has not been asked yet" } }
        }
    }
}

fn table(look: &Look, traffic: &Traffic, own: &str) -> Markup {
    let caption = html! {
        "as " (traffic.machine) " sees them: " a href={ (own) "/" } { "its page" } ", "
        a href={ (own) "/statistics.csv" } { "CSV" } ", " a href={ (own) "/traffic" } { "JSON" }
    };
    let upstreams: Vec<_> = traffic.upstreams.iter().collect();
    html! {
        (upstream_table(&caption, &format!("Upstreams of {}", traffic.machine), &upstreams, look.now_ms))
        @if traffic.unlisted > 0 { p.mute { (traffic.unlisted) " more are on its page." } }
    }
}
