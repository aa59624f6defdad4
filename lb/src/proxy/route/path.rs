//! Paths: as routes see them, and as they are rewritten.
//!
//! Routes see what an upstream will make of a path: percent-encoding undone, `.` and `..` resolved, repeated slashes
//! made one. So `/%61dmin`, `/x/../admin` and `//admin` take the route of `/admin`. What is forwarded is what the client sent.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// What may not stand in a path as it is (RFC 3986, section 3.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// A path as it was sent and as routes see it.
#[derive(Debug)]
pub(crate) struct Path<'a> {
    raw: &'a str,
    seen: Cow<'a, [u8]>,
    /// More than the encoding was undone.
    resolved: bool,
}

impl<'a> Path<'a> {
    pub(crate) fn new(raw: &'a str) -> Self {
        let mut before = 0;
        let is_plain = raw.bytes().all(|byte| {
            let fits = byte != b'%' && !(before == b'/' && matches!(byte, b'/' | b'.'));
            before = byte;
            fits
        });
        if is_plain || !raw.starts_with('/') {
            return Path { raw, seen: Cow::Borrowed(raw.as_bytes()), resolved: false };
        }
        let decoded: Vec<u8> = percent_decode_str(raw).collect();
        let seen = resolve(&decoded);
        let resolved = seen != decoded;
        Path { raw, seen: Cow::Owned(seen), resolved }
    }

    /// As routes see it.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// What follows `prefix`, which ends without a slash, if it is in front of it and ends where a segment does.
    pub(crate) fn behind(&self, prefix: &str) -> Option<&[u8]> {
        behind(&self.seen, prefix)
    }

    /// The path with `with` in the place of `prefix`, which it matches.
    pub(crate) fn replaced(&self, prefix: &str, with: &str) -> String {
        if !self.raw.starts_with('/') {
            // `*` asks for the whole server (RFC 9110, section 7.1).
            return self.raw.to_owned();
        }
        // What was sent is kept as it is where that means the same.
        let rest = match behind(self.raw.as_bytes(), prefix).filter(|_| !self.resolved) {
            Some(rest) => Cow::Borrowed(&self.raw[self.raw.len() - rest.len()..]),
            None => encoded(self.behind(prefix).unwrap_or_default()),
        };
        match (rest.is_empty(), with.trim_end_matches('/')) {
            (true, _) => with.to_owned(),
            (false, with) => format!("{with}{rest}"),
        }
    }
}

/// `path` as it may be sent.
pub(crate) fn encoded(path: &[u8]) -> Cow<'_, str> {
    percent_encode(path, ENCODED).into()
}

fn behind<'a>(path: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    path.strip_prefix(prefix.as_bytes())
        .filter(|rest| rest.is_empty() || rest.starts_with(b"/") || prefix.is_empty())
}

/// RFC 3986, section 5.2.4, with repeated slashes taken for one.
fn resolve(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let is_directory = [&b"/"[..], b"/.", b"/.."].iter().any(|end| path.ends_with(end));
    let mut resolved = Vec::with_capacity(path.len());
    for segment in &segments {
        resolved.push(b'/');
        resolved.extend_from_slice(segment);
    }
    if is_directory || resolved.is_empty() {
        resolved.push(b'/');
    }
    resolved
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whatever_means_the_same_is_seen_alike() {
        for (raw, seen) in [
            ("/a/b", "/a/b"),
            ("/%61/b", "/a/b"),
            ("//a//b", "/a/b"),
            ("/x/../a/./b", "/a/b"),
            ("/x/%2e%2E/a/b", "/a/b"),
            ("/a%2Fb", "/a/b"),
            ("/../../a/b", "/a/b"),
            ("/a/b/c/..", "/a/b/"),
            ("/a/b/.", "/a/b/"),
            ("/a/b//", "/a/b/"),
            ("/..", "/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/100%", "/100%"),
            ("/%zz", "/%zz"),
            ("*", "*"),
            ("/ä", "/ä"),
        ] {
            assert_eq!(Path::new(raw).seen(), seen.as_bytes(), "{raw}");
        }
    }

    #[test]
    fn a_prefix_is_replaced_and_the_rest_stays_as_it_was_sent() {
        for (raw, with, expected) in [
            ("/api", "/", "/"),
            ("/api", "/v2", "/v2"),
            ("/api/", "/v2", "/v2/"),
            ("/api/x", "/", "/x"),
            ("/api/x", "/v2/", "/v2/x"),
            ("/api/a%2Fb%20c", "/v2", "/v2/a%2Fb%20c"),
            ("/%61pi/a%2Fb c", "/v2", "/v2/a/b%20c"),
            ("/api/../api/x%20", "/v2", "/v2/x%20"),
            ("//api//x", "/", "/x"),
        ] {
            assert_eq!(Path::new(raw).replaced("/api", with), expected, "{raw} {with}");
        }
        assert_eq!(Path::new("/x").replaced("", "/v2"), "/v2/x");
        assert_eq!(Path::new("*").replaced("", "/v2"), "*");
    }

    proptest! {
        /// Neither gets out of where it is kept: not the path that is matched, nor the one that is made of it.
        #[test]
        fn no_path_leads_out(raw in "/([a-c/.%2eEfF5]|%2e|%2F|%25|\\.\\.|/){0,24}") {
            let path = Path::new(&raw);
            let seen = path.seen().to_vec();
            let is_step = |segment: &[u8]| matches!(segment, b"." | b"..");
            prop_assert!(!seen.split(|&byte| byte == b'/').any(is_step), "{raw}");
            prop_assert!(!seen.windows(2).any(|two| two == b"//"), "{raw}");
            let again = encoded(&seen).into_owned();
            prop_assert!(Path::new(&again).seen() == seen, "{raw}");
            let new = path.replaced("", "/v2");
            let expected = [&b"/v2"[..], &seen].concat();
            prop_assert!(Path::new(&new).seen() == expected, "{raw} became {new}");
        }
    }
}
