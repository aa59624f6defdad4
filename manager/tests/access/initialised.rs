//! Once the cluster has a CA (its directory in `state_dir` says so), an address is no proof any more.

use std::fs;

use crate::lab::{Lab, MANAGERS, builds, program, read};
use crate::run::eventually;
use crate::{ask, audit, manager, refused};

/// What `manager init` leaves behind, as far as the gate looks at it.
fn initialise(lab: &Lab) {
    fs::create_dir(lab.host_file("a", "state/pki")).expect("a directory");
}

#[test]
fn an_address_is_no_proof_and_the_socket_is() {
    let lab = Lab::start();
    let before = lab.cluster();
    initialise(&lab);
    for from in ["client", "b", "a"] {
        let detail = refused(&lab, from, &["-X", "DELETE"], "/vms/a-stateless-1", 401);
        assert!(detail.contains("as root"), "{detail}");
        let detail = refused(&lab, from, &["--json", r#"{"fault":"kill"}"#], "/vms/a-stateless-1/fault", 401);
        assert!(detail.contains("chaos") || from == "a", "{detail}");
    }
    let snapshot = refused(&lab, "b", &["-X", "PUT", "--json", "{}"], "/peers/b", 401);
    assert!(snapshot.contains("certificate") && snapshot.contains("manager join"), "{snapshot}");
    // The status is for the segment, what was done is not.
    assert_eq!(ask(&lab, "client", &[], "/cluster").0, 200);
    refused(&lab, "client", &[], "/audit", 401);
    assert_eq!(ask(&lab, "a", &[], "/audit").0, 200);

    let made =
        manager(&lab, "a", &["access", "create", "ci", "--scope", "operate,chaos", "--expires", "30d"]).ok();
    let secret = made.lines().next().expect("the secret").to_owned();
    assert!(secret.starts_with("holdfast_") && made.contains("shown once"), "{made}");
    let bearer = format!("authorization: Bearer {secret}");
    for from in ["client", "b"] {
        let detail = refused(&lab, from, &["-X", "DELETE", "-H", &bearer], "/vms/a-stateless-1", 403);
        assert!(detail.contains("https") && detail.contains("manager access revoke ci"), "{detail}");
    }
    // Our own command line does not send it at all.
    let with_token = |manager: &str| {
        let set = format!("HOLDFAST_TOKEN={secret}");
        lab.exec("client", &["env", &set, &program("manager"), "--manager", manager, "vm", "list"])
    };
    let kept = with_token(MANAGERS[0]);
    assert_eq!(kept.code, Some(2), "{kept:?}");
    assert!(kept.stderr.contains("https"), "{kept:?}");

    let listed = manager(&lab, "a", &["access", "list"]).ok();
    assert!(listed.contains("operate,chaos") && !listed.contains(&secret), "{listed}");
    // It outlives the manager, and a second one of its name is not made.
    lab.fault(&["kill-manager"]);
    eventually("the manager is back", || {
        let listed = manager(&lab, "a", &["access", "list"]);
        (listed.code == Some(0) && listed.stdout.contains("ci")).then_some(())
    });
    let again = manager(&lab, "a", &["access", "create", "ci", "--scope", "read"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("access revoke ci"), "{again:?}");
    assert!(manager(&lab, "a", &["access", "revoke", "ci"]).ok().contains("nothing any more"));
    assert!(!manager(&lab, "a", &["access", "list"]).ok().contains("ci "));

    // The socket may: one more, which is gone again.
    assert!(manager(&lab, "a", &["vm", "create", "stateless"]).ok().contains("a-stateless-3"));
    for file in ["audit.log", "audit-refused.log", "store.redb"] {
        let bytes = fs::read(lab.host_file("a", &format!("state/{file}"))).expect("readable");
        let secret = secret.trim_start_matches("holdfast_").as_bytes();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "the secret is in {file}");
    }
    let entries = audit(&lab);
    let created = entries.iter().find(|entry| entry.path == "/access/tokens" && entry.status == 201);
    let body = created.and_then(|entry| entry.body.clone()).expect("written");
    assert!(body.contains("name=ci") && body.contains("scopes=operate,chaos"), "{body}");
    assert!(entries.iter().any(|entry| entry.who == "token ci at 192.168.10.100" && entry.status == 403));

    // Without its CA it is as before, and nothing of what was there was touched by all this.
    fs::remove_dir(lab.host_file("a", "state/pki")).expect("removable");
    eventually("the other host is heard again, and all is as it was", || {
        let old = builds(&lab.wait_until_whole()).into_iter().filter(|(id, ..)| id != "a-stateless-3");
        (old.collect::<Vec<_>>() == builds(&before)).then_some(())
    });
}

#[test]
fn open_reads_can_be_closed() {
    let lab = Lab::begin();
    let path = lab.host_file("a", "manager.toml");
    fs::write(&path, format!("open_reads = false\n{}", read(&path))).expect("writable");
    lab.fault(&["stop-manager", "a"]);
    initialise(&lab);
    lab.fault(&["start-manager", "a"]);
    eventually("the manager is back", || (manager(&lab, "a", &["vm", "list"]).code == Some(0)).then_some(()));
    for from in ["client", "b"] {
        let detail = refused(&lab, from, &[], "/cluster", 401);
        assert!(detail.contains("scope read"), "{detail}");
    }
    assert_eq!(ask(&lab, "a", &[], "/cluster").0, 200, "this host itself");
    assert_eq!(ask(&lab, "client", &[], "/health/live").0, 204);
    assert_eq!(ask(&lab, "client", &[], "/metrics").0, 200);
    let log = read(&lab.host_file("a", "manager.log"));
    let last_start = log.rsplit("manager starts").next().expect("a start");
    assert!(!last_start.contains("not authenticated"), "{last_start}");
}
