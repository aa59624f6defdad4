//! What a manager bears: a disk that is full, a store that is lost, machines of another version.

use std::fs;

use crate::lab::{Lab, MANAGERS, builds, host, machine, read};
use crate::run::eventually;
use crate::{ask, manager};

#[test]
fn a_full_disk_stops_nothing_that_runs_and_is_told() {
    let lab = Lab::start();
    let before = lab.cluster();
    let state = lab.host_file("a", "state").display().to_string();
    let on_a = |command: &str| lab.exec("a", &["sh", "-c", command]).ok();
    lab.fault(&["stop-manager", "a"]);
    // Its state moves to a disk of a few megabytes, which is full before the store is on it. The machines keep
    // what they have open.
    on_a(&format!(
        "cp -a {state} {state}.was && mount -t tmpfs -o size=24m tmpfs {state} && cp -a {state}.was/. {state}/ && \
         rm {state}/store.redb && {{ cat /dev/zero >{state}/filler || true; }} 2>&1"
    ));
    lab.fault(&["start-manager", "a"]);
    let told = eventually("it says that the disk is full", || {
        let view = lab.view(MANAGERS[0])?;
        host(&view, "a").warnings.iter().find(|warning| warning.contains("cannot be stored")).cloned()
    });
    assert!(told.contains("No space left"), "{told}");
    let log = read(&lab.host_file("a", "manager.log"));
    assert!(
        log.contains("store.failed") && log.contains("nothing new is made until this is mended"),
        "{log}"
    );
    // What runs was adopted as it is; the other host is heard a moment later.
    eventually("all is as it was", || (builds(&lab.wait_until_whole()) == builds(&before)).then_some(()));
    for _ in 0..20 {
        assert!(lab.get("http://192.168.10.120/random/number").contains("value"));
    }
    let refused = manager(&lab, "a", &["access", "create", "x", "--scope", "read"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("cannot be stored"), "{refused:?}");
    assert_eq!(manager(&lab, "a", &["maintenance", "on"]).code, Some(1), "it would not outlive the manager");
    assert!(manager(&lab, "a", &["maintenance", "show"]).ok().contains("is off"));
    let metrics = ask(&lab, "client", &[], "/metrics").1;
    assert!(metrics.lines().any(|line| line == "manager_audit_lost_total 2"), "both were tried, unwritten");

    on_a(&format!("rm {state}/filler"));
    eventually("it is stored", || {
        let view = lab.view(MANAGERS[0])?;
        host(&view, "a").warnings.is_empty().then_some(())
    });
    manager(&lab, "a", &["access", "create", "x", "--scope", "read"]).ok();
    assert_eq!(builds(&lab.wait_until_whole()), builds(&before), "nothing was touched");
}

#[test]
fn without_its_store_a_manager_adopts_what_people_had_asked_for() {
    let lab = Lab::start();
    manager(&lab, "a", &["vm", "create", "stateless"]).ok();
    manager(&lab, "a", &["vm", "create", "stateless"]).ok();
    lab.wait_until_whole();
    manager(&lab, "a", &["vm", "delete", "a-stateless-1"]).ok();
    eventually("it is gone", || {
        let view = lab.view(MANAGERS[0])?;
        (host(&view, "a").machines.len() == 4).then_some(())
    });
    let before = lab.wait_until_whole();
    let store = lab.host_file("a", "state/store.redb");
    let log = lab.host_file("a", "manager.log");
    for damage in ["no database", ""] {
        lab.fault(&["stop-manager", "a"]);
        if damage.is_empty() {
            fs::remove_file(&store).expect("there");
        } else {
            fs::write(&store, damage).expect("writable");
        }
        let from = read(&log).len();
        lab.fault(&["start-manager", "a"]);
        eventually("it starts", || read(&log)[from..].contains("manager starts").then_some(()));
        // It has told its peer a snapshot of its new life, and that one is whole.
        eventually("the peer has heard of its new life", || {
            let view = lab.view(MANAGERS[1])?;
            (host(&view, "a").epoch != host(&before, "a").epoch && view.whole).then_some(())
        });
        let after = lab.wait_until_whole();
        assert_eq!(builds(&after), builds(&before), "nothing healthy is touched");
        assert_eq!(read(&log)[from..].contains("cannot be used"), !damage.is_empty());
    }
    assert_eq!(
        read(&lab.host_file("a", "state/store.redb.broken")),
        "no database",
        "kept for who wants to look"
    );
}

#[test]
fn machines_of_other_versions_are_adopted() {
    let lab = Lab::start();
    let before = lab.cluster();
    lab.fault(&["stop-manager", "a"]);
    let edit = |id: &str, edit: &dyn Fn(&mut serde_json::Value)| {
        let path = lab.host_file("a", &format!("state/machines/{id}/machine.json"));
        let mut purpose: serde_json::Value = serde_json::from_str(&read(&path)).expect("JSON");
        edit(&mut purpose);
        fs::write(&path, serde_json::to_string_pretty(&purpose).expect("JSON")).expect("writable");
    };
    edit("a-stateless-1", &|purpose| {
        purpose["format"] = 2.into();
        purpose["zone"] = serde_json::json!({ "rack": [1, 2], "power": "b" });
    });
    edit("a-stateless-2", &|purpose| {
        purpose.as_object_mut().expect("an object").remove("format");
    });
    edit("a-lb", &|purpose| purpose["format"] = 7.into());
    let log = lab.host_file("a", "manager.log");
    let from = read(&log).len();
    lab.fault(&["start-manager", "a"]);
    eventually("all are adopted", || {
        let said = &read(&log)[from..];
        ["a-lb", "a-stateless-1", "a-stateless-2"]
            .iter()
            .all(|id| said.lines().any(|line| line.contains("machine.ready") && line.contains(id)))
            .then_some(())
    });
    let after = lab.wait_until_whole();
    assert_eq!(builds(&after), builds(&before));
    // One that dies is made by this version.
    lab.fault(&["kill", "a-stateless-1"]);
    eventually("it is rebuilt", || {
        let view = lab.view(MANAGERS[0])?;
        (machine(&view, "a-stateless-1").incarnation > machine(&before, "a-stateless-1").incarnation)
            .then_some(())
    });
    lab.wait_until_whole();
}
