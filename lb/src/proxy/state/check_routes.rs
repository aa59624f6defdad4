//! Refuses routes that cannot be used, naming the field: whom they match and where they send whom.

use std::collections::HashSet;

use kit::guess;
use wire::balancing::HashKey;
use wire::proxy_config::{ProxyConfig, Route};
use wire::routing::{FieldMatch, Share};
use wire::upstreams::UpstreamSet;

use super::super::route;
use super::check::{Checked, MAX_MILLIS, MAX_NAME, MAX_WEIGHT, at_most, ensure, is_name, is_path};
use super::check_balance::is_token;
use super::{check_actions, check_clients, check_tcp};

/// The most host names of a route.
const MAX_HOSTS: usize = 1_000;

/// The most methods, header fields or parameters that a route asks for, of each.
const MAX_MATCHES: usize = 50;

/// The most pools that share a route's requests.
const MAX_SHARES: usize = 100;

/// The longest regular expression, and the longest text that something is compared to, in bytes.
const MAX_PATTERN: usize = 1_024;

/// The methods that are registered (RFC 9110, section 18.2), and those that caches and WebDAV are asked with.
const METHODS: [&str; 40] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// Whether the route at `place` can be used.
///
/// # Errors
///
/// A problem of 400 that names the first field that cannot.
pub(super) fn route(route: &Route, place: &str) -> Checked {
    let Route {
        name: _,
        hosts,
        path,
        path_exact,
        path_regex,
        methods,
        headers,
        query,
        pool,
        split,
        split_by,
        redirect,
        respond,
        rewrite: _,
        request_headers: _,
        response_headers: _,
        error_pages: _,
        compress: _,
        body_bytes: _,
        allow,
        deny,
        rate_limits,
        request_timeout_ms,
        repeatable: _,
    } = route;
    let field = |field: &str| format!("{place}.{field}");
    at_most(hosts.len(), MAX_HOSTS, &field("hosts"))?;
    for (index, host) in hosts.iter().enumerate() {
        is_host(host, &field(&format!("hosts[{index}]")))?;
    }
    is_path(path, &field("path"))?;
    let (exact, regex) = (path_exact.as_ref(), path_regex.as_ref());
    let is_one = usize::from(path != "/") + usize::from(exact.is_some()) + usize::from(regex.is_some()) <= 1;
    let second = if regex.is_some() { "path_regex" } else { "path_exact" };
    ensure(is_one, &field(second), || {
        "expected one of path, path_exact and path_regex, found two".to_owned()
    })?;
    if let Some(path) = exact {
        is_path(path, &field("path_exact"))?;
    }
    if let Some(pattern) = regex {
        is_regex(pattern, &field("path_regex"))?;
    }
    at_most(methods.len(), MAX_MATCHES, &field("methods"))?;
    for (index, method) in methods.iter().enumerate() {
        is_method(method, &field(&format!("methods[{index}]")))?;
    }
    for (list, name) in [(headers, "headers"), (query, "query")] {
        at_most(list.len(), MAX_MATCHES, &field(name))?;
        for (index, asked) in list.iter().enumerate() {
            field_match(asked, name == "headers", &field(&format!("{name}[{index}]")))?;
        }
    }
    let ways = [pool.is_some(), !split.is_empty(), redirect.is_some(), respond.is_some()];
    let found = ways.into_iter().filter(|&given| given).count();
    ensure(found == 1, place, || {
        format!("expected exactly one of pool, split, redirect and respond, found {found} of them")
    })?;
    if let Some(pool) = pool {
        is_name(pool.as_str(), &field("pool"))?;
    }
    shares(split, split_by.as_ref(), place)?;
    let in_range = request_timeout_ms.is_none_or(|millis| (1..=MAX_MILLIS).contains(&millis));
    ensure(in_range, &field("request_timeout_ms"), || format!("expected 1 to {MAX_MILLIS} milliseconds"))?;
    check_clients::limits(allow, deny, rate_limits, &format!("{place}."))?;
    check_actions::of(route, place)
}

fn shares(split: &[Share], by: Option<&HashKey>, place: &str) -> Checked {
    at_most(split.len(), MAX_SHARES, &format!("{place}.split"))?;
    let mut names = HashSet::new();
    for (index, Share { pool, weight }) in split.iter().enumerate() {
        let field = |field: &str| format!("{place}.split[{index}].{field}");
        is_name(pool.as_str(), &field("pool"))?;
        ensure(names.insert(pool), &field("pool"), || format!("the pool {pool} has a share already"))?;
        ensure(*weight <= MAX_WEIGHT, &field("weight"), || format!("expected 0 to {MAX_WEIGHT}"))?;
    }
    let has_any = split.is_empty() || split.iter().any(|share| share.weight > 0);
    ensure(has_any, &format!("{place}.split"), || {
        "expected a weight above 0 for one of the pools".to_owned()
    })?;
    let field = format!("{place}.split_by");
    ensure(by.is_none() || !split.is_empty(), &field, || "says nothing without a `split`".to_owned())?;
    match by {
        None | Some(HashKey::Client | HashKey::Path) => Ok(()),
        Some(HashKey::Header(name)) => is_token(name, &format!("{field}.header")),
        Some(HashKey::Cookie(name)) => is_token(name, &format!("{field}.cookie")),
    }
}

/// The name of a host, without a port.
pub(super) fn is_host(host: &str, field: &str) -> Checked {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let is_address = name.starts_with('[') && name.ends_with(']') && host == name;
    let fits =
        (1..=MAX_NAME).contains(&name.len()) && !name.contains(|letter: char| "/ *@?#".contains(letter));
    ensure(fits && (is_address || !name.contains(':')), field, || {
        format!(
            "expected a host name without port, such as \"example.org\" or \"*.example.org\", found {host:?}"
        )
    })
}

fn is_method(method: &str, field: &str) -> Checked {
    let is_token = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    let is_known = METHODS.contains(&method);
    let upper = method.to_ascii_uppercase();
    let question = guess::question(&upper, METHODS);
    // One that nobody knows can be meant; one that is nearly another cannot.
    ensure(is_known || (is_token && question.is_empty()), field, || {
        format!("expected a method in capital letters, found {method:?}{question}")
    })
}

fn field_match(asked: &FieldMatch, is_header: bool, place: &str) -> Checked {
    let FieldMatch { name, exact, prefix, regex, present } = asked;
    let field = |field: &str| format!("{place}.{field}");
    if is_header {
        is_header_name(name, &field("name"))?;
    } else {
        let fits = (1..=MAX_NAME).contains(&name.len());
        ensure(fits, &field("name"), || format!("expected a name of 1 to {MAX_NAME} bytes"))?;
    }
    let given = [exact.is_some(), prefix.is_some(), regex.is_some(), present.is_some()];
    ensure(given.into_iter().filter(|&given| given).count() <= 1, place, || {
        "expected at most one of exact, prefix, regex and present".to_owned()
    })?;
    for (name, text) in [("exact", exact), ("prefix", prefix)] {
        at_most(text.as_ref().map_or(0, String::len), MAX_PATTERN, &field(name))?;
    }
    regex.as_ref().map_or(Ok(()), |pattern| is_regex(pattern, &field("regex")))
}

fn is_regex(pattern: &str, field: &str) -> Checked {
    at_most(pattern.len(), MAX_PATTERN, field)?;
    let compiled = route::regex(pattern);
    ensure(compiled.is_ok(), field, || {
        format!("expected a regular expression: {}", compiled.err().unwrap_or_default())
    })
}

/// The name of a header field. What is none mostly has a space or an underscore too many.
pub(super) fn is_header_name(name: &str, field: &str) -> Checked {
    is_token(name, field).map_err(|mut problem| {
        let mended = name.trim_matches([' ', ':']).replace([' ', ':', '/'], "-");
        if is_token(&mended, field).is_ok() {
            problem.detail.push_str(&format!("; did you mean `{mended}`?"));
        }
        problem
    })
}

/// Whether all pools that `config` names are in `set`.
///
/// # Errors
///
/// A problem of 400 that names the first that is not.
pub(crate) fn pools_exist(config: &ProxyConfig, set: &UpstreamSet) -> Checked {
    let exists = |pool: &wire::PoolName, field: &str| {
        ensure(set.pools.contains_key(pool), field, || {
            let names = set.pools.keys().map(wire::PoolName::as_str);
            format!("there is no pool {pool} among the upstreams{}", guess::question(pool.as_str(), names))
        })
    };
    for (index, route) in config.routes.iter().enumerate() {
        if let Some(pool) = &route.pool {
            exists(pool, &format!("routes[{index}].pool"))?;
        }
        for (share, Share { pool, .. }) in route.split.iter().enumerate() {
            exists(pool, &format!("routes[{index}].split[{share}].pool"))?;
        }
    }
    for (index, service) in config.tcp.iter().enumerate() {
        for (pool, field) in check_tcp::named(service, &format!("tcp[{index}]")) {
            exists(pool, &field)?;
        }
    }
    config.pools.keys().try_for_each(|pool| exists(pool, &format!("pools.{pool}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::check;
    use super::*;

    fn list(count: usize, item: impl Fn(usize) -> Value) -> Value {
        (0..count).map(item).collect()
    }

    fn map(count: usize, value: &Value) -> Value {
        (0..count)
            .map(|index| (format!("x-{index}"), value.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    fn try_route(with: Value) -> Checked {
        let mut described = with;
        described["name"] = json!("r");
        if ["split", "redirect", "respond"].into_iter().all(|way| described[way].is_null()) {
            described["pool"] = json!("p");
        }
        let config = json!({"generation": 1, "routes": [described]});
        check::config(&serde_json::from_value(config).expect("a configuration"))
    }

    #[test]
    fn every_limit_can_be_reached_and_not_exceeded() {
        let share = |index| json!({"pool": format!("p{index}"), "weight": 1});
        let text = |count: usize| "x".repeat(count);
        let path = |count: usize| format!("/{}", text(count - 1));
        type Made<'a> = Box<dyn Fn(usize) -> Value + 'a>;
        let cases: Vec<(&str, usize, Made<'_>)> = vec![
            ("hosts", 1_000, Box::new(|n| json!({"hosts": list(n, |index| json!(format!("h{index}")))}))),
            ("hosts[0]", 200, Box::new(|n| json!({"hosts": [text(n)]}))),
            ("path", 4_096, Box::new(|n| json!({"path": path(n)}))),
            ("path_exact", 4_096, Box::new(|n| json!({"path_exact": path(n)}))),
            ("path_regex", 1_024, Box::new(|n| json!({"path_regex": text(n)}))),
            ("methods", 50, Box::new(|n| json!({"methods": list(n, |_| json!("GET"))}))),
            ("headers", 50, Box::new(|n| json!({"headers": list(n, |_| json!({"name": "x"}))}))),
            ("query", 50, Box::new(|n| json!({"query": list(n, |_| json!({"name": "x"}))}))),
            ("query[0].name", 200, Box::new(|n| json!({"query": [{"name": text(n)}]}))),
            ("headers[0].name", 100, Box::new(|n| json!({"headers": [{"name": text(n)}]}))),
            ("headers[0].exact", 1_024, Box::new(|n| json!({"headers": [{"name": "x", "exact": text(n)}]}))),
            ("split", 100, Box::new(|n| json!({"split": list(n, share)}))),
            ("split[0].weight", 1_000_000, Box::new(|n| json!({"split": [{"pool": "p", "weight": n}]}))),
            ("request_timeout_ms", 86_400_000, Box::new(|n| json!({"request_timeout_ms": n}))),
            ("allow", 10_000, Box::new(|n| json!({"allow": list(n, |_| json!("10.0.0.0/8"))}))),
            ("rate_limits", 8, Box::new(|n| json!({"rate_limits": list(n, |_| json!({"rate": "1/s"}))}))),
            (
                "rate_limits[0].burst",
                1_000_000,
                Box::new(|n| json!({"rate_limits": [{"rate": "1/s", "burst": n}]})),
            ),
            (
                "rate_limits[0].delay_ms",
                60_000,
                Box::new(|n| json!({"rate_limits": [{"rate": "1/s", "delay_ms": n}]})),
            ),
            (
                "rate_limits[0].keys",
                1_000_000,
                Box::new(|n| json!({"rate_limits": [{"rate": "1/s", "keys": n}]})),
            ),
            ("rewrite.path", 4_096, Box::new(|n| json!({"rewrite": {"path": path(n)}}))),
            ("request_headers", 50, Box::new(|n| json!({"request_headers": {"set": map(n, &json!("v"))}}))),
            (
                "response_headers.add.x",
                4_096,
                Box::new(|n| json!({"response_headers": {"add": {"x": text(n)}}})),
            ),
            ("respond.body", 65_536, Box::new(|n| json!({"respond": {"body": text(n)}}))),
            ("respond.headers", 50, Box::new(|n| json!({"respond": {"headers": map(n, &json!("v"))}}))),
            ("respond.status", 599, Box::new(|n| json!({"respond": {"status": n}}))),
            (
                "error_pages.404.body",
                65_536,
                Box::new(|n| json!({"error_pages": {"404": {"body": text(n)}}})),
            ),
        ];
        for (field, most, made) in cases {
            try_route(made(most)).unwrap_or_else(|problem| panic!("{field} of {most}: {problem:?}"));
            let problem = try_route(made(most + 1)).expect_err(field);
            assert_eq!(problem.parameter, Some(format!("routes[0].{field}")), "{problem:?}");
        }
    }

    #[test]
    fn a_secret_is_not_said_again() {
        for value in ["secret\r\nX: y".to_owned(), "secret".repeat(1_000)] {
            let problem = try_route(json!({"request_headers": {"set": {"Authorization": value}}}));
            let problem = problem.expect_err("it cannot be sent");
            assert!(!problem.detail.contains("secret"), "{problem:?}");
        }
    }
}
