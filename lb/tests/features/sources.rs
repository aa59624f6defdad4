//! Whether a test is there: its name is followed through the sources, module by module, as the compiler does it. The
//! sources are as rustfmt leaves them, so the end of a module is the line that closes its indentation.

use std::fs;
use std::path::{Path, PathBuf};

/// How tests say that a suite of deploy/test.sh runs them although they are ignored.
const RUN_BY_A_SUITE: &str = "deploy/test.sh sim runs it\"]";

/// A part of the sources in which names are looked for.
struct Module {
    /// The lines of it.
    lines: Vec<String>,
    /// For messages.
    file: PathBuf,
    /// Where the files of its own modules are.
    directory: PathBuf,
}

/// Looks for a test by the name that nextest gives it: `package::program module::test`, or `package module::test` for
/// those of its library. What is wrong, if it is not there.
pub(crate) fn find(name: &str) -> Result<(), String> {
    let (program, path) = name.split_once(' ').ok_or("expected a program and a test")?;
    let mut module = root(program)?;
    let mut path: Vec<_> = path.split("::").collect();
    let test = path.pop().ok_or("expected a test")?;
    for part in path {
        module = module.child(part)?;
    }
    module.has_test(test)
}

/// Where the sources of a program of tests, or of a library, begin.
fn root(program: &str) -> Result<Module, String> {
    let (package, tests) =
        program.split_once("::").map_or((program, None), |(package, tests)| (package, Some(tests)));
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(package);
    if !package.join("Cargo.toml").is_file() {
        return Err(format!("there is no package in {}", package.display()));
    }
    let files = match tests {
        None => vec![package.join("src/lib.rs")],
        Some(tests) => {
            vec![package.join(format!("tests/{tests}/main.rs")), package.join(format!("tests/{tests}.rs"))]
        }
    };
    let file = files.iter().find(|file| file.is_file());
    let file = file.ok_or_else(|| format!("there is no program of tests at {}", files[0].display()))?;
    let directory = file.parent().unwrap_or(file).to_owned();
    Module::read(file.clone(), directory)
}

fn indentation(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

/// What is left of `line` after `mod` and before a semicolon or brace, and whether the module stands here.
fn declared(line: &str) -> Option<(&str, bool)> {
    let words = line.trim_start();
    let words = words.strip_prefix("pub(crate) ").or_else(|| words.strip_prefix("pub ")).unwrap_or(words);
    let rest = words.strip_prefix("mod ")?;
    match rest.strip_suffix(';') {
        Some(name) => Some((name, false)),
        None => Some((rest.strip_suffix(" {")?, true)),
    }
}

impl Module {
    fn read(file: PathBuf, directory: PathBuf) -> Result<Self, String> {
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Module { lines: text.lines().map(str::to_owned).collect(), file, directory })
    }

    /// The lines of the module that begins at the line `begin`, and where the next line is.
    fn inside(&self, begin: usize) -> (&[String], usize) {
        let close = format!("{}}}", indentation(&self.lines[begin]));
        let length = self.lines[begin + 1..].iter().position(|line| *line == close);
        let end = length.map_or(self.lines.len(), |length| begin + 1 + length);
        (&self.lines[begin + 1..end], (end + 1).min(self.lines.len()))
    }

    /// The numbers of the lines that stand in no module further inside.
    fn own_lines(&self) -> Vec<usize> {
        let (mut own, mut at) = (Vec::new(), 0);
        while at < self.lines.len() {
            own.push(at);
            at = match declared(&self.lines[at]) {
                Some((_, true)) => self.inside(at).1,
                _ => at + 1,
            };
        }
        own
    }

    fn child(&self, name: &str) -> Result<Module, String> {
        let missing = || format!("there is no module `{name}` in {}", self.file.display());
        let is_it = |at: &usize| declared(&self.lines[*at]).is_some_and(|(found, _)| found == name);
        let at = self.own_lines().into_iter().find(is_it).ok_or_else(missing)?;
        let below = self.directory.join(name);
        if declared(&self.lines[at]).is_some_and(|(_, is_here)| is_here) {
            return Ok(Module {
                lines: self.inside(at).0.to_vec(),
                file: self.file.clone(),
                directory: below,
            });
        }
        let path =
            self.attributes(at).find_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]"));
        if let Some(path) = path {
            let file = self.file.parent().unwrap_or(&self.file).join(path);
            let directory = file.parent().unwrap_or(&file).to_owned();
            return Module::read(file, directory);
        }
        let file = self.directory.join(format!("{name}.rs"));
        if file.is_file() { Module::read(file, below) } else { Module::read(below.join("mod.rs"), below) }
    }

    /// The lines of attributes and comments above the line `at`, the nearest first.
    fn attributes(&self, at: usize) -> impl Iterator<Item = &String> {
        let above = |line: &&String| ["#[", "//"].iter().any(|begin| line.trim_start().starts_with(begin));
        self.lines[..at].iter().rev().take_while(above)
    }

    fn has_test(&self, name: &str) -> Result<(), String> {
        let begins = |line: &str| {
            let words = line.trim_start();
            let words = words.strip_prefix("async ").unwrap_or(words);
            words
                .strip_prefix("fn ")
                .and_then(|rest| rest.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with('('))
        };
        let at = self.own_lines().into_iter().find(|&at| begins(&self.lines[at]));
        let at = at.ok_or_else(|| format!("there is no function `{name}` in {}", self.file.display()))?;
        let has = |begin: &str| self.attributes(at).any(|line| line.trim_start().starts_with(begin));
        if !has("#[test]") && !has("#[tokio::test") {
            return Err(format!("`{name}` is no test in {}", self.file.display()));
        }
        // What a debug build is too slow for runs with the simulator's suite.
        let in_a_suite = self.attributes(at).any(|line| line.trim_end().ends_with(RUN_BY_A_SUITE));
        if has("#[ignore") && !in_a_suite {
            return Err(format!("`{name}` is ignored in {}", self.file.display()));
        }
        Ok(())
    }
}
