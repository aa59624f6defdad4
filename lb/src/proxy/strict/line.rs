//! The first line of a request (RFC 9112, section 3).

use memchr::memchr;

use super::{Fault, is_token};

/// The longest method, in bytes; the longest registered one has 17.
const METHOD: usize = 32;

/// A client may end what it sent before with so many bytes of empty lines (RFC 9112, section 2.2).
const AHEAD: usize = 8;

const EMPTY_LINES: Fault =
    Fault::bad("there are too many empty lines, or a bare CR or LF, ahead of the request");
const LINE_END: Fault = Fault::bad("a line of the head ends with a bare LF, not with CR and LF");
const NO_VERSION: Fault =
    Fault::bad("the request line is not METHOD TARGET HTTP/1.1 with one space between each");

/// The parts of it.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) method: &'a [u8],
    /// The target in the form that servers are asked in: a path, or an asterisk.
    pub(super) path: &'a [u8],
    /// The host an absolute target names.
    pub(super) authority: Option<&'a [u8]>,
    /// Of HTTP/1.
    pub(super) minor: u8,
}

/// The length of the empty lines before the first line.
pub(super) fn ahead(head: &[u8]) -> Result<usize, Fault> {
    let mut length = 0;
    loop {
        match &head[length..] {
            [b'\r', b'\n', ..] if length < AHEAD => length += 2,
            [b'\r' | b'\n', ..] => {
                return Err(EMPTY_LINES);
            }
            _ => return Ok(length),
        }
    }
}

/// The first line of `input` without its end, and what follows.
pub(super) fn split(input: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let end = memchr(b'\n', input).ok_or(LINE_END)?;
    match input[..end].split_last() {
        Some((b'\r', line)) => Ok((line, &input[end + 1..])),
        _ => Err(LINE_END),
    }
}

/// Looks at a head that is not complete: it may be none whatever follows, and a client that speaks another protocol
/// would be waited for. Says whether the first line is complete, so that there is nothing more to find out early.
///
/// # Errors
///
/// When it will be none.
pub(crate) fn early(begun: &[u8], target: usize) -> Result<bool, Fault> {
    let ahead = begun.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(begun.len());
    if ahead > AHEAD {
        return Err(EMPTY_LINES);
    }
    let begun = &begun[ahead..];
    match memchr(b'\n', begun) {
        Some(_) => check(split(begun)?.0, target).map(|_| true),
        None if begun.first().is_some_and(|&byte| !is_token(byte)) => {
            Err(Fault::bad("what was sent does not begin with a method: is this HTTP?"))
        }
        None if begun.len() > METHOD + target + " HTTP/1.1\r".len() => Err(too_long()),
        None => Ok(false),
    }
}

fn too_long() -> Fault {
    Fault::new(414, "the request target is longer than allowed here")
}

/// Takes `line` apart.
pub(super) fn check(line: &[u8], longest_target: usize) -> Result<Line<'_>, Fault> {
    let method_end = memchr(b' ', line).ok_or(NO_VERSION)?;
    let (method, rest) = (&line[..method_end], &line[method_end + 1..]);
    if method.is_empty() || method.len() > METHOD || !method.iter().all(|&byte| is_token(byte)) {
        return Err(Fault::bad("the method is not a token of 32 bytes at most"));
    }
    // HTTP/0.9 has no version: nobody who speaks it is left, and its answers have no head.
    let target_end = memchr(b' ', rest).ok_or(NO_VERSION)?;
    let (target, version) = (&rest[..target_end], &rest[target_end + 1..]);
    if target.len() > longest_target {
        return Err(too_long());
    }
    let minor = match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'0'..=b'9'] => minor - b'0',
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            return Err(Fault::new(505, "only HTTP/1.1 and HTTP/1.0 are spoken here"));
        }
        _ => return Err(NO_VERSION),
    };
    match method {
        b"CONNECT" => return Err(Fault::new(501, "CONNECT is not served: this is no forward proxy")),
        b"TRACE" => return Err(Fault::new(501, "TRACE is not served: it shows what browsers hide")),
        _ => {}
    }
    // `#` begins a fragment, which is not sent; the others have to be percent-encoded (RFC 3986, section 2). Those
    // that browsers send all the same, such as `|`, are let through as they are.
    if target.is_empty() || target.iter().any(|byte| !matches!(byte, 0x21..=0x7e) || b"\"#<>".contains(byte))
    {
        return Err(Fault::bad("the request target has bytes that must be percent-encoded"));
    }
    let (authority, path) = match target {
        [b'/', ..] => (None, target),
        b"*" if method == b"OPTIONS" => (None, target),
        _ => {
            let (authority, path) = absolute(target).ok_or(Fault::bad(
                "the request target is neither a path, nor an http URI, nor the asterisk of OPTIONS",
            ))?;
            let empty: &[u8] = if method == b"OPTIONS" { b"*" } else { b"/" };
            (Some(authority), if path.is_empty() { empty } else { path })
        }
    };
    if authority.is_some_and(|authority| authority.is_empty() || !super::fields::is_host(authority)) {
        return Err(Fault::bad("the request target is a URI without a valid host, or with a user's name"));
    }
    Ok(Line { method, path, authority, minor })
}

/// The authority and what follows it of an http or https URI (RFC 9110, section 4.2). A query without a path is
/// left to [`super::tidy`].
fn absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let scheme_end = target.windows(3).position(|window| window == b"://")?;
    let scheme = &target[..scheme_end];
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return None;
    }
    let rest = &target[scheme_end + 3..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    Some(rest.split_at(end))
}
