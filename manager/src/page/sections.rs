//! The sections of the page. Each comes whole; none shows what changes by time alone, which the page counts itself.

use std::sync::Arc;

use kit::page::{Tone, clock, pill};
use maud::{Markup, html};
use wire::cluster::ClusterEvent;

use super::board::Look;
use super::{hosts, summary, upstreams};

/// The section that stands above the others.
pub(super) const HEAD: &str = "summary";

/// A part of the page that is replaced as a whole.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) html: Arc<str>,
}

impl Section {
    fn new(id: &'static str, markup: Markup) -> Self {
        Section { id, html: Arc::from(markup.into_string()) }
    }
}

/// All of them, in their order.
pub(super) fn of(look: &Look) -> Vec<Section> {
    vec![
        Section::new(HEAD, summary::head(look)),
        Section::new("missing", summary::missing(look)),
        Section::new("tiles", summary::tiles(look)),
        Section::new("hosts", hosts::hosts(look)),
        Section::new("events", events(&look.events)),
        Section::new("upstreams", upstreams::tables(look)),
    ]
}

/// What is shown to somebody who may not look; the same sections, so that they can be filled later.
pub(super) fn closed(why: &str) -> Vec<Section> {
    let head = html! { div id=(HEAD) { h1 { "Holdfast" } (pill(Tone::Warn, "closed")) } };
    let missing = html! {
        section #missing.card {
            h2 { "Who looks has to say who they are" }
            p { (why) }
            p.actions { button type="button" data-do="token" { "Enter a token" } }
        }
    };
    let empty =
        ["tiles", "hosts", "events", "upstreams"].map(|id| Section::new(id, html! { section id=(id) {} }));
    [Section::new(HEAD, head), Section::new("missing", missing)].into_iter().chain(empty).collect()
}

fn events(events: &[ClusterEvent]) -> Markup {
    html! {
        section #events.card {
            h2 #events-title { "What happened" }
            @if events.is_empty() { p.mute { "Nothing since the managers started." } }
            @else {
                ol.events tabindex="0" aria-labelledby="events-title" {
                    @for event in events {
                        li {
                            span.mono.mute title=(event.kind) { (clock(event.unix_ms)) }
                            span { (event.host) ": " b { (event.subject) } " " (event.message) }
                        }
                    }
                }
            }
        }
    }
}
