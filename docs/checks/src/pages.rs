//! The pages of the documentation, and what stands in them: headings, links, commands and examples.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::reference::anchor;

/// A page.
pub struct Page {
    /// From the root of the repository, such as `docs/vip.md`.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// A block of a page between two lines of three backticks.
pub struct Block {
    /// The page and the line of the block's first line, such as `docs/vip.md:7`.
    pub place: String,
    /// What stands behind the backticks: the language, and what it is.
    pub info: Vec<String>,
    /// Its lines.
    pub text: String,
}

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All pages: those at the root, and those of `docs` and `deploy`.
#[must_use]
pub fn all() -> Vec<Page> {
    let mut pages = Vec::new();
    read(Path::new(""), false, &mut pages);
    for folder in ["docs", "deploy", "alpine-image"] {
        read(Path::new(folder), true, &mut pages);
    }
    pages.sort_by(|one, other| one.name.cmp(&other.name));
    pages
}

fn read(folder: &Path, is_deep: bool, pages: &mut Vec<Page>) {
    for entry in fs::read_dir(root().join(folder)).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = folder.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            if is_deep {
                read(&name, true, pages);
            }
        } else if name.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(entry.path()).expect("a page");
            pages.push(Page { name: name.display().to_string(), text });
        }
    }
}

impl Page {
    /// The blocks.
    #[must_use]
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut is_open = false;
        for (index, line) in self.text.lines().enumerate() {
            match (line.strip_prefix("```"), is_open) {
                (Some(info), false) => {
                    let info = info.split_whitespace().map(str::to_owned).collect();
                    let place = format!("{}:{}", self.name, index + 2);
                    blocks.push(Block { place, info, text: String::new() });
                    is_open = true;
                }
                (Some(_), true) => is_open = false,
                (None, true) => {
                    let block = blocks.last_mut().expect("one is open");
                    block.text += line;
                    block.text.push('\n');
                }
                (None, false) => {}
            }
        }
        assert!(!is_open, "{}: a block without an end", self.name);
        blocks
    }

    /// The lines that are in no block, with their numbers.
    pub fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut is_open = false;
        self.text.lines().enumerate().filter_map(move |(index, line)| {
            let is_fence = line.starts_with("```");
            let is_prose = !is_fence && !is_open;
            is_open ^= is_fence;
            is_prose.then_some((index + 1, line))
        })
    }

    /// The lines that are indented as code is, without those of drawings.
    #[must_use]
    pub fn indented(&self) -> Vec<(usize, &str)> {
        let lines: Vec<(usize, &str)> =
            self.prose().filter_map(|(number, line)| Some((number, line.strip_prefix("    ")?))).collect();
        let is_drawing =
            |block: &&[(usize, &str)]| block.iter().any(|(_, line)| line.contains(['─', '│', '▶']));
        let blocks = lines.chunk_by(|(before, _), (number, _)| before + 1 == *number);
        blocks.filter(|block| !is_drawing(block)).flatten().copied().collect()
    }

    /// What its headings are called in links.
    #[must_use]
    pub fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose().filter_map(|(_, line)| {
            let text = line.trim_start_matches('#');
            (line.starts_with('#') && text.starts_with(' ')).then(|| anchor(text.trim()))
        });
        headings.collect()
    }

    /// The targets of its links.
    #[must_use]
    pub fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in self.prose().filter(|(_, line)| !line.starts_with("    ")) {
            let mut rest = line;
            while let Some((_, after)) = rest.split_once("](") {
                let Some((target, after)) = after.split_once(')') else { break };
                links.push((number, target.to_owned()));
                rest = after;
            }
        }
        links
    }

    /// The blocks of commands: those that begin with three backticks and `sh`.
    #[must_use]
    pub fn commands(&self) -> Vec<Block> {
        self.blocks()
            .into_iter()
            .filter(|block| block.info.first().is_some_and(|first| first == "sh"))
            .collect()
    }

    /// The examples of `file`: blocks that begin with three backticks, `toml` and the file's name.
    #[must_use]
    pub fn examples(&self, file: &str) -> Vec<Block> {
        let is_of = |block: &Block| {
            block.info.first().is_some_and(|one| one == "toml")
                && block.info.get(1).is_some_and(|one| one == file)
        };
        self.blocks().into_iter().filter(is_of).collect()
    }
}

/// The examples of `file` in all pages.
///
/// # Panics
///
/// Where there are none: a test of none would be no test.
#[must_use]
pub fn examples(file: &str) -> Vec<Block> {
    let examples: Vec<Block> = all().iter().flat_map(|page| page.examples(file)).collect();
    assert!(!examples.is_empty(), "no page has an example of {file}");
    examples
}
