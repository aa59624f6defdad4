//! Every command of the manager, typed wrongly: it ends with 2 and says what was expected; where nobody answers or nothing
//! can be written, it ends with 1 and says what to do.

#![allow(clippy::expect_used)] // helpers of tests; the configuration knows only tests themselves

#[allow(dead_code)] // shared with the tests of clusters
#[path = "../cluster/run.rs"]
mod run;

use std::collections::BTreeSet;
use std::process::Command;

use tempfile::TempDir;

use run::{Ended, PATIENCE, run_within};

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:9";

/// What is typed, how it ends and with which words. `{}` is a directory with a broken and a good configuration.
#[rustfmt::skip]
const TABLE: &[(&[&str], i32, &str)] = &[
    (&[], 2, "Usage: manager"),
    (&["fly"], 2, "unrecognized subcommand 'fly'"),
    (&["statsu"], 2, "a similar subcommand exists: 'status'"),
    (&["run", "--nosuch"], 2, "unexpected argument '--nosuch'"),
    (&["run", "--config", "/nowhere/manager.toml"], 2, "/nowhere/manager.toml: cannot be read"),
    (&["run", "--config", "{}/bad.toml"], 2, "did you mean `hypervisor`?"),
    (&["check", "--config", "{}/bad.toml"], 2, "did you mean `hypervisor`?"),
    (&["check", "more"], 2, "unexpected argument 'more'"),
    (&["init", "--config", "{}/bad.toml"], 2, "did you mean `hypervisor`?"),
    (&["init", "--recertfy"], 2, "a similar argument exists: '--recertify'"),
    (&["token", "--ttl", "15"], 2, "'15' for '--ttl <TTL>'"),
    (&["token", "--config", "{}/good.toml"], 1, "manager init"),
    (&["join"], 2, "<ADDRESS>"),
    (&["join", "192.168.10.1"], 2, "<TOKEN>"),
    (&["join", "192.168.10.1", "nonsense", "--config", "{}/good.toml"], 2, "manager token"),
    (&["revoke"], 2, "<HOST>"),
    (&["revoke", "b", "--config", "{}/good.toml"], 1, "manager init"),
    (&["plan"], 2, "Usage: manager plan"),
    (&["plan", "vips"], 2, "--traffic <RATE>"),
    (&["plan", "vips", "--traffic", "1.5GB", "--link", "1Gbit"], 2, "expected a rate above 0"),
    (&["plan", "vips", "--traffic", "1.5Gbit", "--link", "0Gbit"], 2, "expected a rate above 0"),
    (&["plan", "vips", "--traffic", "1Gbit", "--link", "1Gbit", "--balancers", "many"], 2, "from 1 to 64, or `free`"),
    (&["plan", "vips", "--traffic", "1Gbit", "--link", "1Gbit", "--fill", "101"], 2, "101 is not in 1..=100"),
    (&["plan", "vips", "--traffic", "1Gbit", "--link", "1Gbit", "--survive", "64"], 2, "64 is not in 0..64"),
    (&["plan", "vips", "--traffic", "1Gbit", "--link", "1Gbit", "--balancers", "1"], 2, "nobody is left"),
    (&["plan", "vips", "--traffic", "1.5Gbit", "--link", "1Gbit", "--balancers", "2"], 1, "3 are enough"),
    (&["status", "--manager", "nowhere"], 2, "expected http:// or https://"),
    (&["status", "--manager", "ftp://127.0.0.1"], 2, "expected http:// or https://"),
    (&["status", "--exit-code", "--watch"], 2, "cannot be used with"),
    (&["status", "-o", "xml"], 2, "possible values: table, wide, json, yaml"),
    (&["status", "--config", "/nowhere/manager.toml"], 2, "--manager http://ADDRESS:PORT"),
    (&["top", "--once", "--watch"], 2, "cannot be used with"),
    (&["vm"], 2, "Usage: manager vm"),
    (&["vm", "lst"], 2, "a similar subcommand exists: 'list'"),
    (&["vm", "list", "more"], 2, "unexpected argument 'more'"),
    (&["vm", "create"], 2, "<SERVICE>"),
    (&["vm", "delete"], 2, "<ID>"),
    (&["vm", "replace"], 2, "<ID>"),
    (&["vm", "logs"], 2, "<ID>"),
    (&["vm", "console"], 2, "<ID>"),
    (&["drain"], 2, "<ID>"),
    (&["undrain"], 2, "<ID>"),
    (&["service"], 2, "Usage: manager service"),
    (&["service", "ls", "more"], 2, "unexpected argument 'more'"),
    (&["service", "show"], 2, "<NAME>"),
    (&["service", "apply"], 2, "<FILE>"),
    (&["service", "apply", "/nowhere/service.toml", "--manager", NOBODY], 2, "/nowhere/service.toml: cannot be read"),
    (&["service", "apply", "{}/bad.toml", "--manager", NOBODY], 2, "expected at least one [[service]]"),
    (&["service", "rm"], 2, "<NAME>"),
    (&["image"], 2, "Usage: manager image"),
    (&["image", "roll", "--step-timeout", "0"], 2, "0 is not in 1.."),
    (&["switchover", "--vip", "here"], 2, "'here' for '--vip <ADDRESS>'"),
    (&["switchover", "--from", "a", "--vip", "10.0.0.1"], 2, "cannot be used with"),
    (&["switchover", "--timeout", "10"], 2, "'10' for '--timeout <TIME>'"),
    (&["access"], 2, "Usage: manager access"),
    (&["access", "create", "x"], 2, "--scope <SCOPE>"),
    (&["access", "create", "x", "--scope", "root"], 2, "read, operate"),
    (&["access", "create", "x", "--scope", "read", "--expires", "7"], 2, "'7' for '--expires <TIME>'"),
    (&["access", "list", "more"], 2, "unexpected argument 'more'"),
    (&["access", "revoke"], 2, "<NAME>"),
    (&["audit", "-n", "many"], 2, "'many' for '--count <N>'"),
    (&["maintenance"], 2, "Usage: manager maintenance"),
    (&["maintenance", "on", "--for", "1"], 2, "'1' for '--for <TIME>'"),
    (&["maintenance", "off", "now"], 2, "unexpected argument 'now'"),
    (&["maintenance", "show", "now"], 2, "unexpected argument 'now'"),
    (&["events", "-n", "-1"], 2, "unexpected argument '-1'"),
    (&["events", "--folow"], 2, "a similar argument exists: '--follow'"),
    (&["forget"], 2, "<HOST>"),
    (&["support-dump", "a", "b"], 2, "unexpected argument 'b'"),
    (&["completions", "bsh"], 2, "a similar value exists: 'bash'"),
    (&["man"], 2, "<DIRECTORY>"),
    (&["man", "{}/good.toml"], 1, "name another directory"),
];

/// What asks a manager, as it is typed well; but `support-dump`, which writes what there is without one.
const ASKING: &[&[&str]] = &[
    &["status"],
    &["top", "--once"],
    &["vm", "list"],
    &["vm", "create", "stateless"],
    &["vm", "delete", "a-stateless-1"],
    &["vm", "replace", "a-stateless-1"],
    &["vm", "logs", "a-stateless-1"],
    &["vm", "console", "a-stateless-1"],
    &["drain", "a-stateless-1"],
    &["undrain", "a-stateless-1"],
    &["service", "ls"],
    &["service", "show", "shop"],
    &["service", "rm", "shop"],
    &["image", "roll", "--all", "--yes"],
    &["switchover"],
    &["access", "list"],
    &["access", "create", "x", "--scope", "read"],
    &["access", "revoke", "x"],
    &["audit"],
    &["maintenance", "on"],
    &["maintenance", "off"],
    &["maintenance", "show"],
    &["events"],
    &["forget", "b"],
];

const GOOD: &str = "name = \"a\"\naddress = \"192.168.10.1\"\npeers = [\"192.168.10.2\"]\ngateway = \"192.168.10.1\"\n\
    hypervisor = \"namespaces\"\naddress_pool = [\"192.168.10.10-192.168.10.16\"]\n";

fn manager(words: &[&str]) -> Ended {
    let mut manager = Command::new(env!("CARGO_BIN_EXE_manager"));
    for name in ["HOLDFAST_MANAGER", "HOLDFAST_CONFIG", "HOLDFAST_TOKEN", "HOLDFAST_CA"] {
        manager.env_remove(name);
    }
    run_within(manager.args(words), PATIENCE)
}

#[test]
fn what_is_typed_wrongly_is_refused_with_what_was_expected() {
    let directory = TempDir::new().expect("a directory");
    let place = directory.path().to_str().expect("a plain name");
    let good = format!("{GOOD}state_dir = \"{place}/state\"\n");
    std::fs::write(directory.path().join("good.toml"), &good).expect("written");
    std::fs::write(directory.path().join("bad.toml"), good.replace("hypervisor", "hypervizor"))
        .expect("written");
    let mut wrong = Vec::new();
    for (words, code, said) in TABLE {
        let words: Vec<_> = words.iter().map(|word| word.replace("{}", place)).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let Ended { code: found, stdout, stderr } = manager(&words);
        if found != Some(*code) || !stderr.contains(said) || !stdout.is_empty() {
            wrong.push(format!("{words:?}: {found:?} instead of {code}, and {said:?} in {stderr}{stdout}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn who_asks_where_nobody_answers_is_told_where_that_was_and_what_to_do() {
    let mut wrong = Vec::new();
    for words in ASKING {
        let words = [*words, &["--manager", NOBODY]].concat();
        let Ended { code, stdout, stderr } = manager(&words);
        if code != Some(1)
            || !stderr.contains("127.0.0.1:9")
            || !stderr.contains("--manager")
            || !stdout.is_empty()
        {
            wrong.push(format!("{words:?}: {code:?} {stderr}{stdout}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_calculator_answers_for_a_fixed_and_for_a_free_number_of_balancers() {
    let plan = |more: &[&str]| -> serde_json::Value {
        let words = ["plan", "vips", "--traffic", "1.5Gbit", "--link", "1Gbit", "--survive", "1"];
        let said = manager(&[&words, more].concat()).ok();
        if more.contains(&"json") { serde_json::from_str(&said).expect("JSON") } else { said.into() }
    };
    for (balancers, count, addresses) in [("free", 3, 6), ("3", 3, 6), ("4", 4, 4)] {
        let answer = &plan(&["--balancers", balancers, "-o", "json"])["answer"];
        assert_eq!(
            (&answer["balancers"], &answer["addresses"]),
            (&count.into(), &addresses.into()),
            "{answer}"
        );
        assert_eq!(answer["after"][0]["bits_per_second"], 750_000_000, "{answer}");
    }
    let full = plan(&["--balancers", "3", "--fill", "100", "-o", "json"]);
    assert_eq!(full["answer"]["addresses"], 3, "{full}");
    assert_eq!(full["answer"]["after"][0]["bits_per_second"], 1_000_000_000, "{full}");
    let text = plan(&[]).to_string();
    for said in
        ["3 balancers with 6 public addresses, 2 on each", "2 balancers carry 750.00 Mbit/s (3 addresses)"]
    {
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn each_command_is_typed_wrongly_above() {
    let directory = TempDir::new().expect("a directory");
    let place = directory.path().to_str().expect("a plain name");
    manager(&["man", place]).ok();
    let pages = std::fs::read_dir(place).expect("pages").map(|page| page.expect("a page").file_name());
    let pages = pages.map(|page| page.into_string().expect("text"));
    let commands: BTreeSet<String> = pages
        .filter_map(|page| Some(page.strip_prefix("manager-")?.strip_suffix(".1")?.to_owned()))
        .filter(|command| !command.ends_with("help") && !command.contains("help-"))
        .collect();
    let typed: BTreeSet<String> = TABLE
        .iter()
        .flat_map(|(words, ..)| {
            (1..=2).map(|count| words.iter().take(count).copied().collect::<Vec<_>>().join("-"))
        })
        .collect();
    let missing: Vec<_> = commands.difference(&typed).collect();
    assert!(commands.len() > 25 && missing.is_empty(), "commands that no row types wrongly: {missing:?}");
}
