//! Which route a request takes: the first that matches; and what the route does with it.
//!
//! ```text
//!   described ──once for each configuration──▶ Rules ──with a pool, for each set──▶ Route
//!                                               path, matcher, split: whose request is it?
//!                                               target, respond: what is answered, or asked of whom?
//!                                               edits, look: what do request and answer look like?
//! ```

mod edits;
pub(crate) mod look;
mod matcher;
mod path;
mod place;
mod respond;
pub(crate) mod sender;
mod split;
mod target;
pub(crate) mod template;

use std::sync::Arc;
use std::time::Duration;

use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use wire::clients::Forwarded;
use wire::proxy_config::{self, ProxyConfig};

pub(crate) use self::edits::is_refused;
pub(crate) use self::matcher::regex;
pub(crate) use self::place::{host, without_port};
pub(crate) use self::respond::Action;

use self::edits::Edits;
use self::look::Look;
use self::matcher::Matcher;
use self::path::Path;
use self::place::{HostRule, PathRule};
use self::sender::Sender;
use self::split::Split;
use self::target::Rewrite;
use self::template::Facts;
use super::asked::Asked;
use super::compress::Compress;
use super::compress::encoder::Encoder;
use super::limits::guard::Guard;
use super::metrics::RouteStats;
use super::state::pool::Pool;

/// One route of one snapshot, with one of its pools.
#[derive(Debug)]
pub(crate) struct Route {
    /// Names it in metrics and logs.
    pub(crate) name: String,
    /// Where its requests go; empty and without a name where they go nowhere.
    pub(crate) pool: Arc<Pool>,
    /// What happened on it.
    pub(crate) stats: Arc<RouteStats>,
    /// Whether its requests may be executed twice, whatever their method.
    pub(crate) repeatable: bool,
    /// The longest wait for an answer, over all tries.
    pub(crate) timeout: Duration,
    rules: Arc<Rules>,
}

/// What of a route does not depend on who is in its pool.
#[derive(Debug)]
pub(crate) struct Rules {
    hosts: Vec<HostRule>,
    path: PathRule,
    more: Option<Box<Matcher>>,
    split: Option<Split>,
    action: Option<Action>,
    rewrite: Option<Rewrite>,
    edits: Edits,
    look: Arc<Look>,
    forwarded: Forwarded,
    guard: Option<Arc<Guard>>,
    compress: Option<Box<Compress>>,
    body_bytes: Option<u64>,
    timeout: Option<Duration>,
}

impl Rules {
    /// Those of `described` in `config`; `before` are those that the route had until now.
    pub(crate) fn new(described: &proxy_config::Route, config: &ProxyConfig, before: Option<&Rules>) -> Self {
        let proxy_config::Route { allow, deny, rate_limits, .. } = described;
        let before = before.and_then(|before| before.guard.as_deref());
        let path = PathRule::new(described);
        let pages = &config.error_pages;
        let look = Look::new(&described.name, &described.error_pages, pages, &described.response_headers);
        Rules {
            hosts: described.hosts.iter().map(|host| HostRule::new(host)).collect(),
            more: Matcher::new(described),
            split: Split::new(described),
            action: Action::new(described, &path),
            rewrite: Rewrite::new(described, &path),
            edits: Edits::new(&described.request_headers),
            look: Arc::new(look),
            forwarded: config.forwarded,
            guard: Guard::new(allow, deny, rate_limits, before),
            compress: described.compress.as_ref().map(|compress| Box::new(Compress::new(compress))),
            body_bytes: described.body_bytes,
            timeout: described.request_timeout_ms.map(Duration::from_millis),
            path,
        }
    }

    fn matches(&self, host: &str, path: &Path<'_>, asked: Asked<'_>) -> bool {
        (self.hosts.is_empty() || self.hosts.iter().any(|rule| rule.matches(host)))
            && self.path.matches(path)
            && self.more.as_ref().is_none_or(|more| more.matches(asked.header()))
    }
}

impl Route {
    pub(crate) fn new(
        described: &proxy_config::Route,
        rules: Arc<Rules>,
        pool: Arc<Pool>,
        stats: Arc<RouteStats>,
    ) -> Self {
        let timeout = rules.timeout.unwrap_or(Duration::from_millis(pool.policy.request_timeout_ms));
        let name = described.name.clone();
        Route { name, timeout, pool, stats, repeatable: described.repeatable, rules }
    }

    /// `route` with another `pool` in the place of its own, of the same name.
    pub(crate) fn with_pool(route: &Route, pool: Arc<Pool>) -> Self {
        Route {
            name: route.name.clone(),
            pool,
            stats: route.stats.clone(),
            repeatable: route.repeatable,
            timeout: route.timeout,
            rules: route.rules.clone(),
        }
    }

    pub(crate) fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// What is done instead of asking upstreams, if anything is.
    pub(crate) fn action(&self) -> Option<&Action> {
        self.rules.action.as_ref()
    }

    /// Whether its requests are answered without upstreams.
    pub(crate) fn needs_nobody(&self) -> bool {
        self.rules.action.is_some()
    }

    /// The largest body of a request, where it is not what `usual` is.
    pub(crate) fn body_bytes(&self, usual: u64) -> u64 {
        self.rules.body_bytes.unwrap_or(usual)
    }

    /// How upstreams are told of clients.
    pub(crate) fn forwarded(&self) -> Forwarded {
        self.rules.forwarded
    }

    /// What its requests have to pass, if there is anything.
    pub(crate) fn guard(&self) -> Option<&Arc<Guard>> {
        self.rules.guard.as_ref()
    }

    /// Changes the head of an upstream's answer to `request` where it is to be compressed; what its body has to go
    /// through then.
    ///
    /// # Errors
    ///
    /// Never for what was checked.
    pub(crate) fn compress(
        &self,
        request: &RequestHeader,
        answer: &mut ResponseHeader,
    ) -> Result<Option<Encoder>> {
        self.rules.compress.as_ref().map_or(Ok(None), |compress| compress.begin(request, answer))
    }

    /// Whether requests are others when they leave than when they came.
    pub(crate) fn changes_requests(&self) -> bool {
        self.rules.rewrite.is_some() || !self.rules.edits.is_empty()
    }

    /// Whether answers may be others when they leave than when they came.
    pub(crate) fn changes_answers(&self) -> bool {
        self.rules.compress.is_some() || self.rules.look.edits()
    }

    /// The host, without port, that upstreams are asked for when a client has asked for `sent`.
    pub(crate) fn host_of<'a>(&'a self, sent: &'a RequestHeader) -> &'a str {
        self.rules.rewrite.as_ref().and_then(Rewrite::host).unwrap_or_else(|| host(sent))
    }

    /// What answers of ours look like.
    pub(crate) fn look(&self) -> &Arc<Look> {
        &self.rules.look
    }

    /// Makes of the request `sent` by `client`, which `request` is made from, what upstreams are to get.
    ///
    /// # Errors
    ///
    /// When that cannot be asked for.
    pub(crate) fn change_request(
        &self,
        request: &mut RequestHeader,
        sent: &RequestHeader,
        client: Sender,
    ) -> Result<()> {
        if let Some(rewrite) = &self.rules.rewrite {
            rewrite.apply(request)?;
        }
        if !self.rules.edits.is_empty() {
            let facts = Facts { request: Some(sent), client, route: &self.name, problem: None };
            self.rules.edits.apply(request, &facts);
        }
        Ok(())
    }
}

/// The first of `routes` that what is `asked` by `client` matches.
pub(crate) fn find<'a>(routes: &'a [Arc<Route>], asked: Asked<'_>, client: Sender) -> Option<&'a Arc<Route>> {
    let host = asked.host();
    let path = Path::new(asked.path());
    let found = routes.iter().position(|route| route.rules.matches(host, &path, asked))?;
    match &routes[found].rules.split {
        None => Some(&routes[found]),
        Some(split) => split.choose(&routes[found..], asked.header(), client),
    }
}

#[cfg(test)]
mod tests {
    use super::place::without_port;
    use super::*;

    fn rules(hosts: &[&str], path: &str) -> Rules {
        let described = proxy_config::Route {
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            path: path.to_owned(),
            ..Default::default()
        };
        Rules::new(&described, &ProxyConfig::default(), None)
    }

    fn matches(rules: &Rules, host: &str, path: &str) -> bool {
        let request = RequestHeader::build("GET", path.as_bytes(), None).expect("request");
        rules.matches(host, &Path::new(path), (&request).into())
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
            assert_eq!(matches(&rules(&[], prefix), "h", path), expected, "{prefix} {path}");
        }
    }

    #[test]
    fn a_host_matches_without_its_port_and_in_any_case() {
        let rules = rules(&["example.org", "[::1]"], "/");
        for (authority, expected) in [
            ("example.org", true),
            ("EXAMPLE.org:8080", true),
            ("[::1]:80", true),
            ("[::1]", true),
            ("www.example.org", false),
            ("", false),
        ] {
            assert_eq!(matches(&rules, without_port(authority), "/"), expected, "{authority}");
        }
    }

    #[test]
    fn a_wildcard_is_every_name_below_and_not_the_name_itself() {
        let rules = rules(&["*.Example.org"], "/");
        for (host, expected) in [
            ("www.example.org", true),
            ("a.b.EXAMPLE.org", true),
            ("example.org", false),
            (".example.org", false),
            ("wwwexample.org", false),
            ("www.example.org.evil", false),
            ("\u{e4}.example.org", true),
            ("", false),
        ] {
            assert_eq!(matches(&rules, host, "/"), expected, "{host}");
        }
    }

    #[test]
    fn a_path_can_be_exact_or_an_expression() {
        let exact = proxy_config::Route { path_exact: Some("/a".to_owned()), ..Default::default() };
        let regex = proxy_config::Route { path_regex: Some("^/[0-9]+$".to_owned()), ..Default::default() };
        let [exact, regex] =
            [exact, regex].map(|described| Rules::new(&described, &ProxyConfig::default(), None));
        for (path, is_exact, is_number) in [
            ("/a", true, false),
            ("/%61", true, false),
            ("/a/", false, false),
            ("/17", false, true),
            ("/17/", false, false),
        ] {
            assert_eq!(matches(&exact, "h", path), is_exact, "{path}");
            assert_eq!(matches(&regex, "h", path), is_number, "{path}");
        }
    }
}
