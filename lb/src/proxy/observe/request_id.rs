//! What a request is called: what came with it, where that may be believed and can be an id, or something new.

use http::HeaderValue;
use http::header::HeaderMap;

use crate::settings::{Accept, RequestIds};

/// The longest id that is taken over, in bytes.
const MAX_LENGTH: usize = 128;

/// What an id may have besides letters and digits: what UUIDs, ULIDs, base64 and trace ids have, and nothing that a log or
/// a shell could take for more than text.
const ALSO: &[u8] = b"-_.:+/=@~";

impl RequestIds {
    /// The id of a request that came with `headers`, from a trusted proxy or not.
    pub(crate) fn of(&self, headers: &HeaderMap, is_trusted: bool) -> HeaderValue {
        let accepted = match self.accept {
            Accept::Always => true,
            Accept::Trusted => is_trusted,
            Accept::Never => false,
        };
        let mut values = headers.get_all(&self.header).iter();
        match (values.next(), values.next()) {
            (Some(value), None) if accepted && is_id(value.as_bytes()) => value.clone(),
            _ => made(),
        }
    }
}

fn is_id(value: &[u8]) -> bool {
    (1..=MAX_LENGTH).contains(&value.len())
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || ALSO.contains(byte))
}

/// A new one: a random UUID (RFC 9562, section 5.4).
fn made() -> HeaderValue {
    let bits = rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let part = |from: u32, bits_wide: u32| bits >> from & ((1 << bits_wide) - 1);
    let text = format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        part(96, 32),
        part(80, 16),
        part(64, 16),
        part(48, 16),
        part(0, 48)
    );
    // Digits and dashes can always be a value.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn id(accept: Accept, values: &[&str], is_trusted: bool) -> String {
        let header = HeaderName::from_static("x-request-id");
        let value = |value: &&str| (header.clone(), HeaderValue::from_str(value).expect("a value"));
        let headers = values.iter().map(value).collect();
        let ids = RequestIds { header, accept };
        ids.of(&headers, is_trusted).to_str().expect("text").to_owned()
    }

    #[test]
    fn an_id_is_taken_over_from_whom_it_may_be_and_made_otherwise() {
        for (accept, is_trusted, taken) in [
            (Accept::Always, false, true),
            (Accept::Always, true, true),
            (Accept::Trusted, true, true),
            (Accept::Trusted, false, false),
            (Accept::Never, true, false),
        ] {
            assert_eq!(id(accept, &["mine"], is_trusted) == "mine", taken, "{accept:?} {is_trusted}");
        }
    }

    #[test]
    fn what_could_be_taken_for_more_than_an_id_is_none() {
        let longest = "a".repeat(MAX_LENGTH);
        for taken in ["a", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "a+b/c==", "1-5759e988-bd86", &longest] {
            assert_eq!(id(Accept::Always, &[taken], false), taken);
        }
        let too_long = "a".repeat(MAX_LENGTH + 1);
        for refused in
            [&[""][..], &["a b"], &["a\"b"], &["<b>"], &["a,b"], &["$(x)"], &[&too_long], &["a", "b"], &[]]
        {
            let made = id(Accept::Always, refused, true);
            assert!(!refused.contains(&made.as_str()));
            let shape: Vec<_> = made.split('-').map(str::len).collect();
            assert_eq!(shape, [8, 4, 4, 4, 12], "{made}");
            assert!(made[14..].starts_with('4') && "89ab".contains(&made[19..20]), "{made}");
        }
        assert_ne!(id(Accept::Never, &[], false), id(Accept::Never, &[], false));
    }
}
