//! The trace that a request is part of, as the W3C has it (Trace Context, level 1): what came is understood or thrown away,
//! and upstreams are told of ourselves.
//!
//! ```text
//!   traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//!                │  trace                            parent           flags, of which one means: recorded
//!                version
//! ```

use std::num::NonZeroU64;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Says which trace a request is part of, and who asked.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What tracing systems say beside it, which nobody else understands.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of a `traceparent` of version 00, in bytes.
const LENGTH: usize = 55;

/// The one flag that means anything: spans of this trace are recorded.
const RECORDED: u8 = 0x01;

/// The most members of `tracestate`.
const MAX_MEMBERS: usize = 32;

/// The longest part of a key, and the longest value, in bytes (section 3.3.1.3).
const MAX_KEY: usize = 256;
const MAX_TENANT: usize = 241;
const MAX_SYSTEM: usize = 14;

/// The id of a span. Zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanId(NonZeroU64);

impl SpanId {
    /// A new one.
    pub(crate) fn random() -> Self {
        SpanId(NonZeroU64::new(rand::random()).unwrap_or(NonZeroU64::MIN))
    }

    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }

    /// As it is written.
    pub(crate) fn text(self) -> String {
        format!("{:016x}", self.0)
    }
}

/// What a valid `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    trace: u128,
    span: SpanId,
    /// Whether whoever sent it records it.
    pub(crate) is_recorded: bool,
}

impl Parent {
    /// What `headers` say; none where they say nothing, or nothing that is valid: a new trace is begun then.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?.as_bytes().trim_ascii();
        if values.next().is_some() {
            return None;
        }
        Self::read(value)
    }

    fn read(value: &[u8]) -> Option<Self> {
        let (known, more) = value.split_at_checked(LENGTH)?;
        let [v1, v2, b'-', rest @ ..] = known else { return None };
        let version = hex(&[*v1, *v2])?;
        // A later version may say more, behind another dash; ff is forbidden.
        let may_go_on = version != 0 && more.first().is_none_or(|&byte| byte == b'-');
        if version == 0xff || !(more.is_empty() || may_go_on) {
            return None;
        }
        let (trace, rest) = rest.split_at_checked(32)?;
        let [b'-', rest @ ..] = rest else { return None };
        let (span, rest) = rest.split_at_checked(16)?;
        let [b'-', flags @ ..] = rest else { return None };
        let trace = hex(trace).filter(|trace| *trace != 0)?;
        let span = u64::try_from(hex(span)?).ok().and_then(NonZeroU64::new)?;
        let is_recorded = hex(flags)? & u128::from(RECORDED) != 0;
        Some(Parent { trace, span: SpanId(span), is_recorded })
    }
}

/// A number in small hexadecimal digits; capitals are not valid.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// The trace of a request, and its place in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    trace: u128,
    parent: Option<SpanId>,
    /// The request here.
    pub(crate) span: SpanId,
    pub(crate) is_recorded: bool,
}

impl Context {
    /// Goes on with the trace of `parent`, or begins one.
    pub(crate) fn new(parent: Option<Parent>, is_recorded: bool) -> Self {
        let trace = parent.map_or_else(|| rand::random::<u128>().max(1), |parent| parent.trace);
        Context { trace, parent: parent.map(|parent| parent.span), span: SpanId::random(), is_recorded }
    }

    pub(crate) fn trace_bytes(&self) -> [u8; 16] {
        self.trace.to_be_bytes()
    }

    /// The trace's id as it is written.
    pub(crate) fn trace_text(&self) -> String {
        format!("{:032x}", self.trace)
    }

    pub(crate) fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    /// The `traceparent` of what `span` asks for.
    pub(crate) fn field(&self, span: SpanId) -> HeaderValue {
        let flags = if self.is_recorded { RECORDED } else { 0 };
        let text = format!("00-{:032x}-{:016x}-{flags:02x}", self.trace, span.0);
        // Digits and dashes can always be a value.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Whether all of `tracestate` can be passed on: what is not valid is thrown away as a whole.
pub(crate) fn is_state(headers: &HeaderMap) -> bool {
    let values = headers.get_all(TRACESTATE).iter();
    let members = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let members =
        members.map(|member| member.trim_ascii_start()).filter(|member| !member.trim_ascii().is_empty());
    let mut count = 0;
    members.into_iter().all(|member| {
        count += 1;
        count <= MAX_MEMBERS && is_member(member)
    })
}

fn is_member(member: &[u8]) -> bool {
    let Some(equals) = member.iter().position(|&byte| byte == b'=') else { return false };
    let (key, value) = (&member[..equals], member[equals + 1..].trim_ascii_end());
    let is_value = !value.is_empty()
        && value.len() <= MAX_KEY
        && value.iter().all(|&byte| matches!(byte, b' '..=b'~') && byte != b'=' && byte != b',');
    let is_key = match key.iter().position(|&byte| byte == b'@') {
        None => is_name(key, MAX_KEY, false),
        Some(at) => is_name(&key[..at], MAX_TENANT, true) && is_name(&key[at + 1..], MAX_SYSTEM, false),
    };
    is_key && is_value
}

fn is_name(name: &[u8], most: usize, may_begin_with_digit: bool) -> bool {
    let begins = |byte: u8| byte.is_ascii_lowercase() || may_begin_with_digit && byte.is_ascii_digit();
    let goes_on = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/')
    };
    name.len() <= most && name.first().copied().is_some_and(begins) && name.iter().all(goes_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).expect("a value"))).collect()
    }

    #[test]
    fn what_is_valid_is_gone_on_with() {
        let parent = Parent::of(&headers(TRACEPARENT, &[VALID])).expect("valid");
        assert!(parent.is_recorded);
        let context = Context::new(Some(parent), false);
        assert_eq!(context.trace_text(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent().expect("the caller").text(), "00f067aa0ba902b7");
        let field = context.field(context.span);
        let expected = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-00", context.span.text());
        assert_eq!(field, expected);
        assert_ne!(context.span.text(), "00f067aa0ba902b7");
    }

    #[test]
    fn versions_flags_and_what_is_wrong_are_told_apart() {
        let read = |text: &str| Parent::read(text.as_bytes()).map(|parent| parent.is_recorded);
        for (text, expected) in [
            (VALID.to_owned(), Some(true)),
            (VALID.replace("-01", "-00"), Some(false)),
            (VALID.replace("-01", "-fe"), Some(false)),
            (VALID.replace("-01", "-03"), Some(true)),
            (format!("cc{}", &VALID[2..]), Some(true)),
            (format!("cc{}-what-comes-then", &VALID[2..]), Some(true)),
            (format!("cc{}.what", &VALID[2..]), None),
            (format!("{VALID}-what"), None),
            (format!("ff{}", &VALID[2..]), None),
            (VALID.to_uppercase(), None),
            (VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), None),
            (VALID.replace("00f067aa0ba902b7", &"0".repeat(16)), None),
            (VALID.replace("-01", "-0g"), None),
            (VALID.replacen("00-", "0x-", 1), None),
            (VALID.replace('-', "_"), None),
            (VALID[..54].to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(read(&text), expected, "{text}");
        }
        assert_eq!(Parent::of(&headers(TRACEPARENT, &[VALID, VALID])), None, "two are none");
        assert!(Parent::of(&headers(TRACEPARENT, &[&format!(" {VALID} ")])).is_some());
    }

    #[test]
    fn each_trace_and_span_is_another() {
        let [one, other] = [Context::new(None, true), Context::new(None, true)];
        assert_ne!(one.trace_text(), other.trace_text());
        assert_ne!(one.span, other.span);
        assert_eq!(one.parent(), None);
        let field = one.field(one.span);
        assert!(
            Parent::of(&headers(TRACEPARENT, &[field.to_str().expect("text")])).expect("valid").is_recorded
        );
    }

    #[test]
    fn what_others_say_is_passed_on_whole_or_not_at_all() {
        let long = |count: usize| "a".repeat(count);
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        for (value, expected) in [
            ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE".to_owned(), true),
            ("a=1 , \tb=2,, ,c=3".to_owned(), true),
            ("0tenant@system=a b!".to_owned(), true),
            (String::new(), true),
            (many(32), true),
            (many(33), false),
            (format!("{}={}", long(256), long(256)), true),
            (format!("{}=v", long(257)), false),
            (format!("k={}", long(257)), false),
            (format!("{}@{}=v", long(241), long(14)), true),
            (format!("{}@{}=v", long(242), long(14)), false),
            (format!("a@{}=v", long(15)), false),
            ("foo".to_owned(), false),
            ("foo=".to_owned(), false),
            ("FOO=1".to_owned(), false),
            ("0foo=1".to_owned(), false),
            ("foo@0s=1".to_owned(), false),
            ("foo =1".to_owned(), false),
            ("foo=b=c".to_owned(), false),
            ("foo@=1".to_owned(), false),
            ("@foo=1".to_owned(), false),
            ("a@b@c=1".to_owned(), false),
        ] {
            assert_eq!(is_state(&headers(TRACESTATE, &[&value])), expected, "{value}");
        }
        assert!(is_state(&headers(TRACESTATE, &["a=1", "b=2"])));
        assert!(!is_state(&headers(TRACESTATE, &["a=1", "b"])));
    }
}
