//! What the list is made of.

use crate::{balancing, clients, failures, further, operations, protocols, requests, services, tls};

/// One feature.
#[derive(Debug)]
pub(crate) struct Row {
    /// What the field calls it.
    pub(crate) feature: &'static str,
    /// Whether it is here.
    pub(crate) here: Here,
    /// What shows it, as nextest names tests: the program, a space, the test.
    pub(crate) tests: &'static [&'static str],
}

/// Whether a feature is here. Links are as the pages of `docs/` have them.
#[derive(Debug)]
pub(crate) enum Here {
    /// How: in a sentence or two, with a link to what says more.
    Had(&'static str),
    /// It is not meant to be. Why.
    LeftOut(&'static str),
    /// It is meant to be, and what there is so far.
    NotYet(&'static str),
}

/// Features that belong together.
pub(crate) struct Group {
    pub(crate) heading: &'static str,
    pub(crate) rows: &'static [Row],
}

pub(crate) const fn had(feature: &'static str, how: &'static str, tests: &'static [&'static str]) -> Row {
    Row { feature, here: Here::Had(how), tests }
}

pub(crate) const fn left_out(feature: &'static str, why: &'static str) -> Row {
    Row { feature, here: Here::LeftOut(why), tests: &[] }
}

pub(crate) const fn not_yet(feature: &'static str, why: &'static str) -> Row {
    Row { feature, here: Here::NotYet(why), tests: &[] }
}

impl Row {
    pub(crate) fn text(&self) -> &'static str {
        match self.here {
            Here::Had(text) | Here::LeftOut(text) | Here::NotYet(text) => text,
        }
    }
}

pub(crate) fn all() -> Vec<Group> {
    let group = |heading, rows| Group { heading, rows };
    vec![
        group("Balancing", balancing::ROWS),
        group("Health", balancing::HEALTH),
        group("When something fails", failures::ROWS),
        group("Routing", requests::ROWS),
        group("Clients", clients::ROWS),
        group("Protocols", protocols::ROWS),
        group("TCP", protocols::TCP),
        group("TLS", tls::ROWS),
        group("Services", services::ROWS),
        group("Operations", operations::ROWS),
        group("Further", further::ROWS),
    ]
}
