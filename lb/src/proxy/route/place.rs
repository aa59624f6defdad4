//! Where a request is for: its host and its path.

use pingora_http::RequestHeader;
use regex::bytes::Regex;
use wire::proxy_config;

use super::super::asked::Asked;
use super::matcher::regex;
use super::path::Path;

/// A host name, or all names that end with one.
#[derive(Debug)]
pub(super) enum HostRule {
    Name(String),
    /// With the dot in front.
    Below(String),
}

/// The paths of a route.
#[derive(Debug)]
pub(super) enum PathRule {
    /// Without a slash at the end: a prefix ends where a segment does.
    Prefix(String),
    Exact(String),
    Regex(Regex),
    /// What was checked can always be compiled.
    Never,
}

impl HostRule {
    pub(super) fn new(described: &str) -> Self {
        let described = described.to_ascii_lowercase();
        match described.strip_prefix('*') {
            Some(suffix) => HostRule::Below(suffix.to_owned()),
            None => HostRule::Name(described),
        }
    }

    pub(super) fn matches(&self, host: &str) -> bool {
        match self {
            HostRule::Name(name) => name.eq_ignore_ascii_case(host),
            HostRule::Below(suffix) => host
                .len()
                .checked_sub(suffix.len())
                .filter(|&length| length > 0)
                .and_then(|length| host.get(length..))
                .is_some_and(|end| end.eq_ignore_ascii_case(suffix)),
        }
    }
}

impl PathRule {
    pub(super) fn new(described: &proxy_config::Route) -> Self {
        match (&described.path_exact, &described.path_regex) {
            (Some(path), _) => PathRule::Exact(path.clone()),
            (None, Some(pattern)) => regex(pattern).map_or(PathRule::Never, PathRule::Regex),
            (None, None) => PathRule::Prefix(described.path.trim_end_matches('/').to_owned()),
        }
    }

    pub(super) fn matches(&self, path: &Path<'_>) -> bool {
        match self {
            PathRule::Prefix(prefix) => path.behind(prefix).is_some(),
            PathRule::Exact(exact) => path.seen() == exact.as_bytes(),
            PathRule::Regex(regex) => regex.is_match(path.seen()),
            PathRule::Never => false,
        }
    }
}

/// The host a request is for, without port.
pub(crate) fn host(request: &RequestHeader) -> &str {
    Asked::from(request).host()
}

/// `authority` without its port.
pub(crate) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // The last colon of a bare IPv6 address in brackets is inside of them.
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}
