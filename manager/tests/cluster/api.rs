//! The manager's API refuses what cannot be meant, in words and as problem+json.

use std::net::IpAddr;

use serde_json::Value;
use wire::Problem;
use wire::snapshot::HostSnapshot;

use crate::lab::{Lab, MANAGERS, builds};

/// A request to the first manager, from somewhere in the lab.
struct Request<'a> {
    from: &'a str,
    method: &'a str,
    path: &'a str,
    body: Option<String>,
}

/// What somebody on the host itself asks.
fn request<'a>(method: &'a str, path: &'a str, body: Option<&str>) -> Request<'a> {
    Request { from: "a", method, path, body: body.map(str::to_owned) }
}

/// Sends it, and expects to be refused with `status` and words that contain `detail`.
#[track_caller]
fn refused(lab: &Lab, request: &Request<'_>, status: u16, detail: &str) -> Problem {
    let url = format!("{}{}", MANAGERS[0], request.path);
    let mut words = vec!["curl", "-s", "-m", "5", "-X", request.method, &url];
    words.extend(["-w", "\n%{http_code} %{content_type}"]);
    if let Some(body) = &request.body {
        words.extend(["--data-raw", body]);
    }
    let answer = lab.exec(request.from, &words).ok();
    let (body, facts) = answer.rsplit_once('\n').expect("facts after the body");
    assert_eq!(facts, format!("{status} {}", Problem::MEDIA_TYPE), "{} {url}: {body}", request.method);
    let problem: Problem = serde_json::from_str(body).expect("a problem document");
    assert_eq!(problem.status, status);
    assert!(problem.detail.contains(detail), "{detail:?} is not in {problem:?}");
    problem
}

#[test]
fn what_cannot_be_meant_is_refused_and_changes_nothing() {
    let lab = Lab::start();
    let before = lab.cluster();
    let post = |body: &str| refused(&lab, &request("POST", "/vms", Some(body)), 400, "");

    let unknown = r#"{"service":"statless"}"#;
    let problem = refused(&lab, &request("POST", "/vms", Some(unknown)), 404, "`statless`");
    assert_eq!(problem.parameter.as_deref(), Some("service"));
    assert!(problem.detail.contains("stateless"), "it says what there is: {problem:?}");
    post("{\"service\":");
    post("");
    post("[]");
    assert_eq!(post(r#"{"service":7}"#).parameter.as_deref(), Some("service"));
    let misspelt = post(r#"{"service":"stateless","replica":2}"#);
    assert!(misspelt.detail.contains("replica"), "{misspelt:?}");
    post(r#"{"service":"stateless"} and more"#);

    for (method, path) in [
        ("GET", "/vms/a-stateless-9"),
        ("DELETE", "/vms/a-stateless-9"),
        ("GET", "/vms/a-stateless-9/logs"),
        // The other host's: each manager answers for its own.
        ("DELETE", "/vms/b-stateless-1"),
        ("GET", "/vms/..%2f..%2fetc/logs"),
    ] {
        refused(&lab, &request(method, path, None), 404, "there is no machine");
    }
    refused(&lab, &request("DELETE", "/vms/a-lb", None), 409, "balancer");
    refused(&lab, &request("GET", "/nothing", None), 404, "/nothing");
    for (method, path) in [("PATCH", "/vms"), ("PUT", "/cluster"), ("POST", "/vms/a-lb"), ("GET", "/peers/b")]
    {
        refused(&lab, &request(method, path, None), 405, path);
    }

    let fault = |id: &str, body: &str, status, detail| {
        refused(&lab, &request("POST", &format!("/vms/{id}/fault"), Some(body)), status, detail)
    };
    fault("a-stateless-9", r#"{"fault":"kill"}"#, 404, "a-stateless-9");
    let problem = fault("a-stateless-1", r#"{"fault":"maim"}"#, 400, "maim");
    assert_eq!(problem.parameter.as_deref(), Some("fault"));
    for lasting in [r#"{"fault":"kill","ttl_ms":50}"#, r#"{"fault":"freeze","ttl_ms":3600001}"#] {
        let problem = fault("a-stateless-1", lasting, 400, "with `freeze` only");
        assert_eq!(problem.parameter.as_deref(), Some("ttl_ms"));
    }

    assert_eq!(builds(&lab.wait_until_whole()), builds(&before));
}

#[test]
fn a_used_up_pool_is_no_place_for_another_machine() {
    let lab = Lab::start();
    let order = r#"{"service":"stateless"}"#;
    // Seven addresses; three are used.
    let url = format!("{}/vms", MANAGERS[0]);
    for _ in 0..4 {
        let said = lab.exec("a", &["curl", "-s", "--json", order, "-w", " %{http_code}", &url]).ok();
        assert!(said.ends_with(" 202"), "{said}");
    }
    refused(&lab, &request("POST", "/vms", Some(order)), 409, "7 addresses");
    assert_eq!(lab.wait_until_whole().hosts[0].machines.len(), 7);
}

/// A snapshot that host `name` might send.
fn snapshot(name: &str, epoch: u64) -> String {
    let snapshot = HostSnapshot {
        host: name.into(),
        address: IpAddr::from([192, 168, 10, 2]),
        address_pool: vec!["192.168.10.20-192.168.10.26".to_owned()],
        epoch,
        version: 1,
        endpoints: Vec::new(),
        machines: Vec::new(),
        driver: String::new(),
        desired: 0,
        room: None,
        placed: Default::default(),
        totals: Default::default(),
        lb: None,
        warnings: Vec::new(),
        peers: Vec::new(),
        scaling: wire::autoscale::ScalingTold::default(),
        checks: std::collections::BTreeMap::new(),
    };
    serde_json::to_string(&snapshot).expect("JSON")
}

#[test]
fn snapshots_are_taken_from_peers_and_about_themselves_only() {
    // By address, as without a CA; by certificate they are judged in the tests called pki.
    let lab = Lab::start();
    let before = lab.cluster();
    let put = |from, path, body: String| Request { from, method: "PUT", path, body: Some(body) };
    // A stranger, with a snapshot that would empty the other host.
    refused(&lab, &put("client", "/peers/b", snapshot("b", 1000)), 403, "192.168.10.100");
    // The host itself is not its own peer.
    refused(&lab, &put("a", "/peers/b", snapshot("b", 1000)), 403, "192.168.10.1");
    let problem = refused(&lab, &put("b", "/peers/c", snapshot("b", 1000)), 400, "`c`");
    assert_eq!(problem.parameter.as_deref(), Some("host"));
    refused(&lab, &put("b", "/peers/a", snapshot("a", 1000)), 409, "`a`");
    let problem = refused(&lab, &put("b", "/peers/b", snapshot("b", 0)), 409, "epoch");
    assert_eq!(problem.held, Some(before.hosts[1].epoch), "so that the owner can go on above it");

    let mut unreadable: Value = serde_json::from_str(&snapshot("b", 1)).expect("JSON");
    unreadable["epoch"] = "one".into();
    let problem = refused(&lab, &put("b", "/peers/b", unreadable.to_string()), 400, "");
    assert_eq!(problem.parameter.as_deref(), Some("epoch"));

    let after = lab.wait_until_whole();
    assert_eq!(builds(&after), builds(&before));
    assert_eq!(after.vips, before.vips);
}
