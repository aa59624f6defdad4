//! The daemons that make machines die and come back: the machines do not mind.

use std::thread::{self, sleep};
use std::time::Duration;

use crate::lab::{MANAGERS, builds, machine};
use crate::load::Load;
use crate::run::eventually;
use crate::{RATE, start};

#[test]
fn killed_daemons_and_managers_cost_no_request_and_no_machine() {
    let lab = start();
    let before = lab.cluster();
    thread::scope(|scope| {
        let load = Load::at_rate(RATE, 20).start(&lab, scope);
        for host in ["a", "b"] {
            lab.fault(&["kill-libvirtd", host]);
            lab.fault(&["stop-manager", host]);
            sleep(Duration::from_millis(500));
            lab.fault(&["start-manager", host]);
        }
        lab.fault(&["kill-libvirtd", "a"]);
        load.join().expect("a report").assert_nobody_noticed();
    });
    let after = lab.wait_until_whole();
    assert_eq!(builds(&after), builds(&before), "no machine was restarted");

    // The new daemons are used: what dies is rebuilt.
    lab.fault(&["kill", "a-stateless-1"]);
    let rebuilt = eventually("it is rebuilt", || {
        let view = lab.view(MANAGERS[0])?;
        let now = machine(&view, "a-stateless-1").incarnation;
        (view.whole && now > machine(&before, "a-stateless-1").incarnation).then_some(view)
    });
    assert_eq!(machine(&rebuilt, "a-stateless-1").address, machine(&before, "a-stateless-1").address);
}

#[test]
fn what_died_while_nobody_watched_is_replaced() {
    let lab = start();
    let before = lab.cluster();
    lab.fault(&["stop-manager", "a"]);
    lab.fault(&["stop-libvirtd", "a"]);
    lab.fault(&["kill", "a-stateless-2"]);
    // No event will ever tell of it.
    lab.fault(&["start-libvirtd", "a"]);
    lab.fault(&["start-manager", "a"]);
    let after = eventually("it is rebuilt", || {
        let view = lab.view(MANAGERS[0])?;
        view.whole.then_some(view)
    });
    for (old, new) in builds(&before).iter().zip(&builds(&after)) {
        assert_eq!(new.2 > old.2, new.0 == "a-stateless-2", "only the dead one is rebuilt: {new:?}");
    }
}
