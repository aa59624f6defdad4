//! Names that come, go and are not answered for, in a mount namespace that has files of its own for the resolver.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::process::{Ended, Run, run, scratch, start_in};
use crate::truth::Truth;

/// Starts the program where names are looked up by `switch` with these files, after `first` was done there.
fn start_with(files: [(&Path, &str); 3], first: &str, network: &[&str], options: &[&str]) -> Run {
    let binds = files.map(|(file, place)| format!("mount --bind {} {place}", file.display())).join(" && ");
    let script = format!("{binds} && {first} && exec \"$@\"");
    let mut words = vec!["unshare", "--mount"];
    if !nix::unistd::geteuid().is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    words.extend(network);
    words.extend(["sh", "-ec", &script, "sh"]);
    start_in(&words, options)
}

fn written(text: &str) -> std::path::PathBuf {
    let file = scratch("resolver");
    fs::write(&file, text).unwrap();
    file
}

fn finish(run: Run, files: [&Path; 3]) -> Ended {
    let ended = run.wait();
    for file in files {
        fs::remove_file(file).unwrap();
    }
    ended
}

#[test]
fn a_name_that_goes_away_for_a_while_fails_for_exactly_so_long() {
    let truth = Truth::ok();
    let port = truth.url.rsplit(':').next().unwrap();
    let url = format!("http://service.test:{port}/");
    let named = "127.0.0.1 service.test\n";
    let (hosts, switch, resolver) = (written(named), written("hosts: files\n"), written(""));
    let places = [
        (hosts.as_path(), "/etc/hosts"),
        (switch.as_path(), "/etc/nsswitch.conf"),
        (resolver.as_path(), "/etc/resolv.conf"),
    ];
    let broken = format!(
        "exec:sed -n p {0} >{0}.all; : >{0}; sleep 1; cat {0}.all >{0}; rm {0}.all @500ms",
        hosts.display()
    );
    let options = [
        &url,
        "--rate",
        "100",
        "--duration",
        "2500ms",
        "--look-up-each",
        "--fresh",
        "--fault",
        &broken,
        "--timeout",
        "1s",
    ];
    let ended = finish(start_with(places, ":", &[], &options), [&hosts, &switch, &resolver]);
    let report = ended.expect(0);
    let lost = report["failed_by_kind"]["dns"].as_u64().unwrap_or_default();
    assert!((80..=150).contains(&lost), "{lost} of 100: {report}");
    assert_eq!((&report["failed"], &report["faults"][0]["failed"]), (&json!(lost), &json!(lost)), "{report}");
    let outage = report["longest_outage_ms"].as_f64().unwrap();
    assert!((900.0..1600.0).contains(&outage), "{outage} ms");

    // Without it the name is looked up once, and its going away is nobody's concern.
    let ended = run(
        &format!("http://localhost:{port}/"),
        &["--rate", "50", "--duration", "200ms", "--look-up-each", "--fresh"],
    );
    assert_eq!(ended.expect(0)["failed_by_kind"], json!({}));
}

#[test]
fn a_resolver_that_says_nothing_is_a_dns_failure_and_no_connect_timeout() {
    let (hosts, switch, resolver) = (
        written("192.0.2.9 service.test\n"),
        written("hosts: files dns\n"),
        written("nameserver 192.0.2.1\n"),
    );
    let places = [
        (hosts.as_path(), "/etc/hosts"),
        (switch.as_path(), "/etc/nsswitch.conf"),
        (resolver.as_path(), "/etc/resolv.conf"),
    ];
    // Nobody is at the other end of the cable.
    let silent = "ip link add void type veth peer name hole && ip link set hole up && ip address add 192.0.2.2/24 dev void && ip link set void up";
    let gone = format!("exec:: >{} @100ms", hosts.display());
    let options = [
        "http://service.test/",
        "--rate",
        "20",
        "--duration",
        "1s",
        "--look-up-each",
        "--fresh",
        "--timeout",
        "500ms",
        "--fault",
        &gone,
        "--fault-timeout",
        "1500ms",
    ];
    let ended = finish(start_with(places, silent, &["--net"], &options), [&hosts, &switch, &resolver]);
    // It has not recovered: nobody ever answered.
    let kinds: &Value = &ended.expect(1)["failed_by_kind"];
    assert!(kinds["dns"].as_u64().unwrap_or_default() >= 10, "{kinds}");
    let silent = kinds["connect-timeout"].as_u64().unwrap_or_default();
    assert!(silent <= 8, "those that still had an address: {kinds}");
    assert_eq!(ended.json["succeeded"], 0);
}
