//! A virtual machine dies or stands still under load.

use crate::lab::{builds, machine, places};
use crate::load::{Load, Report};
use crate::{RATE, start};

/// Puts a load on, with one fault; the machine must come back where it was, and nobody else be rebuilt.
fn one_is_rebuilt(fault: &str) -> Report {
    let lab = start();
    let before = lab.cluster();
    let report = Load::at_rate(RATE, 20).with_fault(&lab, fault).run(&lab);
    let after = lab.wait_until_whole();
    assert_eq!(places(&after), places(&before));
    for (old, new) in builds(&before).iter().zip(&builds(&after)) {
        assert_eq!(new.2 > old.2, new.0 == report.victim(), "only the harmed one is rebuilt: {new:?}");
    }
    report.assert_same_address();
    assert!(machine(&after, report.victim()).restarts >= 1);
    report
}

#[test]
fn a_killed_service_machine_is_rebuilt_and_no_client_notices() {
    let report = one_is_rebuilt("kill-stateless");
    report.assert_nobody_noticed();
    println!("answers again after {} ms", report.recovered_after_ms());
}

/// Its QEMU is stopped: libvirt notices nothing, and would wait for it.
#[test]
fn a_frozen_service_machine_is_found_by_its_silence_and_rebuilt() {
    let report = one_is_rebuilt("freeze-stateless");
    report.assert_nobody_noticed();
    println!("answers again after {} ms", report.recovered_after_ms());
}

#[test]
fn a_killed_balancer_is_rebuilt_and_the_address_moves() {
    let report = one_is_rebuilt("kill-lb");
    println!("nobody was served for {} ms", report.outage_ms());
    assert!(report.outage_ms() < 1_500.0, "{report}");
}
