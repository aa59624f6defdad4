//! Which route a request takes: the first that matches its host and path.

use std::sync::Arc;

use http::header;
use pingora_http::RequestHeader;
use wire::proxy_config;

use super::metrics::RouteStats;
use super::state::pool::Pool;

/// One route of one snapshot.
#[derive(Debug)]
pub(crate) struct Route {
    /// Names it in metrics and logs.
    pub(crate) name: String,
    /// Where its requests go.
    pub(crate) pool: Arc<Pool>,
    /// What happened on it.
    pub(crate) stats: Arc<RouteStats>,
    /// Whether its requests may be executed twice, whatever their method.
    pub(crate) repeatable: bool,
    hosts: Vec<String>,
    /// Without a slash at the end: a prefix ends where a segment does.
    prefix: String,
}

impl Route {
    pub(crate) fn new(described: &proxy_config::Route, pool: Arc<Pool>, stats: Arc<RouteStats>) -> Self {
        Route {
            name: described.name.clone(),
            pool,
            stats,
            repeatable: described.repeatable,
            hosts: described.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            prefix: described.path.trim_end_matches('/').to_owned(),
        }
    }

    fn matches(&self, host: &str, path: &str) -> bool {
        let host_fits =
            self.hosts.is_empty() || self.hosts.iter().any(|name| name.eq_ignore_ascii_case(host));
        host_fits
            && path
                .strip_prefix(self.prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.prefix.is_empty())
    }
}

/// The first of `routes` that `request` matches.
pub(crate) fn find<'a>(routes: &'a [Arc<Route>], request: &RequestHeader) -> Option<&'a Arc<Route>> {
    let host = host(request);
    let path = request.uri.path();
    routes.iter().find(|route| route.matches(host, path))
}

/// The host a request is for, without port. Pingora refuses a request whose absolute target names another
/// one than its `Host` header.
fn host(request: &RequestHeader) -> &str {
    let host = request.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    without_port(host.unwrap_or_default())
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // The last colon of a bare IPv6 address in brackets is inside of them.
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(hosts: &[&str], path: &str) -> Route {
        let described = proxy_config::Route {
            name: "r".to_owned(),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            path: path.to_owned(),
            pool: "p".into(),
            repeatable: false,
        };
        let pool = Pool::new("p".into(), proxy_config::PoolPolicy::default(), None, Vec::new());
        Route::new(&described, Arc::new(pool), Arc::default())
    }

    #[test]
    fn a_path_matches_at_segment_boundaries() {
        for (prefix, path, expected) in [
            ("/", "/", true),
            ("/", "/a/b", true),
            ("/", "*", true),
            ("/api", "/api", true),
            ("/api", "/api/", true),
            ("/api", "/api/x", true),
            ("/api/", "/api", true),
            ("/api", "/apix", false),
            ("/api", "/", false),
        ] {
            assert_eq!(route(&[], prefix).matches("h", path), expected, "{prefix} {path}");
        }
    }

    #[test]
    fn a_host_matches_without_its_port_and_in_any_case() {
        let route = route(&["example.org", "[::1]"], "/");
        for (authority, expected) in [
            ("example.org", true),
            ("EXAMPLE.org:8080", true),
            ("[::1]:80", true),
            ("[::1]", true),
            ("www.example.org", false),
            ("", false),
        ] {
            assert_eq!(route.matches(without_port(authority), "/"), expected, "{authority}");
        }
    }
}
