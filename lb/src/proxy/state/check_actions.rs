//! Refuses what routes cannot do with requests, naming the field: redirects, rewrites, fixed answers, changes of
//! headers, error pages.

use http::{HeaderName, HeaderValue, header};
use kit::guess;
use wire::actions::{ErrorPage, ErrorPages, HeaderEdits, Redirect, Respond, Rewrite};
use wire::compress::Compress;
use wire::proxy_config::Route;

use super::super::route::{self, look, template};
use super::check::{Checked, MAX_NAME, at_most, ensure, is_path};
use super::check_balance::is_token;
use super::check_checks::is_host;
use super::check_routes::is_header_name;

/// The most changes to one header.
const MAX_EDITS: usize = 50;

/// The longest value of a header field, in bytes.
const MAX_VALUE: usize = 4_096;

/// The largest page or fixed answer, in bytes.
pub(crate) const MAX_PAGE: usize = 64 << 10;

/// The most types of what is compressed.
const MAX_TYPES: usize = 100;

/// The most error pages of a route, and the most for everybody.
const MAX_PAGES: usize = 200;

/// Whether what `route` does at `place` can be done.
///
/// # Errors
///
/// A problem of 400 that names the first field that cannot.
pub(super) fn of(route: &Route, place: &str) -> Checked {
    let field = |field: &str| format!("{place}.{field}");
    if let Some(redirect) = &route.redirect {
        self::redirect(redirect, route, &field("redirect"))?;
    }
    if let Some(respond) = &route.respond {
        self::respond(respond, &field("respond"))?;
    }
    let asks = route.pool.is_some() || !route.split.is_empty();
    for (name, given) in [
        ("rewrite", route.rewrite.is_some()),
        ("request_headers", !route.request_headers.is_empty()),
        ("compress", route.compress.is_some()),
    ] {
        ensure(asks || !given, &field(name), || "says nothing without a `pool` or a `split`".to_owned())?;
    }
    if let Some(rewrite) = &route.rewrite {
        self::rewrite(rewrite, route, &field("rewrite"))?;
    }
    edits(&route.request_headers, &field("request_headers"), true)?;
    edits(&route.response_headers, &field("response_headers"), false)?;
    if let Some(compress) = &route.compress {
        self::compress(compress, &field("compress"))?;
    }
    pages(&route.error_pages, &field("error_pages"))
}

fn compress(compress: &Compress, place: &str) -> Checked {
    let Compress { codings, types, min_bytes: _ } = compress;
    let field = |field: &str| format!("{place}.{field}");
    ensure(!codings.is_empty(), &field("codings"), || "expected at least one coding".to_owned())?;
    at_most(types.len(), MAX_TYPES, &field("types"))?;
    for (index, kind) in types.iter().enumerate() {
        let (main, sub) = kind.split_once('/').unwrap_or_default();
        let is_name = |name: &str| is_token(name, place).is_ok() && !name.contains('*');
        ensure(is_name(main) && (sub == "*" || is_name(sub)), &field(&format!("types[{index}]")), || {
            format!("expected a type such as \"text/html\" or \"text/*\", found {kind:?}")
        })?;
    }
    Ok(())
}

fn redirect(redirect: &Redirect, route: &Route, place: &str) -> Checked {
    let Redirect { status, scheme, host, port, path, replace_prefix, keep_query: _ } = redirect;
    let field = |field: &str| format!("{place}.{field}");
    ensure(matches!(status, 301 | 302 | 303 | 307 | 308), &field("status"), || {
        format!("expected 301, 302, 303, 307 or 308, found {status}")
    })?;
    let scheme_fits = scheme.as_deref().is_none_or(|scheme| matches!(scheme, "http" | "https"));
    ensure(scheme_fits, &field("scheme"), || {
        let found = scheme.as_deref().unwrap_or_default();
        format!("expected `http` or `https`, found {found:?}{}", guess::question(found, ["http", "https"]))
    })?;
    let is_name = |host: &str| is_host(Some(host), &field("host")).is_ok() && !has_port(host);
    ensure(host.as_deref().is_none_or(is_name), &field("host"), || {
        format!(
            "expected a host name; the port has a field of its own, found {:?}",
            host.as_deref().unwrap_or_default()
        )
    })?;
    ensure(*port != Some(0), &field("port"), || "expected 1 to 65535".to_owned())?;
    new_path(path.as_ref(), replace_prefix.as_ref(), route, place)?;
    let changes =
        scheme.is_some() || host.is_some() || port.is_some() || path.is_some() || replace_prefix.is_some();
    ensure(changes, place, || {
        "expected at least one of scheme, host, port, path and replace_prefix: it would lead back to itself"
            .to_owned()
    })
}

fn rewrite(rewrite: &Rewrite, route: &Route, place: &str) -> Checked {
    let Rewrite { path, replace_prefix, host } = rewrite;
    new_path(path.as_ref(), replace_prefix.as_ref(), route, place)?;
    is_host(host.as_deref(), &format!("{place}.host"))?;
    ensure(path.is_some() || replace_prefix.is_some() || host.is_some(), place, || {
        "expected at least one of path, replace_prefix and host".to_owned()
    })
}

fn new_path(path: Option<&String>, replace_prefix: Option<&String>, route: &Route, place: &str) -> Checked {
    let field = |field: &str| format!("{place}.{field}");
    if let Some(path) = path {
        is_path(path, &field("path"))?;
        ensure(!path.contains('#'), &field("path"), || "expected a path without a fragment".to_owned())?;
        ensure(replace_prefix.is_none(), &field("replace_prefix"), || {
            "expected one of path and replace_prefix, found both".to_owned()
        })?;
        if let Some(Ok(regex)) = route.path_regex.as_deref().map(route::regex) {
            groups_exist(path, &regex, &field("path"))?;
        }
    }
    if let Some(prefix) = replace_prefix {
        is_path(prefix, &field("replace_prefix"))?;
        ensure(!prefix.contains(['?', '#']), &field("replace_prefix"), || {
            "expected a path without query and fragment".to_owned()
        })?;
        ensure(route.path_regex.is_none(), &field("replace_prefix"), || {
            "a path_regex has no prefix: give the whole `path`, with `$1` for its first group".to_owned()
        })?;
    }
    Ok(())
}

/// Whether each `$1` and `${name}` in `path` stands for a group that `regex` has.
fn groups_exist(path: &str, regex: &regex::bytes::Regex, field: &str) -> Checked {
    let names = || regex.capture_names().flatten();
    let mut rest = path;
    while let Some(start) = rest.find('$') {
        rest = &rest[start + 1..];
        if let Some(behind) = rest.strip_prefix('$') {
            rest = behind;
            continue;
        }
        let name = match rest.strip_prefix('{') {
            Some(inner) => inner.split_once('}').map_or(inner, |(name, _)| name),
            None => {
                let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                &rest[..end.unwrap_or(rest.len())]
            }
        };
        let exists = match name.parse::<usize>() {
            Ok(number) => number < regex.captures_len(),
            Err(_) => names().any(|known| known == name),
        };
        ensure(exists, field, || {
            format!(
                "path_regex has no group {name:?}; `$$` is a dollar sign{}",
                guess::question(name, names())
            )
        })?;
    }
    Ok(())
}

fn respond(respond: &Respond, place: &str) -> Checked {
    let Respond { status, body, content_type, headers } = respond;
    let field = |field: &str| format!("{place}.{field}");
    ensure((200..=599).contains(status), &field("status"), || {
        format!("expected 200 to 599, found {status}")
    })?;
    at_most(body.as_ref().map_or(0, String::len), MAX_PAGE, &field("body"))?;
    ensure(body.is_none() || !matches!(status, 204 | 304), &field("body"), || {
        format!("an answer of {status} has no body")
    })?;
    is_type(content_type, &field("content_type"))?;
    at_most(headers.len(), MAX_EDITS, &field("headers"))?;
    headers
        .iter()
        .try_for_each(|(name, value)| edit(name, Some(value), &field(&format!("headers.{name}")), false))
}

fn edits(edits: &HeaderEdits, place: &str, is_request: bool) -> Checked {
    let HeaderEdits { remove, set, add } = edits;
    at_most(remove.len() + set.len() + add.len(), MAX_EDITS, place)?;
    for (index, name) in remove.iter().enumerate() {
        edit(name, None, &format!("{place}.remove[{index}]"), is_request)?;
    }
    for (kind, fields) in [("set", set), ("add", add)] {
        for (name, value) in fields {
            edit(name, Some(value), &format!("{place}.{kind}.{name}"), is_request)?;
        }
    }
    Ok(())
}

fn edit(name: &str, value: Option<&String>, field: &str, is_request: bool) -> Checked {
    is_header_name(name, field)?;
    let parsed: Option<HeaderName> = name.parse().ok();
    ensure(!parsed.as_ref().is_some_and(route::is_refused), field, || {
        format!("{name} belongs to the connection or frames the message, and is not free to change")
    })?;
    let is_host = is_request && parsed == Some(header::HOST);
    ensure(!is_host, field, || "the host is changed by `rewrite.host`".to_owned())?;
    let Some(value) = value else { return Ok(()) };
    // The value itself may be a secret and must not come back in the answer.
    let fits = value.len() <= MAX_VALUE && HeaderValue::from_str(value).is_ok();
    ensure(fits, field, || format!("expected a value of at most {MAX_VALUE} visible characters"))?;
    is_template(value, template::Word::IN_FIELDS, field)
}

fn is_template(text: &str, words: &[template::Word], field: &str) -> Checked {
    let spelt = template::misspelt(text, words);
    ensure(spelt.is_ok(), field, || spelt.err().unwrap_or_default())
}

/// Whether these error pages at `place` can be used.
///
/// # Errors
///
/// As [`of`].
pub(super) fn pages(pages: &ErrorPages, place: &str) -> Checked {
    at_most(pages.len(), MAX_PAGES, place)?;
    for (key, page) in pages {
        let field = |field: &str| format!("{place}.{key}.{field}");
        ensure(look::is_key(key), &format!("{place}.{key}"), || {
            format!("expected a status such as \"404\" or a class such as \"5xx\", found {key:?}")
        })?;
        let ErrorPage { body, file, content_type, intercept: _ } = page;
        ensure(file.is_none(), &field("file"), || {
            "only the balancer's own file can name files: give the page as `body`".to_owned()
        })?;
        let body = body.as_deref();
        ensure(body.is_some(), &format!("{place}.{key}"), || {
            "expected a `body`, or in a file a `file`".to_owned()
        })?;
        let body = body.unwrap_or_default();
        at_most(body.len(), MAX_PAGE, &field("body"))?;
        is_template(body, template::Word::IN_PAGES, &field("body"))?;
        is_type(content_type, &field("content_type"))?;
    }
    Ok(())
}

fn is_type(content_type: &str, field: &str) -> Checked {
    let is_type = content_type.len() <= MAX_NAME
        && content_type.contains('/')
        && HeaderValue::from_str(content_type).is_ok();
    ensure(is_type, field, || format!("expected a type such as \"text/html\", found {content_type:?}"))
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'))
}
