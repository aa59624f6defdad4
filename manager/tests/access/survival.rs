//! What a manager bears: a disk that is full, a store that is lost, machines of another version.

use std::fs;

use crate::lab::{Lab, MANAGERS, builds, host, machine, read};
use crate::manager;
use crate::run::eventually;

#[test]
fn a_full_disk_stops_nothing_that_runs_and_is_told() {
    let lab = Lab::start();
    let before = lab.cluster();
    let state = lab.host_file("a", "state").display().to_string();
    lab.fault(&["stop-manager", "a"]);
    // Its state moves to a disk of a few megabytes; the machines keep what they have open.
    let moved = format!(
        "cp -a {state} {state}.was && mount -t tmpfs -o size=24m tmpfs {state} && cp -a {state}.was/. {state}/"
    );
    lab.exec("a", &["sh", "-c", &moved]).ok();
    lab.fault(&["start-manager", "a"]);
    lab.wait_until_whole();
    lab.exec("a", &["sh", "-c", &format!("cat /dev/zero >{state}/filler || true")]).ok();

    // Something that has to be stored: it cannot be, is tried again, and told.
    manager(&lab, "a", &["vm", "delete", "a-stateless-2"]).ok();
    let told = eventually("it says that the disk is full", || {
        let view = lab.view(MANAGERS[0])?;
        host(&view, "a").warnings.iter().find(|warning| warning.contains("cannot be stored")).cloned()
    });
    assert!(told.contains("No space left"), "{told}");
    assert!(read(&lab.host_file("a", "manager.log")).contains("store.failed"));
    for _ in 0..20 {
        assert!(lab.get("http://192.168.10.120/random/number").contains("value"));
    }
    let refused = manager(&lab, "a", &["access", "create", "x", "--scope", "read"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("cannot be stored"), "{refused:?}");
    assert_eq!(manager(&lab, "a", &["maintenance", "on"]).code, Some(1), "it would not outlive the manager");

    lab.exec("a", &["rm", &format!("{state}/filler")]).ok();
    eventually("it is stored", || {
        let view = lab.view(MANAGERS[0])?;
        host(&view, "a").warnings.is_empty().then_some(())
    });
    manager(&lab, "a", &["access", "create", "x", "--scope", "read"]).ok();
    let after = lab.wait_until_whole();
    let others = builds(&before).into_iter().filter(|(id, ..)| id != "a-stateless-2").collect::<Vec<_>>();
    assert_eq!(builds(&after), others, "and nothing else was touched");
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
