//! The manager's command line: what is typed or written wrongly ends with 2 and says where, what goes
//! wrong ends with 1 and says what to do.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::lab::{Lab, MANAGERS, program};
use crate::run::{Ended, PATIENCE, eventually, run_within};

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
        ("192.168.10.1\"", "192.168.10\"", "2:11", "an address such as"),
        ("[\"192.168.10.2\"]", "[\"192.168.10.1\"]", "3:10", "not its own peer"),
        ("10-192.168.10.16", "10-192.168.10.11", "6:16", "add 1"),
        ("10-192.168.10.16", "110-192.168.10.130", "6:16", "192.168.10.120, the address of a VIP"),
        ("192.168.10.10-", "192.168.10.1-", "6:16", "192.168.10.1, the address of"),
        ("10-192.168.10.16", "2-192.168.10.8", "6:16", "192.168.10.2, the address of a peer"),
        ("10-192.168.10.16", "10-192.168.10", "6:16", "expected an address, or a range"),
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

#[test]
fn people_and_programs_get_what_they_ask_for_in_the_form_they_ask_for_it() {
    let lab = Lab::start();
    let manager = program("manager");
    let ask = |words: &[&str]| {
        lab.exec("a", &[&[&manager, "--manager", "http://192.168.10.1:8080"], words].concat())
    };

    let status = ask(&["status", "-o", "wide"]).ok();
    assert!(status.contains("REASON") && status.contains("its heartbeats arrive"), "{status}");
    // Nobody's terminal: no colours, and nothing is cut to a width.
    assert!(!status.contains('\x1b'), "{status:?}");
    let yaml = ask(&["status", "-o", "yaml"]).ok();
    assert!(yaml.starts_with("---\nhost: a\nwhole: true\n"), "{yaml}");
    assert_eq!(ask(&["status", "--exit-code"]).code, Some(0));

    let top = ask(&["top", "--once"]).ok();
    assert!(top.contains("a-lb") && top.contains("b-stateless-2") && top.contains("REQ/S"), "{top}");
    let top: serde_json::Value =
        serde_json::from_str(&ask(&["top", "--once", "-o", "json"]).ok()).expect("JSON");
    assert_eq!(top.as_array().map(Vec::len), Some(2), "{top}");

    let events = ask(&["events", "-n", "1000", "-o", "json"]).ok();
    let events: Vec<wire::cluster::ClusterEvent> =
        events.lines().map(|line| serde_json::from_str(line).expect("an event a line")).collect();
    assert!(events.windows(2).all(|pair| pair[0].sequence + 1 == pair[1].sequence), "{events:?}");
    assert!(
        events.iter().any(|event| event.kind == "machine.ready" && event.subject == "a-lb"),
        "{events:?}"
    );
    assert_eq!(ask(&["events", "-n", "2"]).ok().lines().count(), 2);

    // What happened before is told first, then what happens; nothing in between is lost.
    let mut followed = std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/lab.sh"));
    let mut followed = followed
        .arg("exec")
        .arg(lab.path())
        .args([
            "a",
            &manager,
            "--manager",
            "http://192.168.10.1:8080",
            "events",
            "--follow",
            "-n",
            "1",
            "-o",
            "json",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(followed.stdout.take().expect("a pipe")));
    let mut next = || -> wire::cluster::ClusterEvent {
        serde_json::from_str(&lines.next().expect("another line").expect("text")).expect("an event")
    };
    let first = next();
    lab.fault(&["kill", "a-stateless-1"]);
    let mut last = first.sequence;
    loop {
        let event = next();
        assert_eq!(event.sequence, last + 1, "{event:?}");
        last = event.sequence;
        if event.kind == "machine.ready" && event.subject == "a-stateless-1" {
            break;
        }
    }
    let _ = followed.kill();
    let _ = followed.wait();
}

#[test]
fn a_cluster_that_misses_something_says_so_by_its_exit_code() {
    let lab = Lab::start();
    let manager = program("manager");
    // The balancer that holds the address serves on without its manager: the other one still hears it.
    let (lost, asked) = if lab.holder() == "a-lb" { ("a", 1) } else { ("b", 0) };
    let code = || {
        let words = [&manager, "--manager", MANAGERS[asked], "status", "--exit-code"];
        lab.exec("client", &words).code
    };
    assert_eq!(code(), Some(0));
    lab.fault(&["stop-manager", lost]);
    eventually("something is missing", || (code() == Some(3)).then_some(()));
    assert_eq!(lab.view(MANAGERS[asked]).map(|view| view.vips[0].holders.len()), Some(1));
    lab.fault(&["start-manager", lost]);
    eventually("nothing is missing", || (code() == Some(0)).then_some(()));
}

#[test]
fn what_somebody_who_helps_gets_has_no_secrets_in_it() {
    let directory = TempDir::new().expect("a directory");
    let lab = Lab::start();
    let manager = program("manager");
    let file = directory.path().join("dump.tar.gz");
    let file = file.to_str().expect("a plain name");
    let words = [&manager, "--manager", "http://192.168.10.1:8080", "support-dump", file];
    lab.exec("a", &words).ok();
    let list = run_within(Command::new("tar").args(["tzf", file]), PATIENCE).ok();
    for name in
        ["cluster.json", "events-history.json", "metrics.txt", "console/a-lb.log", "host/ip-route.txt"]
    {
        assert!(list.contains(&format!("holdfast/{name}\n")), "{name} is not in {list}");
    }
    let all = run_within(Command::new("tar").args(["xzOf", file]), PATIENCE).ok();
    assert!(!all.contains("PRIVATE KEY"), "a key was given away");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    // It never overwrites what is there.
    let again = lab.exec("a", &words);
    assert_eq!(again.code, Some(2), "{again:?}");
}

#[test]
fn shells_and_man_are_told_of_every_command() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().to_str().expect("a plain name");
    for shell in ["bash", "zsh", "fish"] {
        let script = manager(&["completions", shell]).ok();
        assert!(script.contains("support-dump"), "{shell}");
    }
    manager(&["man", path]).ok();
    let page = fs::read_to_string(directory.path().join("manager-vm-create.1")).expect("a page");
    assert!(page.contains("service"), "{page}");
    assert!(!directory.path().join("manager-namespace-machine.1").exists(), "that is nobody's to type");
    let nowhere = manager(&["man", "/proc/nowhere"]);
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
    let typo = manager(&["statsu"]);
    assert!(typo.code == Some(2) && typo.stderr.contains("'status'"), "{typo:?}");
}

#[test]
fn a_drained_machine_gets_nothing_new_until_that_is_taken_back() {
    let lab = Lab::start();
    let manager = program("manager");
    let ask = |words: &[&str]| lab.exec("a", &[&[&manager, "--manager", MANAGERS[0]], words].concat());
    // The state in which each balancer has it, and how many requests it was sent in all.
    let seen = || -> (Vec<String>, u64) {
        let top: serde_json::Value =
            serde_json::from_str(&ask(&["top", "--once", "-o", "json"]).ok()).expect("JSON");
        let all =
            top.as_array().expect("a list").iter().flat_map(|one| one["traffic"]["upstreams"].as_array());
        let rows =
            all.flatten().filter(|row| row["id"].as_str().is_some_and(|id| id.starts_with("a-stateless-1.")));
        let rows: Vec<_> = rows.cloned().collect();
        let states = rows.iter().filter_map(|row| Some(row["state"].as_str()?.to_owned())).collect();
        (states, rows.iter().filter_map(|row| row["requests"].as_u64()).sum())
    };
    let is = |state: &str| eventually(state, || (seen().0 == [state, state]).then_some(()));

    assert!(ask(&["drain", "a-stateless-1"]).ok().contains("undrain"), "it says how to take it back");
    is("draining");
    let before = seen().1;
    let load = [
        "http://192.168.10.120/random/number",
        "--rate",
        "100",
        "--duration",
        "2s",
        "--require",
        "availability>=100",
    ];
    lab.exec("client", &[&[program("loadtest").as_str()], &load[..]].concat()).ok();
    assert_eq!(seen().1, before, "it was sent something");

    // It is no passing whim of one process.
    lab.fault(&["stop-manager", "a"]);
    lab.fault(&["start-manager", "a"]);
    let view = lab.wait_until_whole();
    assert!(crate::lab::machine(&view, "a-stateless-1").drained, "{view:?}");
    is("draining");
    assert!(ask(&["status"]).ok().contains("drained"));

    ask(&["undrain", "a-stateless-1"]).ok();
    is("up");
    let refused = ask(&["drain", "a-lb"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("switchover"), "{refused:?}");
    assert_eq!(ask(&["drain", "nobody"]).code, Some(1));
}
