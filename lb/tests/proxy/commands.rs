//! Every command of the balancer, typed wrongly: it ends with 2 and says what was expected; what cannot be done ends with 1.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// What is typed, and how it ends and with which words. `{}` is a directory with a broken settings file in it.
const TABLE: &[(&[&str], i32, &str)] = &[
    (&[], 2, "Usage: lb <COMMAND>"),
    (&["rum"], 2, "a similar subcommand exists: 'run'"),
    (&["--nosuch"], 2, "unexpected argument '--nosuch'"),
    (&["run", "--nosuch"], 2, "unexpected argument '--nosuch'"),
    (&["run", "--confg", "x"], 2, "a similar argument exists: '--config'"),
    (&["run", "--config"], 2, "a value is required for '--config <CONFIG>'"),
    (&["run", "more"], 2, "unexpected argument 'more'"),
    (&["run", "--config", "/nowhere/lb.toml"], 2, "/nowhere/lb.toml: cannot be read"),
    (&["run", "--config", "/"], 2, "/: cannot be read"),
    (&["run", "--check", "--config", "{}/lb.toml"], 2, "did you mean `listen`?"),
    (&["run", "--config", "{}/lb.toml"], 2, "lb.toml:3:1: unknown field `listn`"),
    (&["proxy", "--config", "{}/lb.toml"], 2, "lb.toml:3:1: unknown field `listn`"),
    (
        &["proxy", "--config", "{}/good.toml", "--state-dir", "/proc/nowhere"],
        1,
        "state_dir /proc/nowhere cannot be used",
    ),
    (&["proxy", "--supervised", "--config", "{}/lb.toml"], 2, "--state-dir"),
    (&["vip", "--config", "{}/lb.toml"], 2, "lb.toml:3:1: unknown field `listn`"),
    (&["vip", "--config", "{}/good.toml", "--stat-dir", "x"], 2, "a similar argument exists: '--state-dir'"),
    (&["connections", "--config", "{}/lb.toml"], 2, "lb.toml:3:1: unknown field `listn`"),
    (&["connections", "--list"], 2, "unexpected argument '--list'"),
    (
        &["connections", "--config", "{}/silent.toml"],
        1,
        "nobody answers at 127.0.0.1:1: does the balancer run?",
    ),
    (&["completions"], 2, "<SHELL>"),
    (&["completions", "bsh"], 2, "a similar value exists: 'bash'"),
    (&["man"], 2, "<DIRECTORY>"),
    (&["man", "/proc/nowhere"], 1, "cannot write to /proc/nowhere; name another directory"),
    (&["man", "{}/lb.toml"], 1, "name another directory"),
];

fn lb(words: &[&str]) -> std::process::Output {
    let mut lb = Command::new(env!("CARGO_BIN_EXE_lb"));
    lb.args(words).stdin(Stdio::null()).output().expect("lb starts")
}

#[test]
fn what_is_typed_wrongly_is_refused_with_what_was_expected() {
    let directory = TempDir::new().expect("a directory");
    let place = directory.path().to_str().expect("a plain name");
    let good = "machine = \"m\"\naddress = \"127.0.0.1\"\n";
    std::fs::write(directory.path().join("good.toml"), good).expect("written");
    std::fs::write(directory.path().join("silent.toml"), format!("{good}admin_port = 1\n")).expect("written");
    std::fs::write(directory.path().join("lb.toml"), format!("{good}listn = 1\n")).expect("written");
    for (words, code, said) in TABLE {
        let words: Vec<_> = words.iter().map(|word| word.replace("{}", place)).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let output = lb(&words);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{words:?}: {stderr}");
        assert!(stderr.contains(said) && output.stdout.is_empty(), "{words:?}: {said:?} is not in {stderr}");
    }
}

#[test]
fn the_log_is_text_or_json_and_says_what_it_could_not_understand() {
    let log = |format: &str, filter: &str| {
        let mut lb = Command::new(env!("CARGO_BIN_EXE_lb"));
        lb.args(["completions", "bash"]).env("HOLDFAST_LOG_FORMAT", format).env("RUST_LOG", filter);
        let output = lb.stdin(Stdio::null()).output().expect("lb starts");
        assert!(output.status.success(), "it runs all the same: {output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    assert_eq!(log("json", "info"), "");
    let line: serde_json::Value = serde_json::from_str(&log("json", "lb=loud")).expect("JSON");
    assert_eq!(line["level"], "WARN");
    assert!(line["message"].as_str().expect("text").starts_with("RUST_LOG: "), "{line}");
    assert!(line["timestamp"].is_string(), "{line}");
    let line = log("jsn", "");
    assert!(
        line.contains("WARN") && line.contains("did you mean `json`?") && line.lines().count() == 1,
        "{line}"
    );
}

#[test]
fn each_command_is_typed_wrongly_above_has_a_page_and_is_completed() {
    let directory = TempDir::new().expect("a directory");
    let place = directory.path().to_str().expect("a plain name");
    assert!(lb(&["man", place]).status.success());
    let pages = std::fs::read_dir(place).expect("pages").map(|page| page.expect("a page").file_name());
    let pages = pages.map(|page| page.into_string().expect("text"));
    let commands: BTreeSet<String> = pages
        .filter_map(|page| Some(page.strip_prefix("lb-")?.strip_suffix(".1")?.to_owned()))
        .filter(|command| command != "help")
        .collect();
    let typed = TABLE.iter().filter_map(|(words, ..)| words.first()).map(|word| (*word).to_owned());
    let missing: Vec<_> = commands.difference(&typed.collect()).cloned().collect();
    assert!(!commands.is_empty() && missing.is_empty(), "commands that no row types wrongly: {missing:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = String::from_utf8(lb(&["completions", shell]).stdout).expect("text");
        for command in &commands {
            assert!(script.contains(command.as_str()), "{command} in {shell}");
        }
    }
}
