//! People have machines built anew: one of them, or all. No client notices.

use std::thread;
use std::time::Duration;

use wire::cluster::{ClusterView, Phase};

use crate::lab::{Lab, MANAGERS, builds, machine, places, program};
use crate::load::{Load, Report};
use crate::run::{Ended, eventually};

/// Runs the manager's command line on host a, whose changes both managers take.
fn manager(lab: &Lab, words: &[&str]) -> Ended {
    let manager = program("manager");
    let all = [&[manager.as_str(), "--manager", MANAGERS[0]], words].concat();
    lab.exec_within("a", &all, Duration::from_secs(100))
}

/// Has `id` built anew under `load`, and gives back what clients saw of it.
fn replaced(lab: &Lab, id: &str, load: Load) -> (ClusterView, Report) {
    let before = lab.cluster();
    let of_host = if id.starts_with("a-") { MANAGERS[0] } else { MANAGERS[1] };
    let report = thread::scope(|scope| {
        let load = load.start(lab, scope);
        // Not before requests are on their way.
        thread::sleep(Duration::from_secs(1));
        let said = lab.exec("a", &[&program("manager"), "--manager", of_host, "vm", "replace", id]).ok();
        assert!(said.contains("built anew"), "{said}");
        eventually("it is back", || {
            let view = lab.view(of_host)?;
            let now = machine(&view, id);
            (now.phase == Phase::Ready && now.incarnation > machine(&before, id).incarnation).then_some(())
        });
        assert!(!load.is_finished(), "the load ended before the machine was back: give it longer");
        load.join().expect("a report")
    });
    let after = lab.wait_until_whole();
    assert_eq!(places(&after), places(&before));
    for (old, new) in builds(&before).iter().zip(&builds(&after)) {
        assert_eq!(new.2 > old.2, new.0 == id, "only that one is built anew: {new:?}");
    }
    (after, report)
}

#[test]
fn a_replaced_machine_fails_no_request() {
    let lab = Lab::start();
    for id in ["a-stateless-1", "b-stateless-2"] {
        replaced(&lab, id, Load::of_seconds(6)).1.assert_nobody_noticed();
    }
}

#[test]
fn a_replaced_balancer_hands_the_address_over_before_it_stops_and_fails_no_request() {
    let lab = Lab::start();
    for round in 0..2 {
        let holder = lab.holder();
        let (_, report) = replaced(&lab, &holder, Load::at_rate(500, 8));
        println!("round {round}, holder {holder} replaced: {report}");
        report.assert_nobody_noticed();
        assert_ne!(lab.holder(), holder, "the other one has it now");
    }
}

/// Rolls under `load`, and gives back what the roll said and what clients saw.
fn rolled(lab: &Lab, options: &[&str], load: Load) -> (String, Report) {
    let (said, report) = thread::scope(|scope| {
        let load = load.start(lab, scope);
        // Not before requests are on their way.
        thread::sleep(Duration::from_secs(1));
        let said =
            manager(lab, &[&["image", "roll", "--yes", "--step-timeout", "60"], options].concat()).ok();
        assert!(!load.is_finished(), "the load ended before the roll: give it longer");
        (said, load.join().expect("a report"))
    });
    println!("{said}");
    (said, report)
}

#[test]
fn what_cannot_be_replaced_is_refused_in_words() {
    let lab = Lab::start();
    let ended = manager(&lab, &["vm", "replace", "a-stateless-9"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("there is no machine `a-stateless-9`"), "{ended:?}");
    manager(&lab, &["vm", "replace", "a-stateless-1"]).ok();
    let twice = manager(&lab, &["vm", "replace", "a-stateless-1"]);
    assert!(twice.code == Some(1) && twice.stderr.contains("being replaced already"), "{twice:?}");
    lab.wait_until_whole();
}

#[test]
fn a_roll_builds_everything_anew_while_requests_are_served() {
    let lab = Lab::start();
    let (before, holder) = (lab.cluster(), lab.holder());
    let standby = if holder == "a-lb" { "b-lb" } else { "a-lb" };
    let mut order = vec![standby, holder.as_str()];
    order.extend(["a-stateless-1", "a-stateless-2", "b-stateless-1", "b-stateless-2"]);

    let planned = manager(&lab, &["image", "roll", "--dry-run"]).ok();
    assert_eq!(planned.lines().collect::<Vec<_>>(), order);
    assert_eq!(builds(&lab.cluster()), builds(&before), "a dry run changes nothing");
    let unasked = manager(&lab, &["image", "roll"]);
    assert!(unasked.code == Some(2) && unasked.stderr.contains("--yes"), "{unasked:?}");
    let unknown = manager(&lab, &["image", "roll", "--yes", "--service", "mail"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("lb, stateless"), "{unknown:?}");

    let (said, report) = rolled(&lab, &[], Load::of_seconds(30));
    report.assert_nobody_noticed();
    let machines: Vec<&str> =
        said.lines().filter_map(|line| line.split_whitespace().nth(1)).take(6).collect();
    assert_eq!(machines, order);
    assert!(said.ends_with("Done: the cluster is whole.\n"), "{said}");

    let after = lab.wait_until_whole();
    assert_eq!(places(&after), places(&before));
    for (old, new) in builds(&before).iter().zip(&builds(&after)) {
        assert!(new.2 > old.2, "{new:?} is the old one");
    }
}

#[test]
fn a_roll_of_a_service_fails_no_request() {
    let lab = Lab::start();
    let before = lab.cluster();
    let (said, report) = rolled(&lab, &["--service", "stateless"], Load::of_seconds(20));
    report.assert_nobody_noticed();
    assert_eq!(said.lines().count(), 5, "{said}");
    let after = lab.wait_until_whole();
    assert_eq!(places(&after), places(&before));
    for (old, new) in builds(&before).iter().zip(&builds(&after)) {
        assert_eq!(new.2 > old.2, !new.0.ends_with("-lb"), "{new:?}");
    }
}

#[test]
fn a_roll_stops_at_a_machine_that_does_not_come_back() {
    let lab = Lab::start();
    let before = lab.cluster();
    // Its program is gone: from now on nothing can be made on host b.
    let (sound, broken) = ("name = \"stateless\"", "name = \"stateless\"\nprogram = \"gone\"");
    crate::peers::reconfigure_b(&lab, sound, broken);
    lab.wait_until_whole();
    let words = ["image", "roll", "--yes", "--service", "stateless", "--step-timeout", "8"];
    let ended = manager(&lab, &words);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 2, "those of host a: {ended:?}");
    assert!(ended.stderr.contains("stopped at b-stateless-1, the 3. of 4"), "{ended:?}");
    assert!(ended.stderr.contains("run this again"), "{ended:?}");
    let untouched = machine(&lab.cluster(), "b-stateless-2").incarnation;
    assert_eq!(untouched, machine(&before, "b-stateless-2").incarnation);

    // Mended, it goes on; not before.
    let early = manager(&lab, &["image", "roll", "--yes", "--step-timeout", "1"]);
    assert!(early.code == Some(1) && early.stderr.contains("not whole"), "{early:?}");
    crate::peers::reconfigure_b(&lab, broken, sound);
    lab.wait_until_whole();
    manager(&lab, &["image", "roll", "--yes", "--service", "stateless"]).ok();
}
