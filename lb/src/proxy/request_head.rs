//! Where a request's head ends, found before Pingora parses it, so that its size and its time are ours to
//! limit.

/// The length of the request head that `input` begins with, if it is complete. `searched` bytes have
/// been looked through before. Empty lines ahead of it count as its part (RFC 9112, section 2.2); like
/// Pingora's parser, a bare LF ends a line too.
pub(crate) fn head_length(input: &[u8], searched: usize) -> Option<usize> {
    let start = input.iter().position(|&byte| byte != b'\r' && byte != b'\n')?;
    let from = start.max(searched.saturating_sub(2));
    let rest = &input[from..];
    memchr::memchr_iter(b'\n', rest).find_map(|index| match &rest[index + 1..] {
        [b'\n', ..] => Some(from + index + 2),
        [b'\r', b'\n', ..] => Some(from + index + 3),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::head_length;

    #[test]
    fn a_head_ends_with_an_empty_line_however_it_arrives() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nbody", 27),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", 22),
            ("GET / HTTP/1.1\nHost: a\n\nbody", 24),
        ] {
            assert_eq!(head_length(text.as_bytes(), 0), Some(expected), "{text:?}");
            let mut searched = 0;
            let found = (1..=text.len()).find_map(|end| {
                let length = head_length(&text.as_bytes()[..end], searched);
                searched = end;
                length
            });
            assert_eq!(found, Some(expected), "{text:?} byte by byte");
        }
        assert_eq!(head_length(b"\r\n\r\n", 0), None);
    }
}
