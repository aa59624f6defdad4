//! HTTP/1.1 taken at its word: what can be read in two ways is refused before anyone reads it.
//!
//! ```text
//!   head ──▶ line (method, target, version) ──▶ fields ──▶ tidy: one form of each ──▶ Pingora
//!              │                                  │
//!              └── Fault: 400, 414, 417, 431, 501, 505 and the end of the connection
//!   body ──▶ chunked: byte for byte, no further than its end ──▶ Pingora
//! ```
//!
//! An upstream never sees the bytes of a client: it gets a head that was written anew, and a body in a framing of
//! ours. So there is nothing to smuggle a request in, as long as we and Pingora find the same end of each; that
//! is why both are told it by these files. `docs/http1.md` says what is answered to what.

pub(crate) mod chunked;
mod fields;
mod line;
mod tidy;

use self::fields::Fields;
use self::line::Line;
pub(crate) use self::line::early;
pub(crate) use self::tidy::tidy;

/// What is wrong with a request, and how that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: u16,
    /// For whoever has to mend the client.
    pub(crate) detail: &'static str,
}

impl Fault {
    /// A request that is none (RFC 9110, section 15.5.1).
    pub(crate) const fn bad(detail: &'static str) -> Self {
        Fault { status: 400, detail }
    }

    pub(crate) const fn new(status: u16, detail: &'static str) -> Self {
        Fault { status, detail }
    }

    pub(crate) fn title(self) -> &'static str {
        match self.status {
            408 => "Request timeout",
            414 => "URI too long",
            417 => "Expectation failed",
            431 => "Request header fields too large",
            501 => "Not implemented",
            505 => "HTTP version not supported",
            _ => "Bad request",
        }
    }
}

/// The limits on the parts of a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// The longest request target, in bytes.
    pub(crate) target: usize,
    /// The longest field line, in bytes.
    pub(crate) field: usize,
    /// The most field lines.
    pub(crate) fields: usize,
}

/// A head that can be read in one way only.
#[derive(Debug)]
pub(crate) struct Checked<'a> {
    line: Line<'a>,
    fields: Fields<'a>,
    /// Empty lines ahead of it, in bytes.
    ahead: usize,
}

impl Checked<'_> {
    /// Whether [`tidy`] has something to do.
    pub(crate) fn is_untidy(&self) -> bool {
        self.ahead > 0
            || self.line.authority.is_some()
            || self.line.minor > 1
            || (self.fields.expects && self.line.minor == 0)
    }
}

/// Checks `head`, which ends with its empty line.
///
/// # Errors
///
/// With the first thing that is wrong with it.
pub(crate) fn check<'a>(head: &'a [u8], limits: &HeadLimits) -> Result<Checked<'a>, Fault> {
    let ahead = line::ahead(head)?;
    let (first, rest) = line::split(&head[ahead..])?;
    let line = line::check(first, limits.target)?;
    let fields = fields::check(rest, limits)?;
    fields.fit(line.minor)?;
    Ok(Checked { line, fields, ahead })
}

/// Whether `byte` can be in a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Every byte of every field's name is looked up.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] = matches!(byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z');
        byte += 1_u8;
    }
    table
};

#[cfg(test)]
mod tests;
