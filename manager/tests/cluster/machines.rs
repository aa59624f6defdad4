//! Service machines die, freeze, come and go; no client notices.

use std::thread;
use std::time::{Duration, Instant};

use wire::cluster::Phase;

use crate::lab::{Lab, builds, machine, places};
use crate::load::Load;
use crate::run::eventually;

/// Under load for so many seconds, `fault` strikes one machine: no request fails, and that machine, no other,
/// is rebuilt at its address.
fn one_machine_is_rebuilt_unnoticed(fault: &str, seconds: u64) {
    let lab = Lab::start();
    let before = lab.cluster();
    let report = Load::of_seconds(seconds).with_fault(&lab, fault).run(&lab);
    report.assert_nobody_noticed();
    report.assert_same_address();
    let after = lab.wait_until_whole();
    assert_eq!(places(&after), places(&before));
    for (old, new) in builds(&before).iter().zip(&builds(&after)) {
        assert_eq!(new.2 > old.2, new.0 == report.victim(), "only the victim is rebuilt: {new:?}");
    }
}

#[test]
fn a_killed_machine_fails_no_request_and_is_rebuilt_at_its_address() {
    one_machine_is_rebuilt_unnoticed("kill-stateless", 4);
}

#[test]
fn a_frozen_machine_fails_no_request_and_is_replaced_at_its_address() {
    // Its silence must last through all retries before it counts as dead.
    one_machine_is_rebuilt_unnoticed("freeze-stateless", 6);
}

#[test]
fn a_machine_frozen_for_a_moment_is_not_replaced() {
    let lab = Lab::start();
    let before = lab.cluster();
    thread::scope(|scope| {
        let load = Load::of_seconds(5).start(&lab, scope);
        lab.fault(&["freeze", "b-stateless-1"]);
        eventually("it is suspected", || {
            let view = lab.view(crate::lab::MANAGERS[1])?;
            (machine(&view, "b-stateless-1").phase == Phase::Suspect).then_some(())
        });
        lab.fault(&["thaw", "b-stateless-1"]);
        load.join().expect("a report").assert_nobody_noticed();
    });
    assert_eq!(builds(&lab.wait_until_whole()), builds(&before));
}

#[test]
fn a_freeze_that_was_given_a_time_ends_by_itself() {
    const TTL_MS: u64 = 400;
    let lab = Lab::start();
    let before = lab.cluster();
    let order = format!(r#"{{"fault":"freeze","ttl_ms":{TTL_MS}}}"#);
    let url = format!("{}/vms/b-stateless-1/fault", crate::lab::MANAGERS[1]);
    let ordered = Instant::now();
    let said = lab.exec("b", &["curl", "-s", "-w", "%{http_code}", "--json", &order, &url]).ok();
    assert_eq!(said, "204");
    // The kernel takes the connection; the answer has to wait for the thaw.
    let url = format!("http://{}:8080/random/number", machine(&before, "b-stateless-1").address);
    lab.exec("b", &["curl", "-s", "-f", "--max-time", "10", &url]).ok();
    assert!(ordered.elapsed() >= Duration::from_millis(TTL_MS), "it was not frozen: {:?}", ordered.elapsed());
    assert_eq!(builds(&lab.wait_until_whole()), builds(&before), "it is the same machine as before");
}

#[test]
fn without_any_machine_clients_wait_a_while_and_are_told_so_until_all_are_back() {
    let lab = Lab::start();
    let before = lab.cluster();
    // The managers stand still, so that nothing is rebuilt while it is looked at.
    for host in ["a", "b"] {
        lab.fault(&["stop-manager", host]);
    }
    lab.fault(&["kill-all-stateless"]);
    let url = format!("http://{}/random/number", crate::lab::VIP);
    let ask = ["curl", "-s", "-i", "-w", "\ntook %{time_total}", "--max-time", "10", &url];
    let answer = eventually("503", || {
        let answer = lab.exec("client", &ask).ok().to_lowercase();
        answer.starts_with("http/1.1 503").then_some(answer)
    });
    assert!(answer.contains("\r\nretry-after: "), "{answer}");
    let took: f64 = answer.rsplit_once("took ").expect("the time").1.trim().parse().expect("seconds");
    // The balancer holds a request for five seconds.
    assert!(took < 9.0, "it hung: {answer}");

    for host in ["a", "b"] {
        lab.fault(&["start-manager", host]);
    }
    let after = lab.wait_until_whole();
    assert_eq!(places(&after), places(&before));
    Load::of_seconds(2).run(&lab).assert_nobody_noticed();
}

#[test]
fn the_death_of_all_machines_at_once_is_mended_without_help() {
    let lab = Lab::start();
    let before = lab.cluster();
    let report = Load::of_seconds(5).with_fault(&lab, "kill-all-stateless").run(&lab);
    println!("all machines dead: served again after {} ms", report.outage_ms());
    assert!(report.outage_ms() < 5000.0, "{report}");
    report.assert_no_hang();
    let after = lab.wait_until_whole();
    assert_eq!(places(&after), places(&before));
    Load::of_seconds(2).run(&lab).assert_nobody_noticed();
}

#[test]
fn adding_and_removing_machines_fails_no_request() {
    let lab = Lab::start();
    let [a, b] = crate::lab::MANAGERS;
    let ask = |words: &[&str]| {
        let manager = crate::lab::program("manager");
        let words = [&[manager.as_str(), "-o", "json", "--manager"], words].concat();
        serde_json::from_str::<wire::cluster::MachineView>(&lab.exec("a", &words).ok()).expect("a machine")
    };
    thread::scope(|scope| {
        let load = Load::of_seconds(9).start(&lab, scope);
        for (manager, id) in [(a, "a-stateless-1"), (b, "b-stateless-2")] {
            assert_eq!(ask(&[manager, "vm", "delete", id]).phase, Phase::Draining);
            eventually("it is gone", || {
                let view = lab.view(manager)?;
                (!crate::lab::machines(&view).iter().any(|machine| machine.id.as_str() == id)).then_some(())
            });
            let created = ask(&[manager, "vm", "create", "stateless"]);
            eventually("the new one is ready", || {
                let view = lab.view(manager)?;
                (machine(&view, created.id.as_str()).phase == Phase::Ready).then_some(())
            });
        }
        assert!(!load.is_finished(), "the load ended before the last change: give it longer");
        load.join().expect("a report").assert_nobody_noticed();
    });
    // One that does not run yet is gone at once, and who deleted it hears so.
    for _ in 0..3 {
        let created = ask(&[a, "vm", "create", "stateless"]);
        assert_eq!(ask(&[a, "vm", "delete", created.id.as_str()]).id, created.id);
    }
    assert_eq!(lab.wait_until_whole().hosts.iter().map(|host| host.desired).sum::<u32>(), 6);
}
