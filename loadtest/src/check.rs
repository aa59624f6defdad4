//! What an answer must be to count as a success, besides complete.

use http::StatusCode;
use regex::bytes::Regex;
use serde_json_path::JsonPath;

use crate::count::Failure;

/// A longer answer is not looked into, in bytes: it fails its check.
pub const MAX_CHECKED: usize = 1 << 20;

/// What is wanted of the answers of one target.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// Its status is one of these; 2xx and 3xx where there are none.
    pub status: Vec<StatusCode>,
    /// Its body is JSON in which this finds something (RFC 9535).
    pub json: Option<JsonPath>,
    /// Its body matches this.
    pub regex: Option<Regex>,
}

impl Check {
    /// Reads what was written of it.
    ///
    /// # Errors
    ///
    /// Says which part is wrong and how one is written.
    pub fn new(status: &[u16], json: Option<&str>, regex: Option<&str>) -> Result<Self, String> {
        let status = status.iter().map(|status| {
            StatusCode::from_u16(*status).map_err(|_| format!("{status} is no status: expected 100 to 999"))
        });
        let json = json.map(|path| {
            JsonPath::parse(path).map_err(|error| {
                format!("`{path}` is no JSONPath such as $.value or $[?@.value > 3]: {error}")
            })
        });
        let regex = regex.map(|regex| {
            Regex::new(regex).map_err(|error| format!("`{regex}` is no regular expression: {error}"))
        });
        Ok(Check {
            status: status.collect::<Result<_, _>>()?,
            json: json.transpose()?,
            regex: regex.transpose()?,
        })
    }

    /// Whether the body is looked at.
    pub fn needs_body(&self) -> bool {
        self.json.is_some() || self.regex.is_some()
    }

    /// Judges the status.
    ///
    /// # Errors
    ///
    /// What kind of failure it is.
    pub fn judge_status(&self, status: StatusCode) -> Result<(), Failure> {
        if self.status.contains(&status) {
            return Ok(());
        }
        match status.as_u16() {
            200..=399 if self.status.is_empty() => Ok(()),
            400..=499 => Err(Failure::Http4xx),
            502 => Err(Failure::Http502),
            503 => Err(Failure::Http503),
            504 => Err(Failure::Http504),
            500..=599 => Err(Failure::Http5xx),
            200..=399 => Err(Failure::WrongStatus),
            _ => Err(Failure::Protocol),
        }
    }

    /// Judges a complete body; none if it was too long to be kept.
    ///
    /// # Errors
    ///
    /// [`Failure::WrongBody`].
    pub fn judge_body(&self, body: Option<&[u8]>) -> Result<(), Failure> {
        if !self.needs_body() {
            return Ok(());
        }
        let Some(body) = body else { return Err(Failure::WrongBody) };
        let matches = self.regex.as_ref().is_none_or(|regex| regex.is_match(body));
        let found = self.json.as_ref().is_none_or(|path| {
            serde_json::from_slice(body).is_ok_and(|value| !path.query(&value).is_empty())
        });
        if matches && found { Ok(()) } else { Err(Failure::WrongBody) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_counts_and_nothing_else() {
        let check = |status: &[u16], json, regex| Check::new(status, json, regex).unwrap();
        let any = check(&[], None, None);
        assert_eq!(any.judge_status(StatusCode::FOUND), Ok(()));
        assert_eq!(any.judge_status(StatusCode::BAD_GATEWAY), Err(Failure::Http502));
        let created = check(&[201, 404], None, None);
        assert_eq!(created.judge_status(StatusCode::NOT_FOUND), Ok(()));
        assert_eq!(created.judge_status(StatusCode::OK), Err(Failure::WrongStatus));
        assert_eq!(created.judge_status(StatusCode::CONFLICT), Err(Failure::Http4xx));

        let json = check(&[], Some("$[?@ > 3]"), None);
        assert_eq!(json.judge_body(Some(b"{\"value\": 4}")), Ok(()));
        for wrong in [&b"{\"value\": 3}"[..], b"{\"value\": 4", b"", b"\xff"] {
            assert_eq!(json.judge_body(Some(wrong)), Err(Failure::WrongBody));
        }
        assert_eq!(json.judge_body(None), Err(Failure::WrongBody), "too long to say");
        let both = check(&[], Some("$.value"), Some("^.+4"));
        assert_eq!(both.judge_body(Some(b"{\"value\": 4}")), Ok(()));
        assert_eq!(both.judge_body(Some(b"{\"value\": 5}")), Err(Failure::WrongBody));
    }

    #[test]
    fn what_cannot_be_checked_is_refused() {
        assert!(Check::new(&[99], None, None).unwrap_err().contains("99 is no status"));
        assert!(Check::new(&[], Some("value"), None).unwrap_err().contains("such as $.value"));
        assert!(Check::new(&[], None, Some("(")).unwrap_err().contains("no regular expression"));
    }
}
