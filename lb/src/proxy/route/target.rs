//! Where a request is sent on to: a redirect's `Location`, and what is asked of upstreams after a rewrite.

use std::borrow::Cow;

use http::uri::Authority;
use http::{HeaderValue, header};
use pingora_error::Result;
use pingora_http::RequestHeader;
use regex::bytes::Regex;
use wire::actions;
use wire::proxy_config;

use super::path::{Path, encoded};
use super::sender::Sender;
use super::{PathRule, host, without_port};

/// What becomes of a path.
#[derive(Clone, Debug)]
enum NewPath {
    Same,
    /// The prefix that is replaced, which ends without a slash, and what by.
    Prefix(String, String),
    Whole(String),
    /// What the groups of the expression found is put into the text.
    Groups(Regex, String),
}

impl NewPath {
    fn new(rule: &PathRule, path: Option<&String>, replace_prefix: Option<&String>) -> Self {
        match (path, replace_prefix, rule) {
            (Some(path), _, PathRule::Regex(regex)) => NewPath::Groups(regex.clone(), path.clone()),
            (Some(path), _, _) => NewPath::Whole(path.clone()),
            (None, Some(with), PathRule::Prefix(prefix)) => NewPath::Prefix(prefix.clone(), with.clone()),
            // The whole of it is what the route asks for.
            (None, Some(with), PathRule::Exact(_) | PathRule::Regex(_) | PathRule::Never) => {
                NewPath::Whole(with.clone())
            }
            (None, None, _) => NewPath::Same,
        }
    }

    fn of<'a>(&'a self, raw: &'a str) -> Cow<'a, str> {
        match self {
            NewPath::Same => raw.into(),
            NewPath::Whole(path) => path.into(),
            NewPath::Prefix(prefix, with) => Path::new(raw).replaced(prefix, with).into(),
            NewPath::Groups(regex, path) => {
                let seen = Path::new(raw);
                let Some(groups) = regex.captures(seen.seen()) else { return raw.into() };
                let mut made = Vec::new();
                groups.expand(path.as_bytes(), &mut made);
                encoded(&made).into_owned().into()
            }
        }
    }
}

/// A redirect.
#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    described: actions::Redirect,
    path: NewPath,
}

impl Redirect {
    pub(super) fn new(described: &actions::Redirect, rule: &PathRule) -> Self {
        let path = NewPath::new(rule, described.path.as_ref(), described.replace_prefix.as_ref());
        Redirect { described: described.clone(), path }
    }

    pub(crate) fn status(&self) -> u16 {
        self.described.status
    }

    /// Where the client of `request` is sent; none where that takes a host and it named none.
    pub(crate) fn location(&self, request: &RequestHeader, client: Sender) -> Option<HeaderValue> {
        let actions::Redirect { scheme, host: new_host, port, keep_query, .. } = &self.described;
        let mut target = self.path.of(request.uri.path()).into_owned();
        if let Some(query) = request.uri.query().filter(|_| *keep_query) {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(query);
        }
        if scheme.is_none() && new_host.is_none() && port.is_none() {
            // Two slashes would begin the name of another host (RFC 3986, section 4.2).
            let rest = target.trim_start_matches('/');
            return HeaderValue::from_str(&format!("/{rest}")).ok();
        }
        let here =
            request.headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // `Host` names nobody (RFC 9110, section 4.2.4).
        let asked: Option<Authority> = here.parse().ok().filter(|_| !here.contains('@'));
        let name = match new_host {
            Some(name) => name.as_str(),
            None => asked.as_ref().map(|_| host(request)).filter(|name| !name.is_empty())?,
        };
        let is_same = new_host.is_none() && scheme.as_deref().is_none_or(|scheme| scheme == client.scheme());
        let port = port.or_else(|| asked.and_then(|asked| asked.port_u16()).filter(|_| is_same));
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let scheme = scheme.as_deref().unwrap_or(client.scheme());
        HeaderValue::from_str(&format!("{scheme}://{name}{port}{target}")).ok()
    }
}

/// A rewrite.
#[derive(Clone, Debug)]
pub(crate) struct Rewrite {
    path: NewPath,
    host: Option<HeaderValue>,
}

impl Rewrite {
    pub(super) fn new(described: &proxy_config::Route, rule: &PathRule) -> Option<Self> {
        let actions::Rewrite { path, replace_prefix, host } = described.rewrite.as_ref()?;
        let path = NewPath::new(rule, path.as_ref(), replace_prefix.as_ref());
        Some(Rewrite { path, host: host.as_ref().and_then(|host| HeaderValue::from_str(host).ok()) })
    }

    /// The host that is asked for instead of the client's, without port.
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_ref().and_then(|host| host.to_str().ok()).map(without_port)
    }

    /// Makes `request` ask for something else.
    ///
    /// # Errors
    ///
    /// When the new target is none, as when a prefix of a path that is no text is replaced.
    pub(crate) fn apply(&self, request: &mut RequestHeader) -> Result<()> {
        if !matches!(self.path, NewPath::Same) {
            let mut target = self.path.of(request.uri.path()).into_owned();
            if let Some(query) = request.uri.query() {
                target.push(if target.contains('?') { '&' } else { '?' });
                target.push_str(query);
            }
            request.set_raw_path(target.as_bytes())?;
        }
        if let Some(host) = &self.host {
            request.insert_header(header::HOST, host.clone())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn route(path: &str, more: Value) -> (proxy_config::Route, PathRule) {
        let mut described = more;
        described["name"] = json!("r");
        if let Some(pattern) = path.strip_prefix('^') {
            described["path_regex"] = json!(format!("^{pattern}"));
        } else {
            described["path"] = json!(path);
        }
        let route: proxy_config::Route = serde_json::from_value(described).expect("a route");
        let rule = PathRule::new(&route);
        (route, rule)
    }

    fn request(target: &str) -> RequestHeader {
        let mut request = RequestHeader::build("GET", target.as_bytes(), None).expect("request");
        request.insert_header("Host", "Example.org:8000").expect("host");
        request
    }

    #[test]
    fn a_redirect_changes_what_it_names_and_keeps_the_rest() {
        for (path, redirect, target, location) in [
            ("/", json!({"scheme": "https"}), "/a?b=c", "https://Example.org/a?b=c"),
            ("/", json!({"scheme": "http"}), "/a", "http://Example.org:8000/a"),
            ("/", json!({"scheme": "https", "port": 8443}), "/a", "https://Example.org:8443/a"),
            ("/", json!({"host": "www.example.org"}), "/a?b", "http://www.example.org/a?b"),
            ("/", json!({"port": 81}), "/a", "http://Example.org:81/a"),
            ("/old", json!({"replace_prefix": "/new"}), "/old/x%20y?b", "/new/x%20y?b"),
            ("/old", json!({"replace_prefix": "/"}), "/old", "/"),
            ("/old", json!({"path": "/gone", "keep_query": false}), "/old/x?b", "/gone"),
            ("/old", json!({"path": "/gone?a"}), "/old/x?b", "/gone?a&b"),
            ("^/u/([^/]+)$", json!({"path": "/users/$1"}), "/u/%C3%A4b?c", "/users/%C3%A4b?c"),
            ("/", json!({"replace_prefix": "/"}), "//evil.example/x", "/evil.example/x"),
            ("/", json!({"replace_prefix": "/"}), "/%2Fevil.example", "/evil.example"),
        ] {
            let (described, rule) = route(path, json!({"redirect": redirect}));
            let redirect = Redirect::new(&described.redirect.expect("a redirect"), &rule);
            let found = redirect.location(&request(target), Sender::somebody()).expect("a location");
            assert_eq!(found, location, "{target}");
        }
        let (described, rule) = route("/", json!({"redirect": {"scheme": "https"}}));
        let redirect = Redirect::new(&described.redirect.expect("a redirect"), &rule);
        let mut request = request("/");
        for host in ["", "a b", "a/b", "me@a", "a@"] {
            request.insert_header("Host", host).expect("host");
            assert_eq!(redirect.location(&request, Sender::somebody()), None, "{host:?}");
        }
    }

    #[test]
    fn a_rewrite_changes_what_it_names_and_keeps_the_rest() {
        for (path, rewrite, target, expected) in [
            ("/api", json!({"replace_prefix": "/"}), "/api/x?y", "/x?y"),
            ("/api", json!({"replace_prefix": "/v2"}), "/api", "/v2"),
            ("/api", json!({"path": "/one"}), "/api/x?y", "/one?y"),
            ("/api", json!({"path": "/one?z"}), "/api/x?y", "/one?z&y"),
            ("^/(?<a>.)/(?<b>.)$", json!({"path": "/${b}/${a}"}), "/x/y", "/y/x"),
            ("/", json!({"host": "inner"}), "/x?y", "/x?y"),
        ] {
            let (described, rule) = route(path, json!({"rewrite": rewrite}));
            let mut request = request(target);
            Rewrite::new(&described, &rule).expect("a rewrite").apply(&mut request).expect("rewritten");
            assert_eq!(request.raw_path(), expected.as_bytes(), "{target}");
            let host = if rewrite["host"].is_null() { "Example.org:8000" } else { "inner" };
            assert_eq!(request.headers["host"], host);
        }
    }
}
