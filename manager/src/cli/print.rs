//! How answers are printed: tables for people, documents for programs.

use std::io::{IsTerminal, Write as _};

use anyhow::{Context, Result};
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;
use wire::cluster::Phase;

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people, with what fits a terminal.
    Table,
    /// For people, with everything there is.
    Wide,
    /// For programs: one document, or one a line where there are more to come.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Output {
    /// Whether tables show everything.
    pub(super) fn is_wide(self) -> bool {
        self == Output::Wide
    }

    /// `value` as this output; `table` makes it for people.
    pub(super) fn text<T: Serialize>(self, value: &T, table: impl FnOnce(&T) -> String) -> Result<String> {
        Ok(match self {
            Output::Table | Output::Wide => table(value),
            Output::Json => serde_json::to_string(value)?,
            Output::Yaml => {
                let text =
                    serde_saphyr::to_string(value).context("it cannot be written as YAML; -o json can")?;
                // What is watched or followed comes as one document after the other.
                format!("---\n{}", text.trim_end())
            }
        })
    }
}

/// Writes a line. Who reads us may have had enough (`| head`): then there is nobody to tell.
pub(super) fn line(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}

/// A table for people: as wide as the terminal where there is one, else as wide as it is.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    if !colours() {
        table.force_no_tty();
    }
    table
}

/// On a terminal, unless `NO_COLOR` says otherwise (no-color.org).
fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A phase, in its colour.
pub(super) fn phase(phase: Phase) -> Cell {
    let colour = match phase {
        Phase::Ready => Color::Green,
        Phase::Booting | Phase::Suspect | Phase::Draining => Color::Yellow,
        Phase::Dead => Color::Red,
        Phase::Standby => Color::Reset,
    };
    Cell::new(phase).fg(colour)
}

/// A word that is good news or bad.
pub(super) fn word(text: &str, is_good: bool) -> Cell {
    Cell::new(text).fg(if is_good { Color::Green } else { Color::Red })
}
