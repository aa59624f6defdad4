//! Every command and option of the load tester, typed wrongly: it ends with 2 and says what was expected, and sends nothing.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

/// Nobody is asked there, as nothing comes that far.
const URL: &str = "http://127.0.0.1:9/";

/// What is typed, and with which words it is refused.
#[rustfmt::skip]
const TABLE: &[(&[&str], &str)] = &[
    (&[], "required arguments were not provided:\n  <URL>"),
    (&["nonsense"], "http://"),
    (&["report"], "<FILE>"),
    (&["report", "/nowhere/run.json"], "/nowhere/run.json: cannot be opened"),
    (&["report", "Cargo.toml"], "Cargo.toml"),
    (&["report", "--txt", "x"], "a similar argument exists: '--text'"),
    (&["compare", "one"], "<AFTER>"),
    (&["compare", "/nowhere/1", "/nowhere/2"], "/nowhere/1: cannot be opened"),
    (&["compare", "a", "b", "--tolerance", "-1"], "0 to 100"),
    (&["compare", "a", "b", "--output", "yaml"], "possible values: table, json"),
    (&["completions", "bsh"], "a similar value exists: 'bash'"),
    (&["man"], "<DIRECTORY>"),
    (&["man", "Cargo.toml"], "name another directory"),
    (&[URL, "--nosuch"], "unexpected argument '--nosuch'"),
    (&[URL, "--rat", "5"], "a similar argument exists: '--rate'"),
    (&["--scenario", "/nowhere/s.toml"], "/nowhere/s.toml"),
    (&[URL, "--rate", "fast"], "requests per second"),
    (&[URL, "--duration", "30"], "such as 500ms"),
    (&[URL, "--timeout", "0s"], "above 0"),
    (&[URL, "--stages", "10s"], "expected"),
    (&[URL, "--arrivals", "odd"], "poisson"),
    (&[URL, "--users", "0"], "1..=100000"),
    (&[URL, "--users", "2", "--loops", "0"], "'0' for '--loops"),
    (&[URL, "--users", "2", "--think", "5"], "such as 500ms"),
    (&[URL, "--users", "2", "--ramp-up", "5"], "such as 500ms"),
    (&[URL, "--threads", "0"], "1..=256"),
    (&[URL, "--seed", "x"], "'x' for '--seed"),
    (&[URL, "--resolve", "a:b"], "HOST:PORT:ADDRESS"),
    (&[URL, "--method", "G T"], "method"),
    (&[URL, "--header", "nocolon"], "expected a header such as `Accept: text/html`"),
    (&[URL, "--body", "x", "--post"], "'--body <TEXT>' cannot be used with '--post'"),
    (&[URL, "--body-file", "/nowhere/body"], "/nowhere/body"),
    (&[URL, "--targets", "/nowhere/targets"], "/nowhere/targets"),
    (&[URL, "--expect-status", "99"], "expected"),
    (&[URL, "--expect-json", "$["], "no JSONPath such as $.value"),
    (&[URL, "--expect-body", "("], "no regular expression: regex parse error"),
    (&[URL, "--require", "outage<"], "no time such as 50ms or 2s"),
    (&[URL, "--slo", "0"], "above 0"),
    (&[URL, "--lateness-max", "5"], "such as 500ms"),
    (&[URL, "--min-availability", "101"], "0 to 100"),
    (&[URL, "--connections-max", "0"], "1.."),
    (&[URL, "--fault", "maim stateless @5s"], "`maim` is no fault"),
    (&[URL, "--fault-timeout", "1"], "such as 500ms"),
    (&[URL, "--manager", "192.168.10.1"], "such as http://192.168.10.1:8080"),
    (&[URL, "--manager", "https://127.0.0.1:9", "--token-file", "/nowhere/token"], "--token-file /nowhere/token"),
    (&[URL, "--ca", "/nowhere/ca.pem"], "--ca /nowhere/ca.pem"),
    (&[URL, "--token-file", "/nowhere/token"], "--token-file says nothing without a manager"),
    (&[URL, "--ca", "Cargo.toml"], "--ca Cargo.toml: expected certificates as PEM"),
    (&[URL, "--success-threshold", "0"], "above 0 and up to 100"),
    (&[URL, "--html", "/nowhere/x"], "--html /nowhere/x: cannot be written"),
    (&[URL, "--junit", "/nowhere/x"], "--junit /nowhere/x: cannot be written"),
    (&[URL, "--hgrm", "/nowhere/x"], "--hgrm /nowhere/x: cannot be written"),
    (&[URL, "--prometheus", "9100"], "'9100' for '--prometheus"),
    (&[URL, "--json", "/nowhere/report.json"], "cannot be written"),
];

fn loadtest(words: &[&str]) -> (Option<i32>, String, String) {
    let mut loadtest = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    let output = loadtest.args(words).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn what_is_typed_wrongly_is_refused_with_what_was_expected() {
    let mut wrong = Vec::new();
    for (words, said) in TABLE {
        let (code, stdout, stderr) = loadtest(words);
        if code != Some(2) || !stderr.contains(said) || !stdout.is_empty() {
            wrong.push(format!("{words:?}: {code:?}, and {said:?} in {stderr}{stdout}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_command_and_each_option_with_a_value_is_typed_wrongly_above() {
    let typed: BTreeSet<&str> = TABLE.iter().flat_map(|(words, _)| words.iter().copied()).collect();
    let (_, help, _) = loadtest(&["--help"]);
    let options = help
        .lines()
        .filter_map(|line| line.trim_start().split_once("--"))
        .filter(|(before, rest)| (before.is_empty() || before.starts_with('-')) && rest.contains(" <"));
    let options: BTreeSet<String> =
        options.map(|(_, rest)| format!("--{}", rest.split(' ').next().unwrap())).collect();
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands = commands
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|word| !word.is_empty()));
    let commands: BTreeSet<String> =
        commands.map(str::to_owned).filter(|command| command != "help").collect();
    assert!(options.len() > 20 && commands.len() == 4, "{options:?} {commands:?}");
    let missing: Vec<_> = options.union(&commands).filter(|word| !typed.contains(word.as_str())).collect();
    assert!(missing.is_empty(), "no row types these wrongly: {missing:?}");
}

#[test]
fn the_command_line_is_completed_and_has_pages() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = loadtest(&["completions", shell]);
        assert!(
            code == Some(0) && script.contains("min-availability") && script.contains("compare"),
            "{shell}"
        );
    }
    let directory = crate::process::scratch("man");
    assert_eq!(loadtest(&["man", directory.to_str().unwrap()]).0, Some(0));
    for (page, said) in [("loadtest.1", "availability"), ("loadtest-compare.1", "tolerance")] {
        let text = std::fs::read_to_string(directory.join(page)).unwrap();
        assert!(text.contains(said), "{page}");
    }
    std::fs::remove_dir_all(directory).unwrap();
}
