//! Faults that loadtest orders from the managers of an initialised cluster: it has to prove that it may, as everybody.

use std::fs;
use std::time::Duration;

use crate::lab::{Lab, MANAGERS, VIP, program};
use crate::manager;
use crate::run::Ended;

fn loadtest(lab: &Lab, from: &str, words: &[&str]) -> Ended {
    let (program, url) = (program("loadtest"), format!("http://{VIP}/random/number"));
    let load = [program.as_str(), &url, "--rate", "20", "--duration", "1s", "--fault-timeout", "30s"];
    let fault = ["--fault", "kill a-stateless-1 @100ms"];
    lab.exec_within(from, &[&load[..], words, &fault].concat(), Duration::from_secs(90))
}

#[test]
fn loadtest_shows_a_token_or_uses_the_socket() {
    let lab = Lab::certified();
    let refused = loadtest(&lab, "client", &["--manager", MANAGERS[0]]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("401") && said.contains("--token-file"), "{said}");

    let file = lab.host_file("a", "token");
    fs::write(&file, manager(&lab, "a", &["access", "create", "load", "--scope", "chaos"]).ok())
        .expect("written");
    let (file, ca) =
        (file.display().to_string(), lab.host_file("a", "state/pki/ca.pem").display().to_string());
    let by_tls = ["--manager", "https://192.168.10.1:8443", "--ca", &ca, "--token-file", &file];
    let done = loadtest(&lab, "client", &by_tls);
    assert_eq!(done.code, Some(0), "{done:?}");
    // Never in plain sight.
    let kept = loadtest(&lab, "client", &["--manager", MANAGERS[0], "--token-file", &file]);
    assert_eq!(kept.code, Some(2), "{kept:?}");
    assert!(kept.stderr.contains("https://192.168.10.1:8443"), "{kept:?}");

    lab.wait_until_whole();
    let socket = format!("unix:{}", lab.host_file("a", "state/manager.sock").display());
    let done = loadtest(&lab, "a", &["--manager", &socket]);
    assert_eq!(done.code, Some(0), "{done:?}");
}
