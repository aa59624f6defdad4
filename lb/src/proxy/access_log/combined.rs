//! A line as Apache's httpd writes it (Combined Log Format), which most programs that read logs know. It has no room for
//! attempts; behind it comes the request's id, where requests have one.
//!
//! ```text
//! 192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] "GET /a HTTP/1.1" 200 2326 "http://referer/" "agent"
//! ```

use std::io::Write as _;
use std::time::SystemTime;

use super::super::address;
use super::About;

/// What stands for the status of a request that was not answered: most often its client has left. nginx writes the same.
const UNANSWERED: u16 = 499;

/// Most lines are no longer, in bytes.
const USUAL: usize = 320;

/// A line whose middle is not known yet.
#[derive(Debug)]
pub(crate) struct Combined {
    line: Vec<u8>,
    after: Vec<u8>,
}

impl Combined {
    /// What is known of it at the beginning.
    pub(super) fn new(about: &About<'_>) -> Self {
        let mut line = Vec::with_capacity(USUAL);
        address::write(&mut line, about.client);
        line.extend_from_slice(b" - - [");
        time(&mut line, about.time);
        line.extend_from_slice(b"] \"");
        for (index, part) in [about.method, about.target, about.version].into_iter().enumerate() {
            if index > 0 && !part.is_empty() {
                line.push(b' ');
            }
            escaped(&mut line, part);
        }
        line.push(b'"');
        let mut after = Vec::new();
        let id = about.id.map(http::HeaderValue::as_bytes);
        for value in [Some(about.referer), Some(about.agent), id].into_iter().flatten() {
            after.extend_from_slice(b" \"");
            escaped(&mut after, if value.is_empty() { b"-" } else { value });
            after.push(b'"');
        }
        after.push(b'\n');
        Combined { line, after }
    }

    /// All of it, with its line feed.
    pub(super) fn end(&mut self, status: Option<u16>, bytes: u64) -> &[u8] {
        let _ = write!(self.line, " {} ", status.unwrap_or(UNANSWERED));
        let _ = if bytes == 0 { self.line.write_all(b"-") } else { write!(self.line, "{bytes}") };
        self.line.append(&mut self.after);
        &self.line
    }
}

/// `10/Oct/2000:13:55:36 +0000`, out of `Tue, 10 Oct 2000 13:55:36 GMT`.
fn time(line: &mut Vec<u8>, time: SystemTime) {
    let date = httpdate::fmt_http_date(time);
    let [day, month, year, clock] =
        [5..7, 8..11, 12..16, 17..25].map(|part| date.get(part).unwrap_or_default());
    let _ = write!(line, "{day}/{month}/{year}:{clock} +0000");
}

/// As httpd does it, so that no request can end its field or its line.
fn escaped(line: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => line.push(byte),
            _ => {
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;

    fn about<'a>(target: &'a [u8], agent: &'a [u8], id: Option<&'a HeaderValue>) -> About<'a> {
        About {
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(971_186_136),
            client: [192, 0, 2, 7].into(),
            peer: [10, 0, 0, 1].into(),
            method: b"GET",
            host: b"example.org",
            target,
            version: b"HTTP/1.1",
            referer: b"",
            agent,
            id,
            context: None,
        }
    }

    #[test]
    fn it_is_what_httpd_writes() {
        let mut line = Combined::new(&about(b"/a?b=c", b"curl/8", None));
        let expected =
            "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"GET /a?b=c HTTP/1.1\" 200 2326 \"-\" \"curl/8\"\n";
        assert_eq!(String::from_utf8_lossy(line.end(Some(200), 2326)), expected);
    }

    #[test]
    fn nothing_a_client_sends_ends_its_field_or_line() {
        let id = HeaderValue::from_static("the-id");
        let mut line = Combined::new(&about(b"/\"\\\n\xff", b"\x1b[2J\" 200 1", Some(&id)));
        let expected = concat!(
            r#"192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] "GET /\"\\\x0a\xff HTTP/1.1" 499 - "-" "\x1b[2J\" 200 1" "the-id""#,
            "\n"
        );
        assert_eq!(String::from_utf8_lossy(line.end(None, 0)), expected);
    }
}
