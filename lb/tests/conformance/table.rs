//! The table of `docs/http1.md`: measured, and the same as what is committed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;

use crate::balancer::Balancer;
use crate::case::{Case, all};
use crate::outcome::Outcome;
use crate::peers::Peer;
use crate::recorder::Recorder;
use crate::through::through;

const BEGIN: &str = "<!-- table: written by the tests `conformance` -->\n";
const END: &str = "<!-- end of the table -->\n";

const LIMITS: &str = "header_timeout_ms = 1000\nbody_grace_ms = 1000";

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/http1.md")
}

/// The table of the page, as it is committed.
fn committed() -> (String, String, String) {
    let text = std::fs::read_to_string(page()).expect("the page");
    let (before, rest) = text.split_once(BEGIN).expect("the begin of the table");
    let (table, after) = rest.split_once(END).expect("the end of the table");
    (before.to_owned(), table.to_owned(), after.to_owned())
}

/// A balancer whose pool is `backend` alone.
pub(crate) async fn balancer(limits: &str, backend: &Recorder) -> Balancer {
    let balancer = Balancer::start_with(limits).await;
    // Its bad answers are meant: they must not put it out of use.
    balancer.use_policy(json!({"eject_after": 100, "max_tries": 2})).await;
    let (address, port) = (backend.address.ip(), backend.address.port());
    balancer.use_upstreams(&[json!({"id": "recorder", "address": address, "port": port})]).await;
    balancer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_is_answered_as_the_table_says() {
    let backends = [Recorder::start().await, Recorder::start().await, Recorder::start().await];
    let balancer = balancer(LIMITS, &backends[0]).await;
    let (nginx, haproxy) = tokio::join!(Peer::nginx(backends[1].address), Peer::haproxy(backends[2].address));
    let mut table = format!(
        "| | where it is written | lb | {} {} | {} {} | why lb does as neither |\n|-|-|-|-|-|-|\n",
        nginx.name, nginx.version, haproxy.name, haproxy.version
    );
    let mut wrong = Vec::new();
    for (heading, cases) in all() {
        let _ = writeln!(table, "| **{heading}** | | | | | |");
        for case in cases {
            let (ours, of_nginx, of_haproxy) = tokio::join!(
                through(&case, balancer.clients(), &backends[0]),
                through(&case, nginx.address, &backends[1]),
                through(&case, haproxy.address, &backends[2]),
            );
            let complaints = ours.complaints(&case);
            if !complaints.is_empty() {
                wrong.push(format!("{heading}, {}: {}", case.name, complaints.join("; ")));
            }
            let of_other = |peer: &Peer, outcome: &Outcome| match case.varies == peer.name {
                true => "varies".to_owned(),
                false => outcome.cell(),
            };
            let cells = [ours.cell(), of_other(&nginx, &of_nginx), of_other(&haproxy, &of_haproxy)];
            let alone = cells[0] != cells[1] && cells[0] != cells[2];
            let row = row(&case, &cells, if alone { case.why } else { "" });
            if alone && case.why.is_empty() {
                wrong.push(format!(
                    "{heading}, {}: lb does as neither, and nothing says why: {row}",
                    case.name
                ));
            }
            table.push_str(&row);
        }
    }
    println!("{table}");
    if std::env::var("HTTP1_TABLE").as_deref() == Ok("write") {
        let (before, _, after) = committed();
        std::fs::write(page(), format!("{before}{BEGIN}{table}{END}{after}")).expect("written");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    same(&table, &committed().1);
}

fn row(case: &Case, cells: &[String], why: &str) -> String {
    let name = case.name.replace('|', "\\|");
    format!("| {name} | {} | {} | {why} |\n", case.source, cells.join(" | "))
}

/// What was measured has to be what is committed; of the other two only where they are of the same version.
fn same(measured: &str, committed: &str) {
    let header = |table: &str| table.lines().next().unwrap_or_default().to_owned();
    let all_alike = header(measured) == header(committed);
    let lines = |table: &str| -> Vec<String> {
        let kept = |line: &str| match all_alike {
            true => line.to_owned(),
            false => line.split(" | ").take(3).collect::<Vec<_>>().join(" | "),
        };
        table.lines().skip(1).map(kept).collect()
    };
    let (measured, committed) = (lines(measured), lines(committed));
    let new: Vec<_> = measured.iter().filter(|line| !committed.contains(line)).collect();
    assert!(
        measured == committed,
        "docs/http1.md is out of date (HTTP1_TABLE=write writes it anew): {new:#?}, {} lines instead of {}",
        measured.len(),
        committed.len()
    );
}

#[test]
fn each_case_stands_in_the_page_once() {
    let cases: Vec<_> = all().into_iter().flat_map(|(_, cases)| cases).collect();
    assert!(cases.len() >= 80, "{}", cases.len());
    let names: BTreeSet<_> = cases.iter().map(|case| (case.name, case.source)).collect();
    assert_eq!(names.len(), cases.len(), "names are different");
    let table = committed().1;
    for case in &cases {
        let begins = format!("| {} | {} | ", case.name.replace('|', "\\|"), case.source);
        assert_eq!(table.matches(&begins).count(), 1, "{begins}");
    }
}
