//! Starts the log: lines on standard error, as text or as JSON (`HOLDFAST_LOG_FORMAT`), filtered by `RUST_LOG`.

use std::env;
use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::guess;

/// Says how lines are written: `text`, or `json`. Programs that are started by this one inherit it.
pub const FORMAT: &str = "HOLDFAST_LOG_FORMAT";

/// Says which lines are written, as `tracing` has it: a level, or levels by module.
const FILTER: &str = EnvFilter::DEFAULT_ENV;

/// What is written unless told otherwise.
const DEFAULT_FILTER: &str = "info";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

impl Format {
    /// What `value` says.
    fn read(value: Option<&str>) -> Result<Self, String> {
        match value {
            None | Some("" | "text") => Ok(Format::Text),
            Some("json") => Ok(Format::Json),
            Some(other) => Err(format!(
                "{FORMAT}: expected text or json, found {other:?}{}",
                guess::question(other, ["text", "json"])
            )),
        }
    }
}

/// Sends `tracing` events to standard error, at `info` and above unless `RUST_LOG` says otherwise.
///
/// Call once, at the start of `main`. A second call does nothing. What the environment says wrongly is complained of in the
/// log, and does not keep a program from running.
pub fn init() {
    let format = Format::read(env::var(FORMAT).ok().as_deref());
    let filter = match env::var(FILTER) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text)
            .map_err(|error| format!("{FILTER}: {error}: expected such as info or lb=debug")),
        Ok(_) | Err(_) => Ok(EnvFilter::new(DEFAULT_FILTER)),
    };
    let complaints = [format.as_ref().err().cloned(), filter.as_ref().err().cloned()];
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER)))
        .with_target(false)
        .with_writer(stderr);
    // The only way this fails is that a subscriber is set already, which is as good.
    let _ = match format.unwrap_or(Format::Text) {
        Format::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
        Format::Text => {
            let is_coloured =
                stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            lines.with_ansi(is_coloured).try_init()
        }
    };
    for complaint in complaints.into_iter().flatten() {
        tracing::warn!("{complaint}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_format_may_be() {
        for (value, expected) in [
            (None, Ok(Format::Text)),
            (Some(""), Ok(Format::Text)),
            (Some("text"), Ok(Format::Text)),
            (Some("json"), Ok(Format::Json)),
            (
                Some("jsn"),
                Err("HOLDFAST_LOG_FORMAT: expected text or json, found \"jsn\"; did you mean `json`?"
                    .to_owned()),
            ),
        ] {
            assert_eq!(Format::read(value), expected, "{value:?}");
        }
    }
}
