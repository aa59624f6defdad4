//! Hosts, machines and the public address are of IPv6: the same promises.

use std::net::IpAddr;

use crate::lab::{Lab, VIP_OF_IPV6, builds, places};
use crate::load::Load;

/// A lab of IPv6 whose hosts have certificates for their pools, and whose cluster is whole.
fn lab() -> Lab {
    let lab = Lab::begin_with(&[("HOLDFAST_FAMILY", "6"), ("HOLDFAST_CERTIFICATES", "1")]);
    lab.wait_until_whole();
    lab
}

fn load(seconds: u64) -> Load {
    Load::on(&format!("http://[{VIP_OF_IPV6}]/random/number"), 250, seconds)
}

#[test]
fn a_killed_machine_fails_no_request_and_is_rebuilt_at_its_address_of_ipv6() {
    let lab = lab();
    let before = lab.cluster();
    let addresses = |host: &wire::cluster::HostView| {
        host.machines.iter().map(|machine| machine.address).collect::<Vec<IpAddr>>()
    };
    assert!(before.hosts.iter().flat_map(addresses).all(|address| address.is_ipv6()), "{before:?}");
    let report = load(4).with_fault(&lab, "kill-stateless").run(&lab);
    report.assert_nobody_noticed();
    report.assert_same_address();
    let after = lab.wait_until_whole();
    assert_eq!(places(&after), places(&before));
    assert_ne!(builds(&after), builds(&before));
}

#[test]
fn a_public_address_of_ipv6_moves_when_the_balancer_that_has_it_dies() {
    let lab = lab();
    let dead = lab.holder();
    let report = load(5).with("--timeout", "1s").with_fault(&lab, "kill-lb").run(&lab);
    assert_eq!(report.victim(), dead);
    assert!(report.outage_ms() < 1000.0, "{report}");
    lab.wait_until_whole();
    assert_ne!(lab.holder(), dead, "the rebuilt one stays standby");
}
