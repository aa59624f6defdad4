//! What a body said, in few words and without its secrets, for the audit log.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header;
use serde_json::Value;

/// Bodies of changes that people make are small; larger ones are not looked into, in bytes.
const LOOK_INTO: usize = 16 << 10;

/// The longest text of one value, in characters: what is longer may be a key.
const VALUE: usize = 48;

/// The longest summary, in characters.
const SUMMARY: usize = 256;

/// Words in the name of a field whose value is not for the log.
const SECRET: [&str; 6] = ["secret", "token", "password", "key", "certificate", "credential"];

/// The request as it came, and what its body says.
pub(super) async fn summarized(request: Request) -> Result<(Request, Option<String>), axum::Error> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match length {
        None if request.headers().contains_key(header::TRANSFER_ENCODING) => {
            Ok((request, Some("of unknown length".to_owned())))
        }
        None | Some(0) => Ok((request, None)),
        Some(length) if length > LOOK_INTO => Ok((request, Some(format!("{length} bytes")))),
        Some(_) => {
            let (parts, body) = request.into_parts();
            let bytes = to_bytes(body, LOOK_INTO).await?;
            let said = summary(&bytes);
            Ok((Request::from_parts(parts, Body::from(bytes)), Some(said)))
        }
    }
}

/// What `body` says.
fn summary(body: &[u8]) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return format!("{} bytes", body.len());
    };
    let fields: Vec<String> = fields.iter().map(|(name, value)| field(name, value)).collect();
    shortened(&fields.join(" "), SUMMARY)
}

fn field(name: &str, value: &Value) -> String {
    let lower = name.to_lowercase();
    let value = match value {
        _ if SECRET.iter().any(|word| lower.contains(word)) => "(not shown)".to_owned(),
        Value::String(text) if text.chars().count() > VALUE => format!("({} bytes)", text.len()),
        Value::String(text) => text.clone(),
        Value::Object(_) => "{…}".to_owned(),
        Value::Array(values) => {
            let texts: Vec<String> =
                values.iter().take(8).map(|value| field("", value)[1..].to_owned()).collect();
            texts.join(",")
        }
        other => other.to_string(),
    };
    format!("{}={value}", shortened(name, VALUE))
}

/// At most `limit` characters of `text`.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_short_and_has_no_secrets() {
        assert_eq!(summary(br#"{"service":"web"}"#), "service=web");
        assert_eq!(summary(br#"{"on":true,"for_s":60}"#), "for_s=60 on=true");
        assert_eq!(summary(br#"{"name":"ci","scopes":["read","chaos"]}"#), "name=ci scopes=read,chaos");
        assert_eq!(
            summary(br#"{"joinToken":"abc","PASSWORD":1}"#),
            "PASSWORD=(not shown) joinToken=(not shown)"
        );
        assert_eq!(summary(b"not json"), "8 bytes");
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(100));
        assert_eq!(summary(long.as_bytes()), "a=(100 bytes)");
        let many: Vec<String> = (0..500).map(|n| format!(r#""f{n}":{n}"#)).collect();
        assert!(summary(format!("{{{}}}", many.join(",")).as_bytes()).chars().count() <= SUMMARY + 1);
        assert_eq!(shortened("äöü", 2), "äö…");
    }
}
