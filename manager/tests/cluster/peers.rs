//! Hosts that contradict each other are told of it by both managers, and by name.

use std::fs;

use crate::lab::{Lab, MANAGERS, host, read};
use crate::run::eventually;

/// Gives host b another configuration, as a person with an editor would.
pub(crate) fn reconfigure_b(lab: &Lab, old: &str, new: &str) {
    let path = lab.host_file("b", "manager.toml");
    let text = read(&path);
    assert!(text.contains(old), "{text}");
    fs::write(&path, text.replace(old, new)).expect("a file");
    lab.fault(&["stop-manager", "b"]);
    lab.fault(&["start-manager", "b"]);
}

#[test]
fn overlapping_address_pools_are_reported_by_both_managers() {
    let lab = Lab::start();
    reconfigure_b(&lab, "192.168.10.20-192.168.10.26", "192.168.10.16-192.168.10.26");
    for manager in MANAGERS {
        let view = eventually("the overlap is seen", || {
            let view = lab.view(manager)?;
            view.hosts.iter().any(|host| !host.warnings.is_empty()).then_some(view)
        });
        let own = host(&view, view.host.as_str());
        assert!(own.warnings.iter().any(|warning| warning.contains("192.168.10.16")), "{view:#?}");
        assert!(!view.whole);
        assert!(view.missing.iter().any(|reason| reason.contains("192.168.10.16")), "{view:#?}");
    }
    // Loudly, but clients are served, and it is over when it is mended.
    assert!(lab.get("http://192.168.10.120/random/number").contains("value"));
    reconfigure_b(&lab, "192.168.10.16-192.168.10.26", "192.168.10.20-192.168.10.26");
    lab.wait_until_whole();
}

#[test]
fn faults_can_be_ordered_only_where_chaos_is_allowed() {
    let lab = Lab::start();
    reconfigure_b(&lab, "chaos = true", "chaos = false");
    lab.wait_until_whole();
    let order = |manager: &str, machine: &str| {
        let url = format!("{manager}/vms/{machine}/fault");
        let words = ["curl", "-s", "-w", " %{http_code}", "--json", r#"{"fault":"stop-process"}"#, &url];
        lab.exec("a", &words).ok()
    };
    let refused = order(MANAGERS[1], "b-stateless-1");
    assert!(refused.ends_with(" 404") && refused.contains("\"detail\""), "{refused}");
    assert_eq!(order(MANAGERS[0], "a-stateless-1"), " 204");
}
