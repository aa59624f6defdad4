//! What there is of what users of other balancers reach for: the list that `docs/features.md` is made from, and whether what
//! it names is there. `FEATURES_TABLE=write` in the environment writes the page anew.

#![allow(clippy::expect_used)] // helpers of tests; the configuration knows only tests themselves

mod balancing;
mod clients;
mod failures;
mod further;
mod operations;
mod page;
mod protocols;
mod requests;
mod row;
mod services;
mod sources;
mod tls;

use std::collections::BTreeSet;

use page::{committed, headings, made, write};
use row::{Here, Row, all};

fn rows() -> Vec<&'static Row> {
    all().into_iter().flat_map(|group| group.rows).collect()
}

#[test]
fn the_page_is_what_the_list_makes() {
    let table = made(&all());
    if std::env::var("FEATURES_TABLE").as_deref() == Ok("write") {
        write(&table);
    }
    let committed = committed().1;
    let new: Vec<_> =
        table.lines().filter(|line| !committed.lines().any(|written| written == *line)).collect();
    assert!(
        table == committed,
        "docs/features.md is out of date (FEATURES_TABLE=write writes it anew): {new:#?}"
    );
}

#[test]
fn every_test_that_is_named_is_there() {
    let mut missing = Vec::new();
    for row in rows() {
        for test in row.tests {
            if let Err(reason) = sources::find(test) {
                missing.push(format!("{}: there is no test `{test}`: {reason}", row.feature));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// One of each kind that there is, and each in a way that somebody may get it wrong.
#[test]
fn a_test_is_found_where_its_name_says_and_nowhere_else() {
    for right in [
        "lb::features a_test_is_found_where_its_name_says_and_nowhere_else",
        "lb::proxy checks::the_managers_word_outranks_checks",
        "lb::vip vip_kinds::kinds::unicast_peers_fail_over_and_strangers_are_not_heard",
        "lb::interop_proxies haproxy::whichever_way_it_comes_the_upstream_is_told_of_the_client_and_its_tls",
        "lb proxy::balance::tests::any_pool::nobody_is_chosen_who_must_not_be_and_somebody_always_who_can_be",
        "lb proxy::balance::maglev::tests::shares_follow_weights",
    ] {
        assert_eq!(sources::find(right), Ok(()), "{right}");
    }
    for (wrong, reason) in [
        ("lb::proxy", "expected a program and a test"),
        ("nobody::proxy checks::x", "no package"),
        ("lb::nothing checks::x", "no program of tests"),
        ("lb::proxy nothing::x", "no module `nothing`"),
        ("lb::proxy checks::no_such_test", "no function `no_such_test`"),
        // A helper of tests.
        ("lb::proxy checks::passes", "`passes` is no test"),
        // What stands in `mod tests` does not stand beside it.
        ("lb proxy::balance::maglev::shares_follow_weights", "no function `shares_follow_weights`"),
        // A module whose file is elsewhere.
        ("lb::claims namespaces::x", "no function `x`"),
        // Another test starts it.
        ("manager::access store::writer", "`writer` is ignored"),
    ] {
        let said = sources::find(wrong).expect_err(wrong);
        assert!(said.contains(reason), "{wrong}: {said}");
    }
}

#[test]
fn every_link_leads_to_a_page_and_a_heading_that_is_there() {
    let mut wrong = Vec::new();
    for row in rows() {
        for link in page::links(row.text()) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            match headings(file) {
                None => wrong.push(format!("{}: there is no docs/{file}", row.feature)),
                Some(all) if !heading.is_empty() && !all.contains(heading) => {
                    wrong.push(format!("{}: docs/{file} has no heading #{heading}: {all:?}", row.feature));
                }
                Some(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_row_is_whole_and_there_once() {
    let rows = rows();
    assert!(rows.len() >= 80, "{}", rows.len());
    let names: BTreeSet<_> = rows.iter().map(|row| row.feature).collect();
    assert_eq!(names.len(), rows.len(), "features are different");
    for row in &rows {
        let text = row.text();
        assert!(text.ends_with('.') && !text.contains(['|', '\n']), "{}: {text}", row.feature);
        match row.here {
            Here::Had(_) => {
                assert!(!row.tests.is_empty(), "{}: what shows it?", row.feature);
                assert!(!page::links(text).is_empty(), "{}: which page says more?", row.feature);
            }
            Here::LeftOut(_) | Here::NotYet(_) => assert!(row.tests.is_empty(), "{}", row.feature),
        }
    }
}
