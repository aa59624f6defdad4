//! Faults that are ordered from a manager end by themselves, whoever is dead or out of reach by then.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, MANAGERS, VIP, builds, host, program, read};
use crate::run::eventually;
use crate::uplink::with_uplinks;

/// Orders a fault from the manager of a host, on that host.
fn order(lab: &Lab, at: &str, path: &str, body: &str) -> (u16, String) {
    ask(lab, at, &["--json", body], path)
}

fn ask(lab: &Lab, at: &str, options: &[&str], path: &str) -> (u16, String) {
    let url = format!("{}{path}", MANAGERS[usize::from(at == "b")]);
    let words = [&["curl", "-s", "-m", "5", "-w", "\n%{http_code}"], options, &[&url]].concat();
    let said = lab.exec(at, &words).ok();
    let (body, status) = said.rsplit_once('\n').expect("a status");
    (status.parse().expect("a status"), body.to_owned())
}

/// Whether a machine or a host answers the client.
fn answers(lab: &Lab, address: &str) -> bool {
    // Heartbeats have no end: what counts is that they begin.
    let url = format!("http://{address}:8080/heartbeat");
    let asked = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "1", &url];
    lab.exec("client", &asked).stdout == "200"
}

fn manager_answers(lab: &Lab, at: &str) -> bool {
    let url = format!("{}/health/live", MANAGERS[usize::from(at == "b")]);
    lab.exec(at, &["curl", "-s", "-o", "/dev/null", "-m", "1", &url]).code == Some(0)
}

/// The number of the process that is a host's manager, or is about to become it.
fn process(lab: &Lab, at: &str) -> String {
    let config = lab.host_file(at, "manager.toml").display().to_string();
    let find = format!(
        "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -q '[m]anager --config {config} run' && echo $p; done; true"
    );
    lab.exec(at, &["bash", "-c", &find]).ok()
}

#[test]
fn a_freeze_ends_in_time_though_its_manager_is_dead() {
    let lab = Lab::start();
    let before = lab.cluster();
    let address = "192.168.10.21";
    assert!(answers(&lab, address));
    let frozen = Instant::now();
    let (status, said) = order(&lab, "b", "/vms/b-stateless-1/fault", r#"{"fault":"freeze","ttl_ms":6000}"#);
    assert_eq!(status, 204, "{said}");
    // Nobody is left to replace it, or to thaw it, but the one that was told to.
    lab.fault(&["stop-manager", "b"]);
    assert!(!answers(&lab, address), "it is frozen");
    eventually("it is thawed", || answers(&lab, address).then_some(()));
    assert!(frozen.elapsed() >= Duration::from_secs(5), "{:?}", frozen.elapsed());
    lab.fault(&["start-manager", "b"]);
    let after = lab.wait_until_whole();
    assert_eq!(builds(&after), builds(&before), "the same machine");
}

#[test]
fn a_host_that_was_cut_off_heals_itself_though_its_manager_is_dead() {
    let lab = with_uplinks();
    let before = lab.wait_until_whole();
    let (status, said) = ask(&lab, "b", &[], "/host/fault");
    assert_eq!((status, said.as_str()), (200, r#"{"possible":["cut","stop-manager"],"cut":false}"#));
    let begun = Instant::now();
    let cut = r#"{"fault":"cut","ttl_ms":6000}"#;
    let (status, said) = order(&lab, "b", "/host/fault", cut);
    assert_eq!((status, said.as_str()), (202, r#"{"in_ms":100}"#));
    let (status, said) = order(&lab, "b", "/host/fault", cut);
    assert_eq!(status, 409, "{said}");
    eventually("it is out of reach", || lab.view(MANAGERS[1]).is_none().then_some(()));
    assert!(manager_answers(&lab, "b"), "and lives");
    lab.fault(&["stop-manager", "b"]);
    eventually("it is back", || answers(&lab, "192.168.10.20").then_some(()));
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
    lab.fault(&["start-manager", "b"]);
    assert_eq!(builds(&lab.wait_until_whole()), builds(&before), "nothing was built anew");
}

#[test]
fn a_host_is_healed_before_its_time_and_by_the_next_manager_if_its_keeper_was_killed() {
    let lab = with_uplinks();
    let long = r#"{"fault":"cut","ttl_ms":3000000}"#;
    assert_eq!(order(&lab, "b", "/host/fault", long).0, 202);
    eventually("it is out of reach", || lab.view(MANAGERS[1]).is_none().then_some(()));
    assert_eq!(ask(&lab, "b", &["-X", "DELETE"], "/host/fault").0, 204);
    eventually("it is healed", || lab.view(MANAGERS[1]));
    assert_eq!(ask(&lab, "b", &["-X", "DELETE"], "/host/fault").0, 204, "nothing to heal");

    assert_eq!(order(&lab, "b", "/host/fault", long).0, 202);
    eventually("it is out of reach again", || lab.view(MANAGERS[1]).is_none().then_some(()));
    lab.fault(&["stop-manager", "b"]);
    let kill = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -q ' [f]ault-keeper ' && kill -KILL ${p#/proc/}; done; true";
    lab.exec("b", &["bash", "-c", kill]).ok();
    thread::sleep(Duration::from_millis(300));
    assert!(!answers(&lab, "192.168.10.20"), "nobody healed it");
    lab.fault(&["start-manager", "b"]);
    lab.wait_until_whole();
    assert!(read(&lab.host_file("b", "manager.log")).contains("nobody was left to heal it"));
}

#[test]
fn a_manager_that_was_stopped_is_gone_for_as_long_as_was_ordered() {
    let lab = Lab::start();
    let before = lab.cluster();
    let pid = process(&lab, "a");
    let (status, said) = order(&lab, "a", "/host/fault", r#"{"fault":"stop-manager","ttl_ms":3000}"#);
    assert_eq!((status, said.as_str()), (202, r#"{"in_ms":100}"#));
    let begun = Instant::now();
    eventually("it is gone", || (!manager_answers(&lab, "a")).then_some(()));
    let answer = lab.exec("client", &["curl", "-s", "-m", "2", &format!("http://{VIP}/random/number")]);
    assert!(answer.stdout.contains("value"), "machines live on: {answer:?}");
    eventually("it is back", || manager_answers(&lab, "a").then_some(()));
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(process(&lab, "a"), pid, "no supervisor was needed");
    let after = lab.wait_until_whole();
    assert_eq!(builds(&after), builds(&before));
    assert!(host(&after, "a").epoch > host(&before, "a").epoch, "a new life");
}

#[test]
fn what_cannot_be_done_to_a_host_is_refused() {
    let lab = Lab::start();
    let refused = |from: &str, body: &str| {
        let url = format!("{}/host/fault", MANAGERS[0]);
        lab.exec(from, &["curl", "-s", "-m", "5", "--json", body, &url]).ok()
    };
    for (body, expected) in [
        (r#"{"fault":"cut","ttl_ms":1000}"#, "name it in `uplink`"),
        (r#"{"fault":"stop-manager"}"#, "ttl_ms"),
        (r#"{"fault":"stop-manager","ttl_ms":0}"#, "expected 1 to 3600000 ms"),
        (r#"{"fault":"stop-manager","ttl_ms":3600001}"#, "expected 1 to 3600000 ms"),
        (r#"{"fault":"maim","ttl_ms":1000}"#, "maim"),
    ] {
        let said = refused("a", body);
        assert!(said.contains(expected), "{body}: {said}");
    }
    let said = refused("client", r#"{"fault":"stop-manager","ttl_ms":1000}"#);
    assert!(said.contains("\"status\":403"), "{said}");
    let possible: Value = serde_json::from_str(&ask(&lab, "a", &[], "/host/fault").1).expect("JSON");
    assert_eq!(possible["possible"], serde_json::json!(["stop-manager"]));
    assert!(possible["why_not"].as_str().expect("why").contains("`uplink`"));
}

#[test]
fn loadtest_cuts_a_host_and_stops_a_manager_and_both_are_over_in_time() {
    let lab = with_uplinks();
    let file = lab.path().join("faults.json").display().to_string();
    let (loadtest, url) = (program("loadtest"), format!("http://{VIP}/random/number"));
    let socket = |host: &str| format!("unix:{}", lab.host_file(host, "state/manager.sock").display());
    // On a host that stays: an order needs to come from the socket, or from a peer.
    let (socket, other) = (socket("a"), MANAGERS[1]);
    let words = [
        &[loadtest.as_str(), &url, "--rate", "50", "--duration", "2s", "--json", &file, "--timeout", "5s"],
        &["--manager", &socket, "--manager", other][..],
        &["--fault", "cut b for 3s @500ms", "--fault", "stop-manager b for 2s @+500ms"],
    ]
    .concat();
    let ended = lab.exec_within("a", &words, Duration::from_secs(120));
    assert!(matches!(ended.code, Some(0 | 1)), "{ended:?}");
    let report: Value = serde_json::from_str(&read(file.as_ref())).expect("a report");
    let [cut, stopped] = &report["faults"].as_array().expect("faults")[..] else { panic!("{report}") };
    assert_eq!((&cut["fault"], &cut["victim"]), (&"cut b".into(), &"b".into()));
    assert!(cut["recovered_after_ms"].as_f64().expect("recovered") >= 3000.0, "{cut}");
    assert_eq!((&stopped["fault"], &stopped["victim"]), (&"stop-manager b".into(), &"b".into()));
    assert!(stopped["recovered_after_ms"].as_f64().expect("recovered") >= 2000.0, "{stopped}");
    lab.wait_until_whole();
}
