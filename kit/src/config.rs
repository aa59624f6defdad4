//! Reads a program's TOML file and, where it is wrong, says so with file, line and column, shows the
//! line, and guesses what was meant.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::guess;

mod file;
mod locate;
mod spanned;

pub use file::{MAX_PEM, as_pem, read_file, read_pem};
pub use spanned::Spanned;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read at all.
    #[error("{path}: cannot be read: {error}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A place in the file is wrong. The text names file, line and column, shows the line, and says
    /// what was expected.
    #[error("{0}")]
    Wrong(String),
}

/// A configuration file's text, kept to point into.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Reads `path`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        Ok(Source { path: path.to_owned(), text })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Takes text that did not come from a file; `path` stands for its path in errors.
    pub fn from_text(path: impl Into<PathBuf>, text: &str) -> Self {
        Source { path: path.into(), text: text.to_owned() }
    }

    /// Parses the text into `T`, which should refuse unknown keys (`#[serde(deny_unknown_fields)]`).
    ///
    /// # Errors
    ///
    /// [`ConfigError::Wrong`] at the first place that does not fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|error| {
            let message = error.message().trim_end();
            self.error_at(error.span(), &format!("{message}{}", guess::in_message(message)))
        })
    }

    /// An error about what stands at `path`, which is written as in a JSON document's problem: `routes[0].name`.
    /// Where there is nothing, because a value was left out or has a default, the place is what it would be in.
    pub fn error_in(&self, path: &str, message: &str) -> ConfigError {
        self.error_at(locate::span(&self.text, path), message)
    }

    /// What a rule gives for what is written in the bytes `span`, or its objection with the place.
    ///
    /// # Errors
    ///
    /// When the rule says what it expects instead.
    pub fn checked<T>(&self, span: Range<usize>, rule: Result<T, impl AsRef<str>>) -> Result<T, ConfigError> {
        rule.map_err(|expected| self.error_at(Some(span), expected.as_ref()))
    }

    /// An error about the bytes `span` of the text (of the whole file where there is none).
    pub fn error_at(&self, span: Option<Range<usize>>, message: &str) -> ConfigError {
        let path = self.path.display();
        let Some(span) = span.filter(|span| span.start <= self.text.len()) else {
            return ConfigError::Wrong(format!("{path}: {message}"));
        };
        let before = &self.text[..floor_boundary(&self.text, span.start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let number = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let end = floor_boundary(&self.text, span.end.min(line_start + line.len()));
        let width = self.text.get(before.len()..end).map_or(1, |text| text.chars().count().max(1));
        let gutter = number.to_string();
        let margin = " ".repeat(gutter.len());
        ConfigError::Wrong(format!(
            "{path}:{number}:{column}: {message}\n {margin} |\n {gutter} | {line}\n {margin} | {}{}",
            " ".repeat(column - 1),
            "^".repeat(width),
        ))
    }
}

/// Reads and parses `path` in one step, for files that need no further checks.
///
/// # Errors
///
/// See [`Source::read`] and [`Source::parse`].
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    Source::read(path)?.parse()
}

fn floor_boundary(text: &str, mut index: usize) -> usize {
    index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Example {
        address: std::net::Ipv4Addr,
        #[serde(default)]
        weight: u8,
    }

    fn refuse(text: &str) -> String {
        Source::from_text("x.toml", text).parse::<Example>().expect_err("must be refused").to_string()
    }

    #[test]
    fn an_unknown_key_is_pointed_at_and_guessed() {
        let error = refuse("# comment\nadress = \"10.0.0.1\"\n");
        assert!(error.starts_with("x.toml:2:1: unknown field `adress`"), "{error}");
        assert!(error.contains("did you mean `address`?"), "{error}");
        assert!(error.ends_with(" 2 | adress = \"10.0.0.1\"\n   | ^^^^^^"), "{error}");
    }

    #[test]
    fn a_bad_value_is_pointed_at() {
        let error = refuse("address = \"10.0.0.300\"\n");
        assert!(error.starts_with("x.toml:1:11: invalid"), "{error}");
        let error = refuse("address = \"10.0.0.3\"\nweight = 900\n");
        assert!(error.starts_with("x.toml:2:10: "), "{error}");
    }

    #[test]
    fn an_error_after_wide_characters_has_the_right_column() {
        let error = refuse("address = \"10.0.0.1\" # ä\nweight = \"é\"");
        assert!(error.starts_with("x.toml:2:10: "), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Source::read(Path::new("/nonexistent/x.toml")).expect_err("no such file");
        assert!(error.to_string().starts_with("/nonexistent/x.toml: cannot be read"), "{error}");
    }
}
