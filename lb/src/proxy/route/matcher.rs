//! What a route asks of a request besides host and path.

use http::{HeaderName, Method};
use pingora_http::RequestHeader;
use regex::bytes::{Regex, RegexBuilder};
use wire::proxy_config;
use wire::routing::FieldMatch;

/// The most memory that one regular expression may take, in bytes. What they take in time is bounded by what they
/// look at: there is no backtracking.
const REGEX_BYTES: usize = 512 << 10;

/// The regular expression `pattern`.
///
/// # Errors
///
/// What is wrong with it, in one line.
pub(crate) fn regex(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(REGEX_BYTES).dfa_size_limit(REGEX_BYTES).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("it takes more than {REGEX_BYTES} bytes of memory"),
        error => {
            // Before its last line, it draws where the error is.
            let text = error.to_string();
            let line = text.lines().last().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    })
}

/// Methods, header fields and parameters. Boxed in its route, which mostly has none.
#[derive(Debug)]
pub(crate) struct Matcher {
    methods: Vec<Method>,
    headers: Vec<(HeaderName, Test)>,
    query: Vec<(String, Test)>,
}

impl Matcher {
    /// What `route` asks for; none if that is nothing.
    pub(crate) fn new(route: &proxy_config::Route) -> Option<Box<Self>> {
        if route.methods.is_empty() && route.headers.is_empty() && route.query.is_empty() {
            return None;
        }
        let methods = route.methods.iter().filter_map(|method| method.parse().ok());
        let headers =
            route.headers.iter().filter_map(|field| Some((field.name.parse().ok()?, Test::new(field))));
        let query = route.query.iter().map(|field| (field.name.clone(), Test::new(field)));
        let matcher =
            Matcher { methods: methods.collect(), headers: headers.collect(), query: query.collect() };
        Some(Box::new(matcher))
    }

    pub(crate) fn matches(&self, request: &RequestHeader) -> bool {
        (self.methods.is_empty() || self.methods.contains(&request.method))
            && self.headers.iter().all(|(name, test)| {
                test.holds(request.headers.get_all(name).iter().map(http::HeaderValue::as_bytes))
            })
            && (self.query.is_empty() || self.matches_query(request.uri.query().unwrap_or_default()))
    }

    fn matches_query(&self, query: &str) -> bool {
        let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        self.query.iter().all(|(name, test)| {
            let named = parameters.iter().filter(|(found, _)| found == name);
            test.holds(named.map(|(_, value)| value.as_bytes()))
        })
    }
}

/// What the values of one name have to be.
#[derive(Debug)]
enum Test {
    Present,
    Absent,
    Exact(String),
    Prefix(String),
    Regex(Regex),
    /// What was checked can always be compiled.
    Never,
}

impl Test {
    fn new(described: &FieldMatch) -> Self {
        match described {
            FieldMatch { exact: Some(text), .. } => Test::Exact(text.clone()),
            FieldMatch { prefix: Some(text), .. } => Test::Prefix(text.clone()),
            FieldMatch { regex: Some(pattern), .. } => regex(pattern).map_or(Test::Never, Test::Regex),
            FieldMatch { present: Some(false), .. } => Test::Absent,
            FieldMatch { .. } => Test::Present,
        }
    }

    fn holds<'a>(&self, mut values: impl Iterator<Item = &'a [u8]>) -> bool {
        match self {
            Test::Present => values.next().is_some(),
            Test::Absent => values.next().is_none(),
            Test::Exact(text) => values.any(|value| value == text.as_bytes()),
            Test::Prefix(text) => values.any(|value| value.starts_with(text.as_bytes())),
            Test::Regex(regex) => values.any(|value| regex.is_match(value)),
            Test::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_is_asked_for_has_to_fit() {
        let mut request =
            RequestHeader::build("POST", b"/x?a=1&b=%C3%A4%20+&a=2&empty", None).expect("request");
        request.append_header("X-One", "first").expect("header");
        request.append_header("X-One", "second").expect("header");
        for (asked, expected) in [
            (json!({"methods": ["GET", "POST"]}), true),
            (json!({"methods": ["GET"]}), false),
            (json!({"headers": [{"name": "x-one"}]}), true),
            (json!({"headers": [{"name": "X-ONE", "exact": "second"}]}), true),
            (json!({"headers": [{"name": "x-one", "exact": "sec"}]}), false),
            (json!({"headers": [{"name": "x-one", "prefix": "sec"}]}), true),
            (json!({"headers": [{"name": "x-one", "regex": "^f.*t$"}]}), true),
            (json!({"headers": [{"name": "x-one", "regex": "^ir"}]}), false),
            (json!({"headers": [{"name": "x-one", "present": false}]}), false),
            (json!({"headers": [{"name": "x-two", "present": false}]}), true),
            (json!({"headers": [{"name": "x-two", "present": true}]}), false),
            (json!({"headers": [{"name": "x-two", "prefix": ""}]}), false),
            (json!({"headers": [{"name": "x-one"}, {"name": "x-two"}]}), false),
            (json!({"query": [{"name": "a", "exact": "2"}]}), true),
            (json!({"query": [{"name": "a", "exact": "3"}]}), false),
            (json!({"query": [{"name": "b", "exact": "ä  "}]}), true),
            (json!({"query": [{"name": "empty"}, {"name": "c", "present": false}]}), true),
            (json!({"methods": ["POST"], "query": [{"name": "c"}]}), false),
        ] {
            let mut described = asked.clone();
            described["name"] = json!("r");
            let route: proxy_config::Route = serde_json::from_value(described).expect("a route");
            let matcher = Matcher::new(&route).expect("it asks for something");
            assert_eq!(matcher.matches(&request), expected, "{asked}");
        }
        assert!(Matcher::new(&proxy_config::Route::default()).is_none());
    }

    #[test]
    fn what_is_wrong_with_an_expression_is_said_in_a_line() {
        assert_eq!(regex("a(").expect_err("open"), "unclosed group");
        assert_eq!(regex("(x{1000}){1000}").expect_err("large"), "it takes more than 524288 bytes of memory");
    }
}
