//! The page: what stands around the table, and the table itself.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::row::{Group, Here, Row};

const BEGIN: &str = "<!-- table: written by the tests `features` -->\n";
const END: &str = "<!-- end of the table -->\n";

fn docs(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file)
}

/// The page as it is committed: before the table, the table, after it.
pub(crate) fn committed() -> (String, String, String) {
    let text = std::fs::read_to_string(docs("features.md")).expect("the page");
    let (before, rest) = text.split_once(BEGIN).expect("the begin of the table");
    let (table, after) = rest.split_once(END).expect("the end of the table");
    (before.to_owned(), table.to_owned(), after.to_owned())
}

pub(crate) fn write(table: &str) {
    let (before, _, after) = committed();
    std::fs::write(docs("features.md"), format!("{before}{BEGIN}{table}{END}{after}")).expect("written");
}

/// The table of all groups, with a heading each.
pub(crate) fn made(groups: &[Group]) -> String {
    let mut table = String::new();
    for group in groups {
        let _ = write!(table, "\n## {}\n\n| feature | here | shown by |\n|-|-|-|\n", group.heading);
        for row in group.rows {
            let _ = writeln!(table, "| {} | {} | {} |", row.feature, here(row), shown_by(row));
        }
    }
    table.push('\n');
    table
}

fn here(row: &Row) -> String {
    match row.here {
        Here::Had(how) => how.to_owned(),
        Here::LeftOut(why) => format!("**Left out.** {why}"),
        Here::NotYet(why) => format!("**Not yet.** {why}"),
    }
}

fn shown_by(row: &Row) -> String {
    row.tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join("<br>")
}

/// Where the links of a text lead to.
pub(crate) fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// The anchors of the headings of a page, as they are made of their words; none if there is no such page.
pub(crate) fn headings(file: &str) -> Option<BTreeSet<String>> {
    let text = std::fs::read_to_string(docs(file)).ok()?;
    let mut is_code = false;
    let mut headings = BTreeSet::new();
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        if let (false, Some(words)) = (is_code, line.strip_prefix('#')) {
            headings.insert(anchor(words.trim_start_matches('#').trim()));
        }
    }
    Some(headings)
}

fn anchor(words: &str) -> String {
    let kept = words.chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter.to_ascii_lowercase() }).collect()
}
