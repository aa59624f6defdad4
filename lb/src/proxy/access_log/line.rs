//! An object of JSON, written straight into the line that it is: to describe it first and then have it written cost a request
//! a fifth of its time outside the kernel.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::SystemTime;

use super::super::address;

/// Most lines are no longer, in bytes.
const USUAL: usize = 640;

/// A line that is being written. Names are plain words.
#[derive(Debug)]
pub(super) struct Line(Vec<u8>);

impl Line {
    /// The beginning of an object.
    pub(super) fn new() -> Self {
        let mut line = Vec::with_capacity(USUAL);
        line.push(b'{');
        Line(line)
    }

    fn name(&mut self, name: &str) {
        if !self.0.ends_with(b"{") {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            // Text can always be written as JSON.
            let _ = serde_json::to_writer(&mut self.0, text);
            return;
        }
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
    }

    pub(super) fn address(&mut self, name: &str, address: IpAddr) {
        self.name(name);
        self.0.push(b'"');
        address::write(&mut self.0, address);
        self.0.push(b'"');
    }

    pub(super) fn time(&mut self, name: &str, time: SystemTime) {
        self.name(name);
        let _ = write!(self.0, "\"{}\"", humantime::format_rfc3339_micros(time));
    }

    /// A number, or null.
    pub(super) fn number(&mut self, name: &str, number: Option<u64>) {
        self.name(name);
        // So can a number.
        let _ = serde_json::to_writer(&mut self.0, &number);
    }

    pub(super) fn flag(&mut self, name: &str, is: bool) {
        self.name(name);
        self.0.extend_from_slice(if is { b"true" } else { b"false" });
    }

    /// A list of objects, each of which `write` writes.
    pub(super) fn list<T>(&mut self, name: &str, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.name(name);
        self.0.push(b'[');
        for (index, item) in items.iter().enumerate() {
            self.0.extend_from_slice(if index == 0 { b"{" } else { b",{" });
            write(self, item);
            self.0.push(b'}');
        }
        self.0.push(b']');
    }

    /// All of it, with its line feed.
    pub(super) fn end(&mut self) -> &[u8] {
        self.0.extend_from_slice(b"}\n");
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_json_whatever_is_in_it() {
        let mut line = Line::new();
        line.time("time", SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_000));
        line.address("address", [10, 0, 0, 255].into());
        line.text("plain", "a/b?c=d'\u{7f}\u{e4}");
        line.text("odd", "a\"b\\c\n\u{1}");
        line.number("number", Some(u64::MAX));
        line.number("none", None);
        line.flag("flag", true);
        line.list("empty", &[0; 0], |_, _| {});
        line.list("list", &["x", "y"], |line, item| {
            line.text("name", item);
            line.flag("is", false);
        });
        let expected = concat!(
            r#"{"time":"1970-01-01T00:00:01.500000Z","address":"10.0.0.255","plain":"a/b?c=d'"#,
            "\u{7f}\u{e4}",
            r#"","odd":"a\"b\\c\n\u0001","number":18446744073709551615,"none":null,"flag":true,"empty":[],"#,
            r#""list":[{"name":"x","is":false},{"name":"y","is":false}]}"#,
            "\n",
        );
        let text = String::from_utf8(line.end().to_vec()).expect("text");
        assert_eq!(text, expected);
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    }
}
