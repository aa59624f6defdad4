//! A manager dies. Its machines live on without it, and its successor knows them all.

use std::collections::BTreeSet;

use crate::lab::{Lab, MANAGERS, VIP, builds, host, machine};
use crate::load::Load;
use crate::run::eventually;

#[test]
fn a_restarted_manager_restarts_no_machine() {
    let lab = Lab::start();
    let (before, holder) = (lab.cluster(), lab.holder());
    let report = Load::of_seconds(5).with_fault(&lab, "kill-manager").run(&lab);
    report.assert_nobody_noticed();
    let after = lab.wait_until_whole();
    assert_eq!(builds(&after), builds(&before));
    assert!(host(&after, "a").epoch > host(&before, "a").epoch, "a new life");
    assert_eq!(host(&after, "b").epoch, host(&before, "b").epoch);
    assert_eq!(lab.holder(), holder);
}

#[test]
fn a_proxy_that_restarts_while_its_manager_is_dead_still_serves() {
    let lab = Lab::start();
    let before = lab.cluster();
    lab.fault(&["stop-manager", "a"]);
    lab.fault(&["kill-proxy", "a-lb"]);

    // Nobody tells the new proxy about the machines: it has them from disk.
    let url = "http://192.168.10.10/random/number";
    let all: BTreeSet<&str> = ["a-stateless-1", "a-stateless-2", "b-stateless-1", "b-stateless-2"].into();
    let mut seen = BTreeSet::new();
    eventually("every machine is used", || {
        let answer = lab.exec("client", &["curl", "-s", "-i", "--max-time", "5", url]);
        let served_by = answer.stdout.lines().find_map(|line| line.strip_prefix("x-served-by: "));
        seen.extend(served_by.map(str::to_owned));
        (seen.iter().map(String::as_str).collect::<BTreeSet<_>>() == all).then_some(())
    });

    // Not only on its own address: the other balancer dies, and this one takes over.
    eventually("the other balancer has the address", || {
        let view = lab.view(MANAGERS[1])?;
        (view.vips[0].holders == ["b-lb".into()]).then_some(())
    });
    lab.fault(&["kill", "b-lb"]);
    eventually("the public address answers", || {
        let answer = lab.exec(
            "client",
            &["curl", "-s", "--connect-timeout", "1", "-m", "2", &format!("http://{VIP}/random/number")],
        );
        answer.stdout.contains("value").then_some(())
    });
    Load::of_seconds(3).run(&lab).assert_nobody_noticed();

    lab.fault(&["start-manager", "a"]);
    let after = lab.wait_until_whole();
    for (old, new) in builds(&before).iter().zip(&builds(&after)) {
        assert_eq!(new.2 > old.2, new.0 == "b-lb", "only the killed machine is rebuilt: {new:?}");
    }
    assert_eq!(lab.holder(), "a-lb");
}

#[test]
fn what_dies_while_its_manager_is_dead_is_rebuilt_by_the_next_one() {
    let lab = Lab::start();
    let before = lab.cluster();
    lab.fault(&["stop-manager", "a"]);
    lab.fault(&["kill", "a-stateless-2"]);
    // The balancers find out by themselves.
    let report = Load::of_seconds(3).run(&lab);
    report.assert_nobody_noticed();
    lab.fault(&["start-manager", "a"]);
    let after = lab.wait_until_whole();
    for (old, new) in builds(&before).iter().zip(&builds(&after)) {
        assert_eq!(new.2 > old.2, new.0 == "a-stateless-2", "only the dead one is rebuilt: {new:?}");
    }
    let (old, new) = (machine(&before, "a-stateless-2"), machine(&after, "a-stateless-2"));
    assert_eq!(old.address, new.address);
}
