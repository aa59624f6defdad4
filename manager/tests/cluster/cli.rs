//! The manager's command line: what is typed or written wrongly ends with 2 and says where, what goes
//! wrong ends with 1 and says what to do.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::lab::{Lab, program};
use crate::run::{Ended, PATIENCE, run_within};

const VALID: &str = r#"name = "a"
address = "192.168.10.1"
peers = ["192.168.10.2"]
gateway = "192.168.10.1"
hypervisor = "namespaces"
address_pool = ["192.168.10.10-192.168.10.16"]

[[vip]]
address = "192.168.10.120"
vrid = 50
role = "master"

[[service]]
name = "stateless"
replicas = 2
"#;

fn manager(words: &[&str]) -> Ended {
    run_within(Command::new(program("manager")).args(words).env_remove("HOLDFAST_MANAGER"), PATIENCE)
}

/// Checks the valid configuration with `old` replaced by `new`.
fn check(directory: &TempDir, old: &str, new: &str) -> (Ended, String) {
    let path = directory.path().join("manager.toml");
    assert!(VALID.contains(old));
    fs::write(&path, VALID.replacen(old, new, 1)).expect("a file");
    let path = path.display().to_string();
    (manager(&["--config", &path, "run", "--check"]), path)
}

#[test]
fn a_bad_configuration_is_refused_with_its_place() {
    let directory = TempDir::new().expect("a directory");
    let (valid, _) = check(&directory, "", "");
    assert!(valid.ok().contains("valid"));
    for (old, new, place, said) in [
        ("hypervisor", "hypervizor", "5:1", "did you mean `hypervisor`?"),
        ("\"namespaces\"", "\"xen\"", "5:14", "namespaces"),
        ("\"a\"", "\"Host A\"", "1:8", "lower-case"),
        ("192.168.10.1\"", "192.168.10\"", "2:11", "IPv4"),
        ("[\"192.168.10.2\"]", "[\"192.168.10.1\"]", "3:10", "not its own peer"),
        ("10-192.168.10.16", "10-192.168.10.11", "6:16", "add 1"),
        ("10-192.168.10.16", "110-192.168.10.130", "6:16", "192.168.10.120, the address of a VIP"),
        ("192.168.10.10-", "192.168.10.1-", "6:16", "192.168.10.1, the address of"),
        ("10-192.168.10.16", "2-192.168.10.8", "6:16", "192.168.10.2, the address of a peer"),
        ("10-192.168.10.16", "10-192.168.10", "6:16", "expected an IPv4 address or a range"),
        ("vrid = 50", "vrid = 0", "10:8", "1 to 255"),
        ("vrid = 50", "vrid = 500", "10:8", "500"),
        ("\"master\"", "\"boss\"", "11:8", "master"),
        ("replicas = 2", "replicas = -2", "15:12", "-2"),
        ("replicas = 2\n", "replicas = 2\nreplica = 3\n", "16:1", "did you mean `replicas`?"),
        ("name = \"stateless\"", "name = \"lb\"", "14:8", "choose another"),
        ("name = \"a\"\n", "", "", "name"),
        ("role", "role =", "11:", ""),
    ] {
        let (ended, path) = check(&directory, old, new);
        assert_eq!(ended.code, Some(2), "{new}: {ended:?}");
        let place = format!("manager: {path}:{place}");
        assert!(ended.stderr.starts_with(&place), "{place} is not where {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{said:?} is not in {}", ended.stderr);
    }
    let missing = manager(&["--config", "/nowhere/manager.toml", "run"]);
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.contains("/nowhere/manager.toml: cannot be read"), "{missing:?}");
}

#[test]
fn what_is_typed_wrongly_ends_with_2_and_what_fails_with_1() {
    for words in [
        &["fly"][..],
        &["vm"],
        &["vm", "create"],
        &["vm", "delete"],
        &["--output", "xml", "status"],
        &["--manager", "not a url", "status"],
    ] {
        let ended = manager(words);
        assert_eq!(ended.code, Some(2), "{words:?}: {ended:?}");
        assert!(!ended.stderr.is_empty() && ended.stdout.is_empty(), "{words:?}: {ended:?}");
    }
    // Nobody listens there.
    let ended = manager(&["--manager", "http://127.0.0.1:9", "status"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("http://127.0.0.1:9") && ended.stderr.contains("--manager"), "{ended:?}");
}

#[test]
fn a_host_that_cannot_be_run_is_told_how_to_mend_it() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("manager.toml");
    let state = directory.path().join("state");
    let text = VALID
        .replace("address = \"192.168.10.1\"", "address = \"198.51.100.7\"")
        .replace("192.168.10.1", "198.51.100.1")
        .replace(
            "hypervisor",
            &format!(
                "bridge = \"nobridge0\"\nprograms = \"/nowhere\"\nstate_dir = \"{}\"\nhypervisor",
                state.display()
            ),
        );
    fs::write(&path, text).expect("a file");
    let path = path.to_str().expect("a plain name");
    let ended = manager(&["--config", path, "check"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for remedy in [
        "ok    configuration",
        "FAIL  address: 198.51.100.7 is not an address of this host",
        "ip address add 198.51.100.7/24 dev nobridge0",
        "FAIL  bridge: there is no bridge `nobridge0`: ip link add nobridge0 type bridge",
        "ok    state directory",
        "FAIL  programs: missing: /nowhere/lb, /nowhere/stateless",
    ] {
        assert!(ended.stdout.contains(remedy), "{remedy:?} is not in {}", ended.stdout);
    }
    assert!(ended.stderr.contains("checks failed"), "{ended:?}");
    // Nor does it start, and it says why.
    let ended = manager(&["--config", path, "run"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("198.51.100.7:8080"), "{ended:?}");
}

#[test]
fn the_command_line_tells_people_and_programs_the_same() {
    let lab = Lab::start();
    let manager = program("manager");
    let ask = |words: &[&str]| {
        let all = [&[manager.as_str(), "--manager", "http://192.168.10.1:8080"], words].concat();
        lab.exec("a", &all)
    };
    let status = ask(&["status"]).ok();
    for told in [
        &format!("VIP 192.168.10.120 is held by {}", lab.holder()),
        "a-stateless-1",
        "192.168.10.22",
        "The cluster is whole.",
    ] {
        assert!(status.contains(told), "{told:?} is not in {status}");
    }
    let list = ask(&["vm", "list"]).ok();
    assert!(list.contains("a-stateless-2") && !list.contains("b-stateless-2"), "its own machines: {list}");
    let machines: Vec<wire::cluster::MachineView> =
        serde_json::from_str(&ask(&["vm", "list", "-o", "json"]).ok()).expect("JSON");
    assert_eq!(machines.len(), 3);
    assert!(ask(&["vm", "logs", "a-stateless-1"]).ok().contains("serving"));

    for (words, said) in [
        (&["vm", "create", "web"][..], "there is no service `web`"),
        (&["vm", "delete", "a-lb"], "cannot be deleted"),
        (&["vm", "delete", "nobody"], "there is no machine `nobody`"),
        (&["vm", "logs", "nobody"], "there is no machine `nobody`"),
    ] {
        let ended = ask(words);
        assert_eq!(ended.code, Some(1), "{words:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{words:?}: {ended:?}");
    }
    // On the host itself the file says where the manager is.
    let config = lab.host_file("a", "manager.toml").display().to_string();
    assert!(lab.exec("a", &[&manager, "--config", &config, "status"]).ok().contains("is whole"));
    let checked = lab.exec("a", &[&manager, "--config", &config, "check"]).ok();
    assert!(!checked.contains("FAIL"), "{checked}");
}
