//! Faults on a cluster: ordered from the right manager, over only when the victim is another than
//! before. The managers here follow a script of what a real one shows.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{run, scratch};
use crate::truth::{Act, Truth};

/// What a manager of host `a` shows of its machine `a-stateless-1`.
fn view(whole: bool, phase: &str, incarnation: u64, epoch: u64) -> Value {
    let machine = json!({
        "id": "a-stateless-1", "service": "stateless", "address": "192.168.10.11", "phase": phase,
        "reason": "", "incarnation": incarnation, "restarts": 0, "for_ms": 0, "crash_looping": false,
    });
    json!({
        "host": "a", "whole": whole, "missing": if whole { vec![] } else { vec!["something"] }, "vips": [],
        "hosts": [{
            "name": "a", "address": "192.168.10.1", "alive": true, "heard_ms_ago": null, "epoch": epoch,
            "desired": 1, "machines": [machine], "lb": null, "warnings": [],
        }],
    })
}

/// A manager that takes 200 ms to notice a fault and 300 more to repair it, and the orders it was given.
/// The fault is what it is ordered, or else that `damage` exists.
fn manager(repaired: Value, damage: Option<PathBuf>) -> (Truth, Arc<Mutex<Vec<String>>>) {
    let orders = Arc::new(Mutex::new(Vec::new()));
    let told = orders.clone();
    let at: Mutex<Option<Instant>> = Mutex::new(None);
    let truth = Truth::start(move |_, line| {
        let mut at = at.lock().unwrap();
        if line.starts_with("POST") && line.ends_with("/fault HTTP/1.1 {}") {
            // Whether it would take an order: this one says nothing.
            return Act::status(400);
        }
        if line.starts_with("POST") {
            told.lock().unwrap().push(line.to_owned());
            *at = Some(Instant::now());
            return Act::json("{}");
        }
        if at.is_none() && damage.as_ref().is_some_and(|damage| damage.exists()) {
            *at = Some(Instant::now());
        }
        let shown = match at.map(|at| at.elapsed()) {
            None => view(true, "ready", 1, 1),
            Some(passed) if passed < Duration::from_millis(200) => view(true, "ready", 1, 1),
            Some(passed) if passed < Duration::from_millis(500) => view(false, "booting", 2, 1),
            Some(_) => repaired.clone(),
        };
        Act::json(&shown.to_string())
    });
    (truth, orders)
}

const LOAD: [&str; 4] = ["--rate", "50", "--duration", "1s"];

#[test]
fn a_machine_is_back_when_it_is_ready_in_a_new_incarnation() {
    let truth = Truth::ok();
    let (manager, orders) = manager(view(true, "ready", 2, 1), None);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let managers = ["--manager", &format!("http://{nobody}"), "--manager", &manager.url];
    let ended = run(&truth.url, &[&LOAD[..], &managers, &["--fault", "kill stateless @200ms"]].concat());
    let report = ended.expect(0);
    let fault = &report["faults"][0];
    assert_eq!(fault["fault"], "kill stateless");
    assert_eq!(fault["victim"], "a-stateless-1");
    assert_eq!(fault["address_before"], "192.168.10.11");
    assert_eq!(fault["address_after"], "192.168.10.11");
    let recovered = fault["recovered_after_ms"].as_f64().unwrap();
    assert!(recovered >= 500.0, "{recovered} ms: a manager that had not noticed was not believed");
    assert_eq!(*orders.lock().unwrap(), ["POST /vms/a-stateless-1/fault HTTP/1.1 {\"fault\":\"kill\"}"]);
}

#[test]
fn a_host_is_back_when_its_manager_lives_in_a_new_epoch() {
    let truth = Truth::ok();
    let damage = scratch("damage");
    let (manager, _) = manager(view(true, "ready", 2, 2), Some(damage.clone()));
    let fault = format!(
        "exec:touch {}; echo '{{\"fault\": \"kill host\", \"host\": \"a\"}}' @200ms",
        damage.display()
    );
    let ended = run(&truth.url, &[&LOAD[..], &["--manager", &manager.url, "--fault", &fault]].concat());
    std::fs::remove_file(damage).unwrap();
    let fault = &ended.expect(0)["faults"][0];
    assert_eq!(fault["fault"], "kill host");
    assert_eq!(fault["victim"], "a");
    assert_eq!(fault["address_before"], Value::Null);
    assert!(fault["recovered_after_ms"].as_f64().unwrap() >= 450.0, "{fault}");
}

#[test]
fn a_machine_that_is_not_replaced_has_not_recovered() {
    let truth = Truth::ok();
    let (manager, _) = manager(view(true, "ready", 1, 1), None);
    let options =
        ["--manager", &manager.url, "--fault", "freeze a-stateless-1 @100ms", "--fault-timeout", "2s"];
    let ended = run(&truth.url, &[&LOAD[..], &options].concat());
    let fault = &ended.expect(1)["faults"][0];
    assert_eq!(fault["recovered_after_ms"], Value::Null);
    assert_eq!(fault["address_after"], Value::Null);
}

#[test]
fn a_fault_that_changes_nobody_is_over_when_all_is_whole_a_little_later() {
    let truth = Truth::ok();
    let (manager, _) = manager(view(true, "ready", 1, 1), None);
    let options = ["--manager", &manager.url, "--fault", "stop-process stateless @100ms"];
    let ended = run(&truth.url, &[&LOAD[..], &options].concat());
    let recovered = ended.expect(0)["faults"][0]["recovered_after_ms"].as_f64().unwrap();
    assert!(recovered >= 1000.0, "{recovered} ms");
}

#[test]
fn a_fault_on_nobody_known_makes_the_run_invalid() {
    let truth = Truth::ok();
    let (manager, _) = manager(view(true, "ready", 1, 1), None);
    for (fault, reason) in [
        ("exec:echo '{\"machine\": \"ghost\"}' @100ms", "no manager knew the machine ghost"),
        ("exec:echo '{\"machine\": 7}' @100ms", "cannot read what it says ({\"machine\": 7})"),
    ] {
        let ended = run(&truth.url, &[&LOAD[..], &["--manager", &manager.url, "--fault", fault]].concat());
        ended.expect(3);
        assert!(ended.stdout.contains(reason), "{}", ended.stdout);
    }
}

#[test]
fn a_fault_that_could_not_be_done_is_refused_before_the_first_request() {
    let truth = Truth::ok();
    let (manager, orders) = manager(view(true, "ready", 1, 1), None);
    let refused = |manager: &str, fault: &str| {
        let ended = run(&truth.url, &[&LOAD[..], &["--manager", manager, "--fault", fault]].concat());
        assert_eq!(ended.code, Some(2), "{}{}", ended.stdout, ended.stderr);
        ended.stderr
    };
    let said = refused(&manager.url, "kill statless @100ms");
    assert!(said.contains("names no machine") && said.contains("did you mean `stateless`?"), "{said}");
    assert!(said.contains("a-stateless-1"), "{said}");
    for (status, expected) in [(401, "--token-file"), (403, "--token-file"), (404, "chaos = true")] {
        let shown = view(true, "ready", 1, 1).to_string();
        let strict =
            Truth::start(
                move |_, line| {
                    if line.starts_with("POST") { Act::status(status) } else { Act::json(&shown) }
                },
            );
        let said = refused(&strict.url, "kill stateless @100ms");
        assert!(said.contains(expected), "{status}: {said}");
    }
    assert_eq!(*orders.lock().unwrap(), [""; 0], "and nothing was done");
    assert_eq!(truth.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn a_freeze_has_a_time_to_live_and_is_thawed_when_it_did_not_recover() {
    let truth = Truth::ok();
    let (manager, orders) = manager(view(true, "ready", 1, 1), None);
    let options = ["--manager", &manager.url, "--fault", "freeze stateless @100ms", "--fault-timeout", "1s"];
    run(&truth.url, &[&LOAD[..], &options].concat()).expect(1);
    let ordered = [
        "POST /vms/a-stateless-1/fault HTTP/1.1 {\"fault\":\"freeze\",\"ttl_ms\":1000}",
        "POST /vms/a-stateless-1/fault HTTP/1.1 {\"fault\":\"thaw\"}",
    ];
    assert_eq!(*orders.lock().unwrap(), ordered);
}

#[test]
fn a_freeze_that_ends_by_itself_and_a_replacement_are_over_in_their_own_ways() {
    let truth = Truth::ok();
    let (steady, orders) = manager(view(true, "ready", 1, 1), None);
    let fault = ["--manager", &steady.url, "--fault", "freeze stateless for 300ms @100ms"];
    let report = run(&truth.url, &[&LOAD[..], &fault].concat()).expect(0).clone();
    assert!(report["faults"][0]["recovered_after_ms"].as_f64().unwrap() >= 1300.0, "{report}");
    assert_eq!(orders.lock().unwrap().len(), 1, "no thaw: {orders:?}");

    let (rebuilding, orders) = manager(view(true, "ready", 2, 1), None);
    let fault = ["--manager", &rebuilding.url, "--fault", "replace stateless @100ms"];
    let report = run(&truth.url, &[&LOAD[..], &fault].concat()).expect(0).clone();
    assert!(report["recovery"]["mttr_ms"].as_f64().unwrap() >= 500.0, "{report}");
    assert_eq!(*orders.lock().unwrap(), ["POST /vms/a-stateless-1/replace HTTP/1.1 {}"]);
}
