//! The files themselves, as other people's programs read them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::boards;
use crate::repository;
use crate::run::{PATIENCE, run_within};

/// What each alert's page says, in this order.
const QUESTIONS: [&str; 4] = ["**It means**", "**Clients see**", "**Look at**", "**Do**"];

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What follows `key` on the lines of a file, once each.
fn values(file: &str, key: &str) -> Vec<String> {
    let lines = file.lines().filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix(key));
    lines.map(|value| value.trim().to_owned()).collect()
}

fn alerts() -> Vec<String> {
    values(&read("deploy/observe/rules/alerts.yml"), "alert:")
}

fn promtool(words: &[&str]) -> String {
    let at = repository("deploy/observe");
    run_within(Command::new("promtool").args(words).current_dir(at), PATIENCE).ok()
}

#[test]
fn promtool_finds_the_rules_and_the_configuration_good() {
    let said = promtool(&["check", "rules", "rules/alerts.yml", "rules/recording.yml"]);
    assert_eq!(said.matches("SUCCESS").count(), 2, "{said}");
    let said = promtool(&["check", "config", "prometheus.yml"]);
    assert!(said.contains("prometheus.yml is valid"), "{said}");
}

#[test]
fn the_tests_of_the_rules_pass() {
    for tests in ["tests/minutes.yml", "tests/hours.yml"] {
        let said = promtool(&["test", "rules", tests]);
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

/// promtool says whether what is expected is so; not whether anything is expected.
#[test]
fn every_alert_is_seen_to_fire_and_not_to_fire() {
    let tests = ["minutes", "hours"].map(|file| read(&format!("deploy/observe/tests/{file}.yml"))).concat();
    let mut fires = BTreeSet::new();
    let mut is_quiet = BTreeSet::new();
    let lines: Vec<&str> = tests.lines().map(str::trim).collect();
    for pair in lines.windows(2) {
        let Some(alert) = pair[0].strip_prefix("alertname: ") else { continue };
        match pair[1] {
            "exp_alerts: []" => is_quiet.insert(alert.to_owned()),
            "exp_alerts:" => fires.insert(alert.to_owned()),
            other => panic!("{alert}: {other}"),
        };
    }
    let alerts: BTreeSet<String> = alerts().into_iter().collect();
    assert!(alerts.len() >= 20, "{alerts:?}");
    assert_eq!(fires, alerts);
    assert_eq!(is_quiet, alerts);
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let runbooks = read("deploy/observe/runbooks.md");
    let pages: Vec<(&str, &str)> = runbooks
        .split("\n## ")
        .skip(1)
        .map(|page| page.split_once('\n').expect("a heading and what follows"))
        .collect();
    let named: Vec<String> = pages.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named, alerts(), "in the same order");
    for (name, page) in pages {
        let places: Vec<Option<usize>> = QUESTIONS.iter().map(|question| page.find(question)).collect();
        assert!(
            places.iter().all(Option::is_some) && places.is_sorted(),
            "{name}: {QUESTIONS:?} in this order"
        );
    }
    let urls = values(&read("deploy/observe/rules/alerts.yml"), "runbook_url:");
    let expected: Vec<String> =
        alerts().iter().map(|alert| format!("deploy/observe/runbooks.md#{}", alert.to_lowercase())).collect();
    assert_eq!(urls, expected);
}

/// What stands between backticks and begins with `manager`, up to the names of machines and the like.
#[test]
fn every_command_of_a_runbook_is_there() {
    let runbooks = read("deploy/observe/runbooks.md");
    let commands: BTreeSet<Vec<&str>> = runbooks
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|code| code.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() > 1 && words[0] == "manager")
        .map(|words| {
            words[1..].iter().copied().take_while(|word| !word.contains('-') && word.len() > 1).collect()
        })
        .collect();
    assert!(commands.len() >= 8, "{commands:?}");
    let help = |words: &[&str]| {
        run_within(Command::new(env!("CARGO_BIN_EXE_manager")).args(words).arg("--help"), PATIENCE)
    };
    assert_ne!(help(&["vm", "nonsense"]).code, Some(0), "what does not exist has no help");
    for command in commands {
        let asked = help(&command);
        assert_eq!(asked.code, Some(0), "{command:?}: {}", asked.stderr);
    }
}

#[test]
fn the_boards_are_whole() {
    let boards = boards::all();
    assert_eq!(boards.len(), 4);
    let faults: Vec<String> = boards.iter().flat_map(boards::Board::faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
