//! The service's TOML file.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::HeaderValue;
use kit::config::{ConfigError, Source, Spanned};
use serde::Deserialize;
use wire::heartbeat;

/// The settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The machine's name, as it stands in the header `x-served-by`.
    pub machine: HeaderValue,
    /// Where requests are taken.
    pub listen: SocketAddr,
    /// The time between two heartbeats.
    pub heartbeat_interval: Duration,
    /// How long requests are still taken after readiness was withdrawn.
    pub drain: Duration,
    /// Whether the routes exist that only tests need.
    pub test_routes: bool,
    /// Where the ids of executed `POST /count`s are written besides: they survive the process.
    pub count_file: Option<PathBuf>,
}

/// The file as it is written.
///
/// The comments of its keys are what `docs/configuration.md` says of them.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct File {
    /// What the header `x-served-by` says, 1 to 64 visible ASCII characters; without it the host's name.
    machine: Option<Spanned<String>>,
    /// Where requests are taken.
    #[serde(default = "default_listen")]
    listen: SocketAddr,
    /// The time between two heartbeats, 10 to 60000.
    #[cfg_attr(test, schemars(extend("default" = heartbeat::DEFAULT_INTERVAL.as_millis())))]
    heartbeat_interval_ms: Option<Spanned<u64>>,
    /// The time between being not ready and taking no more connections, at an orderly stop; 60000 at most.
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_DRAIN.as_millis())))]
    drain_ms: Option<Spanned<u64>>,
    /// Whether `/stress`, `/burn` and their like exist, which only tests need.
    #[serde(default = "default_test_routes")]
    test_routes: bool,
    /// Where the bodies of `POST /count` are written, one a line, as they are executed: they survive the process.
    count_file: Option<PathBuf>,
}

/// Below 10 ms heartbeats would be most of the machine's work; above a minute they tell nothing.
const HEARTBEAT_INTERVAL_MS: RangeInclusive<u64> = 10..=60_000;
const DRAIN_MS: RangeInclusive<u64> = 0..=60_000;
/// Time enough for a balancer that asks four times a second to see that readiness is gone.
const DEFAULT_DRAIN: Duration = Duration::from_millis(300);
/// The longest machine name, in bytes: the longest host name of the kernel.
const MAX_MACHINE: usize = 64;

impl Settings {
    /// Reads and checks the file at `path`; without one, everything has its default.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or the first place in it that does not fit.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        Settings::check(&match path {
            Some(path) => Source::read(path)?,
            None => Source::from_text("defaults", ""),
        })
    }

    fn check(source: &Source) -> Result<Self, ConfigError> {
        let File { machine, listen, heartbeat_interval_ms, drain_ms, test_routes, count_file } =
            source.parse()?;
        let (name, span) = match machine {
            Some(name) => (name.get_ref().clone(), Some(name.span())),
            None => (host_name(source)?, None),
        };
        let machine = HeaderValue::from_str(&name)
            .ok()
            .filter(|_| !name.is_empty() && name.len() <= MAX_MACHINE)
            .filter(|_| name.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| {
                let expected = format!("`machine` must be 1 to {MAX_MACHINE} visible ASCII characters");
                source.error_at(span, &expected)
            })?;
        let interval =
            within(source, "heartbeat_interval_ms", heartbeat_interval_ms, &HEARTBEAT_INTERVAL_MS)?;
        let drain = within(source, "drain_ms", drain_ms, &DRAIN_MS)?;
        Ok(Settings {
            machine,
            listen,
            heartbeat_interval: interval.unwrap_or(heartbeat::DEFAULT_INTERVAL),
            drain: drain.unwrap_or(DEFAULT_DRAIN),
            test_routes,
            count_file,
        })
    }
}

fn within(
    source: &Source,
    key: &str,
    value: Option<Spanned<u64>>,
    allowed: &RangeInclusive<u64>,
) -> Result<Option<Duration>, ConfigError> {
    match value {
        Some(value) if !allowed.contains(value.get_ref()) => {
            let (min, max) = (allowed.start(), allowed.end());
            Err(source.error_at(Some(value.span()), &format!("`{key}` must be {min} to {max}")))
        }
        value => Ok(value.map(|value| Duration::from_millis(value.into_inner()))),
    }
}

fn host_name(source: &Source) -> Result<String, ConfigError> {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .ok_or_else(|| source.error_at(None, "this host has no usable name: set `machine`"))
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8080))
}

fn default_test_routes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use doc_checks::{pages, reference, section};

    use super::*;

    const FILE: &str = "stateless.toml";

    #[test]
    fn the_reference_is_made_of_the_types_that_read_the_file() {
        let schema = schemars::schema_for!(File).to_value();
        section::check(&pages::root().join("docs/configuration.md"), FILE, &reference::made(FILE, &schema));
    }

    #[test]
    fn every_example_of_the_documentation_is_accepted() {
        for example in pages::examples(FILE) {
            Settings::check(&Source::from_text(FILE, &example.text))
                .unwrap_or_else(|error| panic!("{}\n{error}", example.place));
        }
    }

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::check(&Source::from_text("s.toml", text)).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let settings = parse("").unwrap();
        assert_eq!(settings.listen.to_string(), "0.0.0.0:8080");
        assert_eq!(settings.heartbeat_interval, Duration::from_millis(250));
        assert!(settings.test_routes);
        assert!(!settings.machine.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_pointed_at_with_what_is_allowed() {
        for (text, expected) in [
            ("heartbeat_interval_ms = 9", "s.toml:1:25: `heartbeat_interval_ms` must be 10 to 60000"),
            ("drain_ms = 60001", "s.toml:1:12: `drain_ms` must be 0 to 60000"),
            ("machine = \"a b\"", "s.toml:1:11: `machine` must be 1 to 64 visible ASCII characters"),
            ("machine = \"\"", "s.toml:1:11: `machine` must be"),
            ("listen = \"here\"", "s.toml:1:10: "),
            ("listne = \"here\"", "did you mean `listen`?"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
