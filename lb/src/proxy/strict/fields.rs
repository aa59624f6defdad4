//! The fields of a head: their form (RFC 9112, section 5), and those that decide where the message ends or whom
//! it is for.

use super::line::split;
use super::{Fault, HeadLimits, is_token};

/// What the fields say that has to fit together.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    /// Whether there is a `Transfer-Encoding`, which then is `chunked` alone.
    chunked: bool,
    /// Whether there is an `Expect`, which then is `100-continue`.
    pub(super) expects: bool,
    upgrades: bool,
    /// All of them, with the empty line.
    pub(super) all: &'a [u8],
}

/// Checks the field lines that `lines` consists of; it ends with an empty line.
pub(super) fn check<'a>(lines: &'a [u8], limits: &HeadLimits) -> Result<Fields<'a>, Fault> {
    let mut found = Fields { all: lines, ..Fields::default() };
    let mut left = lines;
    for count in 0.. {
        let (line, rest) = split(left)?;
        if line.is_empty() {
            break;
        }
        if count >= limits.fields {
            return Err(Fault::new(431, "there are more header fields than allowed here"));
        }
        if line.len() > limits.field {
            return Err(Fault::new(431, "a header field is longer than allowed here"));
        }
        let (name, value) = field(line)?;
        found.note(name, value)?;
        left = rest;
    }
    Ok(found)
}

/// The name and the value of a field line (RFC 9112, section 5.1), without the white space around the value.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let name = &line[..line.iter().position(|&byte| !is_token(byte)).unwrap_or(line.len())];
    let value = match &line[name.len()..] {
        [b':', value @ ..] if !name.is_empty() => value,
        [b' ' | b'\t', ..] if name.is_empty() => {
            return Err(Fault::bad("a header field is folded over several lines"));
        }
        [b' ' | b'\t', ..] => {
            return Err(Fault::bad("there is white space between a header field's name and its colon"));
        }
        _ => {
            return Err(Fault::bad(
                "a header field has no name, or a byte in it that no name can have, or no colon",
            ));
        }
    };
    // Bytes above 127 are opaque (RFC 9110, section 5.5).
    if value.iter().fold(false, |bad, &byte| bad | ((byte < 0x20 && byte != b'\t') || byte == 0x7f)) {
        return Err(Fault::bad("a header field's value has a control byte in it, such as NUL or a bare CR"));
    }
    Ok((name, trim(value)))
}

/// `value` without spaces and tabs around it; other white space is none in HTTP.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

impl<'a> Fields<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Fault> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            4 if is("host") => {
                if self.host.replace(value).is_some() {
                    return Err(Fault::bad("there is more than one Host"));
                }
                if !is_host(value) {
                    return Err(Fault::bad("Host is not a host and a port"));
                }
            }
            14 if is("content-length") => {
                let length =
                    digits(value).ok_or(Fault::bad("Content-Length is not one number that can be"))?;
                if self.length.replace(length).is_some() {
                    return Err(Fault::bad("there is more than one Content-Length"));
                }
            }
            17 if is("transfer-encoding") => {
                if std::mem::replace(&mut self.chunked, true) {
                    return Err(Fault::bad("there is more than one Transfer-Encoding"));
                }
                only_chunked(value)?;
            }
            6 if is("expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Fault::new(417, "the only expectation that can be met is 100-continue"));
                }
                self.expects = true;
            }
            7 if is("upgrade") => self.upgrades |= value.eq_ignore_ascii_case(b"websocket"),
            _ => {}
        }
        Ok(())
    }

    /// Whether they fit together, and into HTTP/1.`minor`.
    pub(super) fn fit(&self, minor: u8) -> Result<(), Fault> {
        if self.chunked && self.length.is_some() {
            return Err(Fault::bad("there are both Content-Length and Transfer-Encoding"));
        }
        if self.chunked && minor == 0 {
            return Err(Fault::bad("HTTP/1.0 has no Transfer-Encoding"));
        }
        if self.host.is_none() && minor > 0 {
            return Err(Fault::bad("there is no Host"));
        }
        if self.upgrades && (self.chunked || self.length.is_some_and(|length| length > 0)) {
            return Err(Fault::bad("a request to switch to WebSocket has no body"));
        }
        Ok(())
    }
}

/// RFC 9112, section 6.1: what is coded in a way we do not know cannot be passed on.
fn only_chunked(codings: &[u8]) -> Result<(), Fault> {
    if codings.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let list: Vec<&[u8]> = codings.split(|&byte| byte == b',').map(trim).collect();
    let are_tokens =
        list.iter().all(|coding| !coding.is_empty() && coding.iter().all(|&byte| is_token(byte)));
    let chunks_twice_or_too_early = list.iter().rev().skip(1).any(is_chunked);
    if are_tokens && !chunks_twice_or_too_early {
        return Err(Fault::new(501, "the only transfer coding that is known here is chunked"));
    }
    Err(Fault::bad("Transfer-Encoding is not a list of codings that ends with one chunked"))
}

/// A number of digits alone: neither sign nor list.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    // What others hold in a signed number must not become negative there.
    i64::try_from(number).is_ok().then_some(number)
}

/// Whether `value` is `uri-host [ ":" port ]` (RFC 9110, section 7.2). It may be empty.
pub(super) fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', ..] => {
            let Some(end) = value.iter().position(|&byte| byte == b']') else { return false };
            let address = std::str::from_utf8(&value[1..end]).unwrap_or_default();
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            (&[][..], &value[end + 1..])
        }
        _ => value.split_at(value.iter().position(|&byte| byte == b':').unwrap_or(value.len())),
    };
    let port_fits = match port {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            let number = digits.iter().try_fold(0_u16, |number, digit| {
                let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
                number.checked_mul(10)?.checked_add(digit)
            });
            number.is_some()
        }
        _ => false,
    };
    // RFC 3986, section 3.2.2: unreserved, percent-encoded and sub-delims; a comma would be two hosts to some.
    port_fits
        && host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(byte))
        && (value.is_empty() || value.starts_with(b"[") || !host.is_empty())
}
