//! Brings a head that is right, but in a form of its own, into the one form that all who come later know.

use super::Checked;
use super::fields::field;
use super::line::split;

/// The same head without empty lines ahead of it, with a path for its target, with the host of an absolute target
/// in `Host`, whatever `Host` said (RFC 9112, section 3.2.2), as HTTP/1.1 where it is a later minor version
/// (RFC 9110, section 2.5), and in HTTP/1.0 without an expectation, which that does not have (section 10.1.1).
pub(crate) fn tidy(checked: &Checked<'_>) -> Vec<u8> {
    let Checked { line, fields, .. } = checked;
    let mut tidied = Vec::with_capacity(fields.all.len() + line.path.len() + 64);
    tidied.extend_from_slice(line.method);
    tidied.push(b' ');
    if line.path.starts_with(b"?") {
        tidied.push(b'/');
    }
    tidied.extend_from_slice(line.path);
    tidied.extend_from_slice(if line.minor == 0 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    if let Some(authority) = line.authority {
        tidied.extend_from_slice(b"Host: ");
        tidied.extend_from_slice(authority);
        tidied.extend_from_slice(b"\r\n");
    }
    let mut left = fields.all;
    while let Ok((text, rest)) = split(left) {
        let Ok((name, _)) = field(text) else { break };
        let replaced = line.authority.is_some() && name.eq_ignore_ascii_case(b"host");
        let unknown = line.minor == 0 && name.eq_ignore_ascii_case(b"expect");
        if !replaced && !unknown {
            tidied.extend_from_slice(text);
            tidied.extend_from_slice(b"\r\n");
        }
        left = rest;
    }
    tidied.extend_from_slice(b"\r\n");
    tidied
}
