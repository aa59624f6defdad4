//! The head of a request or an answer, as far as a bench needs it: where it ends and how long its body is.

use memchr::{memchr, memmem};

/// The longest head that is waited for, in bytes.
pub(crate) const MAX_HEAD: usize = 64 << 10;

/// What a head says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its length in bytes, the empty line included.
    pub(crate) len: usize,
    /// The length of the body, where it is said.
    pub(crate) content_length: Option<u64>,
    /// The connection ends after this message.
    pub(crate) close: bool,
    /// The body has no length but is in chunks.
    pub(crate) chunked: bool,
}

impl Head {
    /// The head at the beginning of `bytes`; none where it is not complete.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Head> {
        let end = memmem::find(bytes, b"\r\n\r\n")?;
        let mut head = Head { len: end + 4, ..Head::default() };
        let mut lines = Lines(&bytes[..end]);
        if let Some(first) = lines.next() {
            head.close = first.ends_with(b"HTTP/1.0");
        }
        for line in lines {
            // Most fields are none of ours, and their first letter says so.
            if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
                continue;
            }
            if let Some(value) = value_of(line, b"content-length") {
                head.content_length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            } else if let Some(value) = value_of(line, b"connection") {
                head.close |= value.eq_ignore_ascii_case(b"close");
            } else if value_of(line, b"transfer-encoding").is_some() {
                head.chunked = true;
            }
        }
        Some(head)
    }
}

/// The value of `line` if it is the field `name`.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (field, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    field.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// The lines of a head.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr(b'\n', self.0);
        let (line, rest) = end.map_or((self.0, &[][..]), |at| (&self.0[..at], &self.0[at + 1..]));
        self.0 = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_long_it_and_its_body_are() {
        let text = b"POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 12\r\nConnection: Close\r\n\r\nbody";
        let head = Head::parse(text).expect("complete");
        assert_eq!(head, Head { len: text.len() - 4, content_length: Some(12), close: true, chunked: false });
        assert_eq!(Head::parse(&text[..text.len() - 6]), None, "the empty line is missing");
    }

    #[test]
    fn what_looks_like_a_field_is_none() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Lengths: 5\r\nX: Content-Length: 6\r\nContent-Length\r\n\r\n";
        let head = Head::parse(text).expect("complete");
        assert_eq!(head, Head { len: text.len(), ..Head::default() });
    }

    #[test]
    fn old_clients_close() {
        assert!(Head::parse(b"GET / HTTP/1.0\r\n\r\n").expect("complete").close);
        assert!(
            Head::parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").expect("complete").chunked
        );
    }
}
