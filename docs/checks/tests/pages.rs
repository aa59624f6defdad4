//! What holds for all pages: their links lead somewhere, their commands are run by somebody or marked, their examples say what
//! they are, and figures that are quoted are those that were measured.

#![allow(clippy::expect_used)] // helpers of tests; the configuration knows only tests themselves

use std::collections::BTreeMap;

use doc_checks::pages::{self, Page};

/// Where commands are run that say only how: the script, and what in it reads them.
const RUN: [(&str, &str, &str); 3] = [
    ("first-run", "deploy/first-run.sh", "```sh first-run"),
    ("two-hosts", "deploy/walkthrough.sh", "docs/two-hosts.md two-hosts"),
    ("lab", "deploy/walkthrough.sh", "commands \"$page\" lab"),
];

/// What begins a line that somebody is to type.
const PROGRAMS: [&str; 14] = [
    "sudo",
    "manager",
    "lb",
    "loadtest",
    "stateless",
    "bash",
    "cargo",
    "curl",
    "apt-get",
    "deploy/",
    "alpine-image/",
    "jq",
    "systemctl",
    "promtool",
];

/// The files that examples can be of; the program that reads each has a test of all examples.
const READ: [(&str, &str); 4] = [
    ("lb.toml", "lb/src/settings/reference.rs"),
    ("manager.toml", "manager/src/config/reference.rs"),
    ("stateless.toml", "stateless/src/settings.rs"),
    ("scenario.toml", "loadtest/src/scenario/reference.rs"),
];

fn read(path: &str) -> String {
    std::fs::read_to_string(pages::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let pages = pages::all();
    let by_name: BTreeMap<&str, &Page> = pages.iter().map(|page| (page.name.as_str(), page)).collect();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in &pages {
        for (line, link) in page.links() {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = resolve(&page.name, file);
            if !pages::root().join(&target).exists() {
                wrong.push(format!("{}:{line}: there is no {target}", page.name));
            } else if !heading.is_empty() {
                match by_name.get(target.as_str()) {
                    Some(other) if other.anchors().contains(heading) => {}
                    _ => wrong.push(format!("{}:{line}: {target} has no heading #{heading}", page.name)),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "the pages link to each other: {count}");
}

/// A link of `page` from the root of the repository.
fn resolve(page: &str, link: &str) -> String {
    if link.is_empty() {
        return page.to_owned();
    }
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let pages = pages::all();
    let by_name: BTreeMap<&str, &Page> = pages.iter().map(|page| (page.name.as_str(), page)).collect();
    let (mut reached, mut waiting) = (std::collections::BTreeSet::new(), vec!["README.md".to_owned()]);
    while let Some(name) = waiting.pop() {
        let Some(page) = by_name.get(name.as_str()) else { continue };
        if reached.insert(name.clone()) {
            let links = page.links().into_iter();
            waiting.extend(links.map(|(_, link)| resolve(&name, link.split('#').next().unwrap_or_default())));
        }
    }
    let lost: Vec<_> = by_name.keys().filter(|name| !reached.contains(**name)).collect();
    assert!(lost.is_empty(), "nobody who begins with README.md finds {lost:?}");
}

/// A script, or the program of tests whose `main.rs` it is with all files beside that.
fn with_its_modules(file: &str) -> String {
    let Some(folder) = file.strip_suffix("/main.rs") else {
        return std::fs::read_to_string(pages::root().join(file)).unwrap_or_default();
    };
    let files = std::fs::read_dir(pages::root().join(folder)).expect("a folder").flatten();
    files.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect()
}

/// What of a command whoever runs it in words of its own has too: the script, the path that is asked for, or the command
/// of one of our programs, and where there is none its first flag. Empty: nothing is run.
fn mark(command: &str) -> &str {
    let command = command.split(" #").next().unwrap_or_default().trim();
    let mut words = command.split_whitespace().filter(|word| !["sudo", "bash"].contains(word));
    match words.next() {
        None | Some("export" | ".") => "",
        // Which leaves the work to it.
        Some("apt-get") => "dpkg",
        Some("curl") => words.next_back().and_then(|url| url.splitn(4, '/').last()).unwrap_or_default(),
        Some("manager") => {
            let words: Vec<&str> = words.collect();
            let skipped = if words.first() == Some(&"--manager") { 2 } else { 0 };
            words.get(skipped).copied().unwrap_or_default()
        }
        Some("loadtest") => {
            let words: Vec<&str> = words.collect();
            let is_command =
                words.first().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
            let flag = words.iter().find(|word| word.starts_with("--"));
            if is_command { words[0] } else { flag.copied().unwrap_or_default() }
        }
        Some(program) => program.rsplit('/').next().unwrap_or_default(),
    }
}

#[test]
fn every_command_is_run_by_somebody_or_marked() {
    let mut wrong = Vec::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for page in pages::all() {
        for block in page.commands() {
            let kind = block.info.get(1).map(String::as_str).unwrap_or_default();
            *kinds.entry(kind.to_owned()).or_default() += 1;
            let place = &block.place;
            match (kind, block.info.get(2)) {
                // Takes a machine of one's own, or hours: nobody runs it here.
                ("hardware", None) => {}
                ("by", Some(_)) => {
                    let by = &block.info[2..];
                    for file in by.iter().filter(|file| !pages::root().join(file).is_file()) {
                        wrong.push(format!("{place}: there is no {file} that runs it"));
                    }
                    let runs: String = by.iter().map(|file| with_its_modules(file)).collect();
                    for command in block.text.lines() {
                        let mark = mark(command);
                        if !mark.is_empty() && !runs.contains(mark) {
                            wrong.push(format!("{place}: {by:?} have no `{mark}` of: {command}"));
                        }
                    }
                }
                (kind, _) if RUN.iter().any(|(known, ..)| *known == kind) => {}
                _ => wrong.push(format!(
                    "{place}: who runs it? expected `sh hardware`, `sh by FILE` or one of {RUN:?}"
                )),
            }
        }
        for (line, text) in page.indented() {
            let is_command = PROGRAMS.iter().any(|program| {
                text.strip_prefix(program).is_some_and(|rest| program.ends_with('/') || rest.starts_with(' '))
            });
            if is_command {
                wrong.push(format!(
                    "{}:{line}: a command belongs into a block that begins with ```sh: {text}",
                    page.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (kind, script, reads) in RUN {
        assert!(kinds.contains_key(kind), "no page has commands of the kind {kind}: {kinds:?}");
        assert!(read(script).contains(reads), "{script} does not read commands of the kind {kind}");
        assert!(read("deploy/test.sh").contains(script), "no suite runs {script}");
    }
}

#[test]
fn every_example_says_whose_it_is_and_that_program_reads_it() {
    for page in pages::all() {
        for block in page.blocks().iter().filter(|block| block.info.first().is_some_and(|one| one == "toml"))
        {
            let file = block.info.get(1).map(String::as_str).unwrap_or_default();
            assert!(
                READ.iter().any(|(known, _)| *known == file),
                "{}: expected ```toml and one of {READ:?}",
                block.place
            );
        }
    }
    for (file, test) in READ {
        let text = read(test);
        assert!(
            text.contains(&format!("\"{file}\"")) && text.contains("pages::examples(FILE)"),
            "{test} reads no {file}"
        );
    }
}

#[test]
fn the_figures_that_are_quoted_are_those_that_were_measured() {
    let measured = read("docs/measurements.md");
    let mut count = 0;
    for (line, row) in read("docs/failure-modes.md").lines().enumerate() {
        let Some((_, rest)) = row.split_once("(`").filter(|_| row.starts_with("| ")) else { continue };
        let (case, rest) = rest.split_once("`)").expect("a case in code");
        let found: String =
            measured.lines().filter(|line| line.starts_with(&format!("| {case}: "))).collect();
        assert!(!found.is_empty(), "line {}: {case} was not measured", line + 1);
        let words = rest
            .split(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .map(|word| word.trim_end_matches('.'));
        // What is quoted of a table has a decimal point, or a unit behind it.
        for figure in words.filter(|word| word.parse::<f64>().is_ok()) {
            if figure.contains('.') || rest.contains(&format!(" {figure} ms")) {
                let cells = [format!("| {figure} ("), format!("| {figure}.0 (")];
                assert!(
                    cells.iter().any(|cell| found.contains(cell))
                        || rest.contains(&format!("for {figure} ms")),
                    "line {}: {case} has no median of {figure}: {found}",
                    line + 1
                );
                count += 1;
            }
        }
    }
    assert!(count > 40, "the page quotes what was measured: {count}");
}
