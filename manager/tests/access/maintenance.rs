//! `manager maintenance on`: observe, report, do nothing.

use std::time::Duration;

use wire::cluster::Phase;

use crate::lab::{Lab, builds, host, machine, read};
use crate::run::eventually;
use crate::{ask, manager};

#[test]
fn a_manager_in_maintenance_leaves_every_machine_alone_even_when_it_is_killed() {
    let lab = Lab::start();
    let before = lab.cluster();
    assert!(manager(&lab, "a", &["maintenance", "on"]).ok().contains("left alone"));
    lab.fault(&["kill", "a-stateless-1"]);
    eventually("its death is seen", || {
        let view = lab.view(crate::lab::MANAGERS[1])?;
        (machine(&view, "a-stateless-1").phase == Phase::Dead).then_some(())
    });
    // Clients are kept away from it, on both hosts.
    for _ in 0..50 {
        assert!(lab.get("http://192.168.10.120/random/number").contains("value"));
    }
    lab.fault(&["kill-manager"]);
    let view = eventually("the manager is back", || {
        let view = lab.view(crate::lab::MANAGERS[0])?;
        (machine(&view, "a-stateless-2").phase == Phase::Ready).then_some(view)
    });
    let warnings = &host(&view, "a").warnings;
    assert!(warnings.iter().any(|warning| warning.contains("maintenance is on since")), "{warnings:?}");
    // The other manager says so too, and status tells people.
    eventually("it is told on", || {
        let view = lab.view(crate::lab::MANAGERS[1])?;
        host(&view, "a").warnings.iter().any(|warning| warning.contains("maintenance")).then_some(())
    });
    assert!(manager(&lab, "b", &["status"]).ok().contains("Warning, host a: maintenance is on"));
    assert!(ask(&lab, "client", &[], "/metrics").1.contains("manager_maintenance 1"));
    let refused = manager(&lab, "a", &["vm", "create", "stateless"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("manager maintenance off"), "{refused:?}");
    // So long after its return it would have been rebuilt many times.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(machine(&lab.cluster(), "a-stateless-1").phase, Phase::Dead);

    assert!(manager(&lab, "a", &["maintenance", "off"]).ok().contains("are kept"));
    let after = lab.wait_until_whole();
    let untouched =
        |view| builds(view).into_iter().filter(|(id, ..)| id != "a-stateless-1").collect::<Vec<_>>();
    assert_eq!(untouched(&after), untouched(&before));
    assert!(ask(&lab, "client", &[], "/metrics").1.contains("manager_maintenance 0"));
}

#[test]
fn it_ends_by_itself() {
    let lab = Lab::start();
    assert!(manager(&lab, "b", &["maintenance", "on", "--for", "8s"]).ok().contains("until 20"));
    lab.fault(&["kill", "b-stateless-1"]);
    eventually("its death is seen", || {
        (machine(&lab.view(crate::lab::MANAGERS[1])?, "b-stateless-1").phase == Phase::Dead).then_some(())
    });
    lab.wait_until_whole();
    assert!(manager(&lab, "b", &["maintenance", "show"]).ok().contains("is off"));
    let log = read(&lab.host_file("b", "manager.log"));
    let over = log.find("its time is over").expect("it says so");
    let rebuilt = log.rfind("rebuilding at").expect("it was rebuilt");
    assert!(rebuilt > over, "only then: {log}");
}
