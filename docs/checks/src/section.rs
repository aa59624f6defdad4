//! A part of a page that a test writes: between two comments, so that people's text can stand around it.

use std::fs::{self, File};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

/// The variable of the environment that has parts written anew (`CONFIG_TABLE=write`).
const WRITE: &str = "CONFIG_TABLE";

/// Compares what stands in the page at `path` between `<!-- NAME: made by a test -->` and `<!-- NAME: end -->` with `made`,
/// or writes it there.
///
/// # Panics
///
/// When they differ, with the lines that are new and those that are gone.
pub fn check(path: &Path, name: &str, made: &str) {
    let (begin, end) = (format!("<!-- {name}: made by a test -->\n"), format!("<!-- {name}: end -->"));
    // Tests of several programs write to one page at the same time.
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let _lock = Flock::lock(file, FlockArg::LockExclusive).expect("a lock");
    let page = fs::read_to_string(path).expect("a page");
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{}: no {begin}", path.display()));
    let (committed, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{}: no {end}", path.display()));
    let made = format!("\n{made}\n");
    if std::env::var(WRITE).as_deref() == Ok("write") {
        fs::write(path, format!("{before}{begin}{made}{end}{after}")).expect("the page can be written");
        return;
    }
    let without = |all: &str, others: &str| {
        let others: Vec<&str> = others.lines().collect();
        all.lines().filter(|line| !others.contains(line)).map(str::to_owned).collect::<Vec<_>>()
    };
    let (new, gone) = (without(&made, committed), without(committed, &made));
    assert!(
        committed == made,
        "{} is out of date ({WRITE}=write writes it anew): new {new:#?}, gone {gone:#?}",
        path.display()
    );
}
