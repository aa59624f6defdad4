//! A cluster that runs gets its certificates, and a host is taken out of one.

use std::thread;
use std::time::Duration;

use crate::lab::{Lab, VIP, builds, host, machine, places, program, read};
use crate::load::Load;
use crate::run::{Ended, eventually};

/// A command of host `at`'s manager on its own files.
fn on(lab: &Lab, at: &str, words: &[&str]) -> Ended {
    let (manager, config) = (program("manager"), lab.host_file(at, "manager.toml").display().to_string());
    lab.exec(at, &[&[manager.as_str(), "--config", &config], words].concat())
}

/// What a change of host a's balancer by plain HTTP, from the manager's own address, is answered.
fn changed_plainly(lab: &Lab) -> String {
    let set = r#"{"generation": 0, "pools": {}}"#;
    let url = "http://192.168.10.10:8443/upstreams";
    lab.exec("a", &["curl", "-sS", "-m", "5", "-X", "PUT", "--data", set, "-w", " %{http_code}", url]).ok()
}

#[test]
fn a_running_cluster_gets_its_certificates_without_a_restart() {
    let lab = Lab::begin();
    let before = lab.wait_until_whole();
    // A manager is believed by its address.
    assert!(changed_plainly(&lab).ends_with(" 409"), "older than what is held, else taken");
    on(&lab, "a", &["init"]).ok();
    eventually("the manager of a answers by TLS", || {
        let asked = lab.exec("client", &["curl", "-sk", "-m", "2", "https://192.168.10.1:8443/health/live"]);
        (asked.code == Some(0)).then_some(())
    });
    let token = on(&lab, "a", &["token"]).ok();
    on(&lab, "b", &["join", "192.168.10.1", token.trim()]).ok();
    lab.wait_until_whole();
    assert!(changed_plainly(&lab).ends_with(" 409"), "a balancer without a certificate obeys as before");

    let report = thread::scope(|scope| {
        let load = Load::of_seconds(12).start(&lab, scope);
        thread::sleep(Duration::from_secs(1));
        on(&lab, "a", &["image", "roll", "--yes", "--service", "lb"]).ok();
        load.join().expect("a report")
    });
    report.assert_nobody_noticed();
    let after = lab.wait_until_whole();
    assert_eq!(places(&after), places(&before));
    let refused = changed_plainly(&lab);
    assert!(refused.contains("this port speaks TLS") && refused.ends_with(" 400"), "{refused}");
}

#[test]
fn a_revoked_host_is_not_heard_while_its_machines_serve_and_it_may_come_back() {
    let lab = Lab::certified();
    let before = lab.cluster();
    on(&lab, "a", &["revoke", "b"]).ok();
    let view = eventually("a hears b no more", || {
        lab.view(crate::lab::MANAGERS[0]).filter(|view| !host(view, "b").alive)
    });
    assert!(view.missing.iter().any(|reason| reason.contains("host b")), "{view:#?}");
    Load::of_seconds(2).run(&lab).assert_nobody_noticed();
    assert!(lab.get(&format!("http://{VIP}/random/number")).contains("value"));
    // Back in, as the messages say.
    lab.fault(&["stop-manager", "b"]);
    let pki = lab.host_file("b", "state/pki");
    std::fs::remove_dir_all(&pki).expect("removed");
    let token = on(&lab, "a", &["token"]).ok();
    on(&lab, "b", &["join", "192.168.10.1", token.trim()]).ok();
    lab.fault(&["start-manager", "b"]);
    eventually("b is heard again", || lab.view(crate::lab::MANAGERS[0]).filter(|view| host(view, "b").alive));
    // Its balancer believes the certificates that were removed: it is built anew.
    let replaced = || on(&lab, "b", &["vm", "replace", "b-lb"]);
    eventually("b's balancer can be replaced", || (replaced().code == Some(0)).then_some(()));
    let again = |view: &wire::cluster::ClusterView| machine(view, "b-lb").incarnation;
    eventually("b's balancer is built anew", || {
        let view = lab.view(crate::lab::MANAGERS[1])?;
        (again(&view) > again(&before)).then_some(())
    });
    lab.wait_until_whole();
}

#[test]
fn a_balancers_certificate_is_renewed_while_it_serves() {
    let lab = Lab::certified();
    let before = lab.cluster();
    crate::peers::reconfigure_b(&lab, "name = \"b\"", "name = \"b\"\ncertificate_lifetime = \"9s\"");
    lab.wait_until_whole();
    on(&lab, "b", &["vm", "replace", "b-lb"]).ok();
    eventually("b's balancer has a certificate that ends soon", || {
        let view = lab.view(crate::lab::MANAGERS[1])?;
        (machine(&view, "b-lb").incarnation > machine(&before, "b-lb").incarnation).then_some(())
    });
    let whole = lab.wait_until_whole();
    let log = lab.host_file("b", "manager.log");
    let renewed = || read(&log).matches("the balancer's certificate is renewed").count();
    let already = renewed();
    // Long enough that the first one has ended.
    Load::of_seconds(12).run(&lab).assert_nobody_noticed();
    eventually("renewed twice and more", || (renewed() >= already + 2).then_some(()));
    assert_eq!(builds(&lab.wait_until_whole()), builds(&whole), "nothing was built anew for it");
    assert!(!read(&log).contains("has expired"), "{}", read(&log));
}

#[test]
fn a_cluster_with_certificates_bears_what_any_cluster_bears() {
    let lab = Lab::certified();
    let before = lab.cluster();
    // An order to one manager that another one carries out.
    let (holder, other) = if lab.holder() == "a-lb" { ("a", "b") } else { ("b", "a") };
    on(&lab, holder, &["switchover"]).ok();
    eventually("the other balancer holds the address", || {
        (lab.holder() == format!("{other}-lb")).then_some(())
    });
    on(&lab, holder, &["switchover", holder]).ok();
    eventually("it is back", || (lab.holder() == format!("{holder}-lb")).then_some(()));
    // Deaths: of the balancer with the address, of a manager, of a host.
    for fault in ["kill-lb", "kill-manager", "kill-host"] {
        lab.fault(&[fault]);
        let after = lab.wait_until_whole();
        assert_eq!(places(&after), places(&before), "{fault}");
    }
    // An address is no proof.
    let order =
        ["curl", "-s", "-w", " %{http_code}", "-X", "POST", "http://192.168.10.1:8080/vms/a-lb/replace"];
    let refused = lab.exec("b", &order).ok();
    assert!(refused.ends_with(" 401"), "{refused}");
}
