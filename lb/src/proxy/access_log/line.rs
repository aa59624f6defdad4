//! An object of JSON, written straight into the line that it is: to describe it first and then have it written cost a request
//! a fifth of its time outside the kernel.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::super::address;

/// Most lines are no longer, in bytes.
const USUAL: usize = 640;

/// A name as it stands ahead of a value, after one before it: most of a line is names, and each is written in one piece, whose
/// length is known where it is written.
macro_rules! name {
    ($name:literal) => {
        $crate::proxy::access_log::line::Name(concat!(",\"", $name, "\":"))
    };
}
pub(super) use name;

/// The same of the first name in its object.
macro_rules! first {
    ($name:literal) => {
        $crate::proxy::access_log::line::Name(concat!("\"", $name, "\":"))
    };
}
pub(super) use first;

/// Made by [`name!`] or [`first!`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Name(pub(super) &'static str);

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

    #[inline(always)]
    fn name(&mut self, Name(name): Name) {
        self.0.extend_from_slice(name.as_bytes());
    }

    #[inline(always)]
    pub(super) fn text(&mut self, name: Name, text: &str) {
        self.bytes(name, text.as_bytes());
    }

    /// The same of what may be no text: what is none in it is replaced.
    #[inline(always)]
    pub(super) fn bytes(&mut self, name: Name, bytes: &[u8]) {
        self.name(name);
        self.string(bytes);
    }

    /// The same of a word of ours, which JSON has as it is.
    #[inline(always)]
    pub(super) fn word(&mut self, name: Name, word: &'static str) {
        self.name(name);
        self.quoted(word.as_bytes());
    }

    fn string(&mut self, bytes: &[u8]) {
        if is_plain(bytes) {
            return self.quoted(bytes);
        }
        // Text can always be written as JSON.
        let _ = serde_json::to_writer(&mut self.0, &String::from_utf8_lossy(bytes));
    }

    fn quoted(&mut self, plain: &[u8]) {
        self.0.reserve(plain.len() + 2);
        self.0.push(b'"');
        self.0.extend_from_slice(plain);
        self.0.push(b'"');
    }

    #[inline(always)]
    pub(super) fn address(&mut self, name: Name, address: IpAddr) {
        self.name(name);
        self.0.push(b'"');
        address::write(&mut self.0, address);
        self.0.push(b'"');
    }

    /// In UTC, to the microsecond (RFC 3339).
    pub(super) fn time(&mut self, name: Name, time: SystemTime) {
        self.name(name);
        self.0.push(b'"');
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        SECOND.with_borrow_mut(|second| self.0.extend_from_slice(second.text(since.as_secs())));
        self.0.push(b'.');
        let micros = since.subsec_micros();
        for place in [100_000, 10_000, 1_000, 100, 10, 1] {
            self.0.push(digit(micros / place % 10));
        }
        self.0.extend_from_slice(b"Z\"");
    }

    /// A number, or null.
    #[inline(always)]
    pub(super) fn number(&mut self, name: Name, number: Option<u64>) {
        self.name(name);
        match number {
            Some(number) => self.digits(number),
            None => self.0.extend_from_slice(b"null"),
        }
    }

    fn digits(&mut self, number: u64) {
        match u8::try_from(number) {
            // Most are that short: counts, and times of what is near.
            Ok(short @ 0..10) => self.0.push(b'0' + short),
            _ => self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    #[inline(always)]
    pub(super) fn flag(&mut self, name: Name, is: bool) {
        self.name(name);
        self.0.extend_from_slice(if is { b"true" } else { b"false" });
    }

    /// A list of objects, each of which `write` writes.
    pub(super) fn list<T>(&mut self, name: Name, items: &[T], write: impl Fn(&mut Self, &T)) {
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

/// Whether JSON has `bytes` as they are, between quotes: ASCII from the space on, without quotes and backslashes. They are looked at
/// eight at a time, which most texts are not much longer than.
fn is_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    const TOP: u64 = ONES << 7;
    let are_plain = |eight: [u8; 8]| {
        let eight = u64::from_ne_bytes(eight);
        // In each byte that is less than 0x80 the top bit of a difference says whether it is less than what is taken away;
        // what is borrowed from a neighbour only ever says so of more bytes.
        let less = eight.wrapping_sub(ONES * u64::from(b' '));
        let is_quote = (eight ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
        let is_backslash = (eight ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
        (eight | less | is_quote | is_backslash) & TOP == 0
    };
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut last = [b' '; 8];
    last.iter_mut().zip(rest).for_each(|(last, byte)| *last = *byte);
    eights.iter().all(|eight| are_plain(*eight)) && are_plain(last)
}

fn digit(digit: u32) -> u8 {
    // It is less than ten.
    b'0'.wrapping_add(u8::try_from(digit).unwrap_or(0))
}

thread_local! {
    static SECOND: RefCell<Second> = const { RefCell::new(Second { of: None, text: String::new() }) };
}

/// The second that was written last: to write a date costs more than the rest of a line's beginning, and many lines share it.
struct Second {
    of: Option<u64>,
    text: String,
}

impl Second {
    fn text(&mut self, second: u64) -> &[u8] {
        if self.of != Some(second) {
            self.of = Some(second);
            self.text.clear();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            // Text takes anything, and the time was one of the system's.
            let _ = write!(self.text, "{}", humantime::format_rfc3339_seconds(time));
            self.text.truncate(self.text.len().saturating_sub(1));
        }
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_json_whatever_is_in_it() {
        let mut line = Line::new();
        line.time(first!("time"), SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_000));
        line.address(name!("address"), [10, 0, 0, 255].into());
        line.text(name!("plain"), "a/b?c=d'\u{7f}\u{e4}");
        line.text(name!("odd"), "a\"b\\c\n\u{1}");
        line.bytes(name!("none"), b"a\xffb");
        line.number(name!("number"), Some(u64::MAX));
        line.number(name!("none"), None);
        line.flag(name!("flag"), true);
        line.list(name!("empty"), &[0; 0], |_, _| {});
        line.list(name!("list"), &["x", "y"], |line, item| {
            line.text(first!("name"), item);
            line.flag(name!("is"), false);
        });
        let expected = concat!(
            r#"{"time":"1970-01-01T00:00:01.500000Z","address":"10.0.0.255","plain":"a/b?c=d'"#,
            "\u{7f}\u{e4}",
            r#"","odd":"a\"b\\c\n\u0001","none":"a"#,
            "\u{fffd}",
            r#"b","number":18446744073709551615,"none":null,"flag":true,"empty":[],"#,
            r#""list":[{"name":"x","is":false},{"name":"y","is":false}]}"#,
            "\n",
        );
        let text = String::from_utf8(line.end().to_vec()).expect("text");
        assert_eq!(text, expected);
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    }

    #[test]
    fn times_are_written_as_others_write_them() {
        for micros in [0, 1, 999_999, 1_000_000, 1_800_000_000_123_456, 1_800_000_000_999_999, 7] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
            let mut line = Line::new();
            line.time(first!("time"), time);
            let expected = format!("{{\"time\":\"{}\"}}\n", humantime::format_rfc3339_micros(time));
            assert_eq!(line.end(), expected.as_bytes());
        }
    }
}
