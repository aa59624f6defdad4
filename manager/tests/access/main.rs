//! Who may do what, and what outlives a manager: with real managers on two hosts (`deploy/lab.sh`), a real
//! process that is killed while it writes, and the routes behind the gate where a listener is not to be had.
//!
//! ```text
//!   plain.rs        before `init`: where changes are taken from, the socket, the audit log   ┐
//!   initialised.rs  after it: an address is no proof                                         │
//!   maintenance.rs  a manager that only watches, also after its death                        ├ labs
//!   ordering.rs     faults that loadtest orders from an initialised cluster                  │
//!   survival.rs     a full disk, a lost store, metadata of the next version                  ┘
//!   bad_input.rs    every route, asked wrongly
//!   gate.rs         tokens over TLS, on the routes themselves
//!   https.rs        the command line's side of TLS
//!   store.rs        SIGKILL at any moment
//! ```

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../../../wire/tests/support/bad_input.rs"]
mod asked_wrongly;
mod bad_input;
mod gate;
mod https;
mod initialised;
#[allow(dead_code)]
#[path = "../cluster/lab.rs"]
mod lab;
mod maintenance;
mod ordering;
mod plain;
#[path = "../cluster/run.rs"]
mod run;
mod store;
mod survival;

use std::time::Duration;

use wire::Problem;
use wire::access::AuditEntry;

use lab::{Lab, MANAGERS, program};
use run::Ended;

/// Asks the first manager with curl from somewhere in the lab; gives back the status and the body.
pub(crate) fn ask(lab: &Lab, from: &str, options: &[&str], path: &str) -> (u16, String) {
    let url = format!("{}{path}", MANAGERS[0]);
    let words = [&["curl", "-s", "-m", "5", "-w", "\n%{http_code}"], options, &[&url]].concat();
    let answer = lab.exec(from, &words).ok();
    let (body, status) = answer.rsplit_once('\n').expect("a status after the body");
    (status.parse().expect("a status"), body.to_owned())
}

/// The same, which is to be refused with `status`; gives back the words.
#[track_caller]
pub(crate) fn refused(lab: &Lab, from: &str, options: &[&str], path: &str, status: u16) -> String {
    let (found, body) = ask(lab, from, options, path);
    assert_eq!(found, status, "{path} from {from}: {body}");
    let problem: Problem = serde_json::from_str(&body).expect("a problem document");
    assert_eq!(problem.status, status);
    problem.detail
}

/// Runs the manager's command line on a host, as a person there does: without `--manager`.
pub(crate) fn manager(lab: &Lab, host: &str, words: &[&str]) -> Ended {
    let (manager, config) = (program("manager"), lab.host_file(host, "manager.toml").display().to_string());
    let all = [&[manager.as_str(), "--config", &config], words].concat();
    lab.exec_within(host, &all, Duration::from_secs(60))
}

/// The audit log of host a.
pub(crate) fn audit(lab: &Lab) -> Vec<AuditEntry> {
    serde_json::from_str(&manager(lab, "a", &["-o", "json", "audit", "-n", "1000"]).ok()).expect("entries")
}
