//! The balancer that has the public address dies, alone or with its whole host.

use std::time::{Duration, Instant};

use crate::lab::{Lab, VIP, builds, host, machine, places};
use crate::load::Load;

/// What a client sees of a takeover: a fresh connection every few milliseconds, none with much patience.
pub(crate) fn impatient(seconds: u64) -> Load {
    Load::of_seconds(seconds).with("--timeout", "300ms")
}

#[test]
fn the_other_balancer_takes_over_and_keeps_the_address() {
    let lab = Lab::start();
    let before = lab.cluster();
    let dead = lab.holder();
    let report = impatient(5).with_fault(&lab, "kill-lb").run(&lab);
    println!("balancer dead: {} ms without an answer", report.outage_ms());
    assert_eq!(report.victim(), dead);
    assert!(report.outage_ms() < 1000.0, "{report}");
    report.assert_same_address();

    let after = lab.wait_until_whole();
    assert_eq!(places(&after), places(&before));
    assert!(machine(&after, &dead).incarnation > machine(&before, &dead).incarnation, "rebuilt");
    let heir = lab.holder();
    assert_ne!(heir, dead, "the rebuilt one stays standby");
    for (old, new) in builds(&before).iter().zip(&builds(&after)) {
        assert_eq!(new.2 > old.2, new.0 == dead, "only the victim is rebuilt: {new:?}");
    }

    // And back: there is no favourite.
    let report = impatient(4).with_fault(&lab, "kill-lb").run(&lab);
    println!("other balancer dead: {} ms without an answer", report.outage_ms());
    assert_eq!(report.victim(), heir);
    assert!(report.outage_ms() < 1000.0, "{report}");
    lab.wait_until_whole();
    assert_eq!(lab.holder(), dead);
}

#[test]
fn a_frozen_balancer_loses_the_address_too() {
    let lab = Lab::start();
    let frozen = lab.holder();
    let report = impatient(5).with_fault(&lab, &format!("freeze {frozen}")).run(&lab);
    println!("balancer frozen: {} ms without an answer", report.outage_ms());
    assert!(report.outage_ms() < 1500.0, "{report}");
    report.assert_same_address();
    lab.wait_until_whole();
    assert_ne!(lab.holder(), frozen);
}

#[test]
fn a_lost_host_is_survived_and_its_return_changes_nothing_for_clients() {
    let lab = Lab::start();
    let before = lab.cluster();
    let holder = lab.holder();
    let dead = holder.split('-').next().expect("a host").to_owned();
    // The host returns by itself after a while, while the load goes on.
    let report = impatient(9).with_fault(&lab, "kill-host").run(&lab);
    println!(
        "host lost: {} ms without an answer, whole again after {} ms",
        report.outage_ms(),
        report.recovered_after_ms()
    );
    assert_eq!(report.victim(), dead);
    assert!(report.outage_ms() < 1500.0, "{report}");

    let after = lab.wait_until_whole();
    assert_eq!(places(&after), places(&before));
    let other = if dead == "a" { "b" } else { "a" };
    assert_eq!(lab.holder(), format!("{other}-lb"), "the address stays where it is");
    assert!(host(&after, &dead).epoch > host(&before, &dead).epoch);
    assert_eq!(host(&after, other).epoch, host(&before, other).epoch);
    let of_other = |view| builds(view).into_iter().filter(|build| build.0.starts_with(other)).collect();
    let (old, new): (Vec<_>, Vec<_>) = (of_other(&before), of_other(&after));
    assert_eq!(old, new, "nothing is rebuilt on the host that lived");
    Load::of_seconds(2).run(&lab).assert_nobody_noticed();
}

#[test]
fn a_cut_cable_is_no_death_and_after_it_is_mended_one_balancer_holds_the_address() {
    let lab = Lab::start();
    let before = lab.cluster();
    let holder = lab.holder();
    let cut = holder.split('-').next().expect("a host").to_owned();
    let report = impatient(4).with("--fault-timeout", "4s").with_fault(&lab, &format!("cut {cut}")).run(&lab);
    println!("cable cut: longest gap of the run: {report}");
    lab.fault(&["heal", &cut]);
    let after = lab.wait_until_whole();
    assert_eq!(builds(&after), builds(&before), "machines on both sides lived on");
    Load::of_seconds(2).run(&lab).assert_nobody_noticed();
}

#[test]
fn the_admin_port_is_refused_on_the_public_address() {
    let lab = Lab::start();
    for port in [8080, 8443] {
        let asked = Instant::now();
        let ended = lab.exec("client", &["curl", "-sS", "-m", "5", &format!("http://{VIP}:{port}/status")]);
        // 7 is "failed to connect"; a silent drop would have run into the limit.
        assert_eq!(ended.code, Some(7), "{ended:?}");
        assert!(asked.elapsed() < Duration::from_secs(4), "{ended:?}");
    }
    let own = lab.get("http://192.168.10.10:8080/status");
    assert!(own.contains("\"machine\":\"a-lb\""), "it is there on the machine's own address: {own}");
}
