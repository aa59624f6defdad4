//! What services answer for: refuses what cannot be asked for or is asked for by two, and orders the rest.
//!
//! The balancer's first route that fits decides. Here people say what each service answers for, and the most specific
//! decides, whatever the order of the services: a name before `*.` names, those before everybody; one path before
//! prefixes, a longer prefix before a shorter one.

use std::cmp::Reverse;

use kit::guess;
use wire::actions::ErrorPage;
use wire::balancing::HashKey;
use wire::proxy_config::Route;
use wire::service::{ServiceRoute, ServiceSpec};

use super::{Fit, MAX_MILLIS, Service, ensure};

/// The most routes of a service, and the most host names of a route.
const MAX_ROUTES: usize = 100;
const MAX_HOSTS: usize = 100;

/// The most routes of all services: the balancer takes 1,000, and has some of its own.
const MAX_ALL: usize = 900;

/// The longest name of a host, and the longest path, in bytes.
const MAX_HOST: usize = 200;
const MAX_PATH: usize = 4_096;

/// The largest page of an error, in bytes, as for the balancer.
pub(super) const MAX_PAGE: usize = 64 << 10;

/// The most pages of a service.
const MAX_PAGES: usize = 200;

/// What pages have filled in, as the balancer does.
const WORDS: [&str; 4] = ["detail", "route", "status", "title"];

/// What the balancer asks of a request: one host name, and a path.
type Place<'a> = (Option<&'a str>, Option<&'a str>, &'a str);

pub(super) fn check(spec: &ServiceSpec, others: &[Service]) -> Fit {
    ensure(spec.routes.len() <= MAX_ROUTES, "route", || format!("expected at most {MAX_ROUTES}"))?;
    for (index, route) in spec.routes.iter().enumerate() {
        one(route, &format!("route[{index}]"))?;
    }
    let taken: Vec<(&Service, Place<'_>)> =
        others.iter().flat_map(|other| places(&other.spec).map(move |(_, place)| (other, place))).collect();
    let mut own: Vec<Place<'_>> = Vec::new();
    for (index, place) in places(spec) {
        let field = format!("route[{index}]");
        let twice = own.contains(&place);
        ensure(!twice, &field, || format!("{} is said twice", words(place)))?;
        if let Some((other, _)) = taken.iter().find(|(_, other)| *other == place) {
            let message = format!("{} is answered for by the service `{}` already", words(place), other.name);
            return Err(super::Misfit::new(field, message));
        }
        own.push(place);
    }
    ensure(own.len() + taken.len() <= MAX_ALL, "route", || {
        format!("all services together have more than {MAX_ALL} host names and paths")
    })?;
    pages(spec)
}

fn one(route: &ServiceRoute, place: &str) -> Fit {
    let ServiceRoute { hosts, path, path_exact, body_bytes: _, request_timeout_ms, repeatable: _ } = route;
    let field = |name: &str| format!("{place}.{name}");
    ensure(hosts.len() <= MAX_HOSTS, &field("hosts"), || format!("expected at most {MAX_HOSTS}"))?;
    for (index, host) in hosts.iter().enumerate() {
        is_host(host, &field(&format!("hosts[{index}]")))?;
    }
    ensure(path.is_none() || path_exact.is_none(), &field("path_exact"), || {
        "expected `path` or `path_exact`, found both".to_owned()
    })?;
    for (name, path) in [("path", path), ("path_exact", path_exact)] {
        let fits = path.as_ref().is_none_or(|path| {
            path.starts_with('/')
                && path.len() <= MAX_PATH
                && path.bytes().all(|byte| byte.is_ascii_graphic())
        });
        ensure(fits, &field(name), || {
            format!("expected a path of at most {MAX_PATH} bytes that begins with a slash")
        })?;
    }
    let fits = request_timeout_ms.is_none_or(|millis| (1..=MAX_MILLIS).contains(&millis));
    ensure(fits, &field("request_timeout_ms"), || format!("expected 1 to {MAX_MILLIS} milliseconds"))
}

pub(super) fn is_host(host: &str, field: &str) -> Fit {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    let fits = (1..=MAX_HOST).contains(&name.len()) && name.bytes().all(letters);
    ensure(fits, field, || {
        format!(
            "expected a host name in lower case without port, such as \"example.org\" or \"*.example.org\", \
             found {host:?}"
        )
    })
}

fn pages(spec: &ServiceSpec) -> Fit {
    ensure(spec.error_pages.len() <= MAX_PAGES, "error_pages", || format!("expected at most {MAX_PAGES}"))?;
    for (key, page) in &spec.error_pages {
        let ErrorPage { body, file, content_type, intercept: _ } = page;
        let place = format!("error_pages.{key}");
        let is_key =
            matches!(key.as_bytes(), [b'4' | b'5', b'x', b'x'] | [b'4' | b'5', b'0'..=b'9', b'0'..=b'9']);
        ensure(is_key, &place, || {
            format!("expected a status such as \"503\" or a class such as \"5xx\", found {key:?}")
        })?;
        ensure(file.is_none(), &format!("{place}.file"), || {
            "files are named in files only: give the page as `body`".to_owned()
        })?;
        let body = body.as_deref().unwrap_or_default();
        ensure((1..=MAX_PAGE).contains(&body.len()), &place, || {
            format!("expected a `body` of 1 to {MAX_PAGE} bytes, or in a file a `file`")
        })?;
        if let Some((word, question)) = misspelt(body) {
            return Err(super::Misfit::new(
                format!("{place}.body"),
                format!("there is no {{{word}}} here{question}"),
            ));
        }
        let is_type = content_type.contains('/')
            && content_type.len() <= MAX_HOST
            && content_type.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        ensure(is_type, &format!("{place}.content_type"), || {
            format!("expected a type such as \"text/html\", found {content_type:?}")
        })?;
    }
    Ok(())
}

/// A word in braces that is nearly one that is filled in, and the question which was meant.
fn misspelt(body: &str) -> Option<(&str, String)> {
    body.split('{').skip(1).find_map(|rest| {
        let (word, _) = rest.split_once('}')?;
        let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let question = guess::question(word, WORDS);
        (is_word && !WORDS.contains(&word) && !question.is_empty()).then_some((word, question))
    })
}

pub(super) fn hash_key(key: Option<&HashKey>) -> Fit {
    let (HashKey::Header(name) | HashKey::Cookie(name)) = key.unwrap_or(&HashKey::Client) else {
        return Ok(());
    };
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let fits = (1..=100).contains(&name.len()) && name.bytes().all(letters);
    ensure(fits, "policy.hash_key", || "expected the name of a header field or cookie".to_owned())
}

/// Each host name and path that `spec` answers for, with the number of its route.
fn places(spec: &ServiceSpec) -> impl Iterator<Item = (usize, Place<'_>)> {
    spec.routes.iter().enumerate().flat_map(|(index, route)| {
        let everybody = route.hosts.is_empty().then_some(None);
        let hosts = everybody.into_iter().chain(route.hosts.iter().map(|host| Some(host.as_str())));
        let path = route.path.as_deref().unwrap_or("/");
        // `/api/` and `/api` are the same to the balancer.
        let path = match path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        hosts.map(move |host| (index, (host, route.path_exact.as_deref(), path)))
    })
}

fn words((host, exact, path): Place<'_>) -> String {
    format!("{}{}", host.unwrap_or("every host"), exact.unwrap_or(path))
}

/// The routes of all `services`, the most specific first; at the end the one for all the rest.
pub fn of(services: &[Service]) -> Vec<Route> {
    let mut routes: Vec<(_, Route)> = Vec::new();
    for service in services {
        for (number, (index, place)) in places(&service.spec).enumerate() {
            let (host, exact, path) = place;
            let rank = match host {
                Some(host) if host.starts_with("*.") => (1, Reverse(host.len())),
                Some(_) => (0, Reverse(0)),
                None => (2, Reverse(0)),
            };
            let rank = (rank, exact.is_none(), Reverse(path.len()));
            let said = &service.spec.routes[index];
            let name = if number == 0 {
                service.name.to_string()
            } else {
                format!("{}.{}", service.name, number + 1)
            };
            let route = Route {
                name,
                hosts: host.map(str::to_owned).into_iter().collect(),
                path: if exact.is_some() { "/".to_owned() } else { path.to_owned() },
                path_exact: exact.map(str::to_owned),
                body_bytes: said.body_bytes,
                request_timeout_ms: said.request_timeout_ms,
                repeatable: said.repeatable,
                ..to(service)
            };
            routes.push((rank, route));
        }
    }
    // Stable: equals stay in the order of the services.
    routes.sort_by_key(|(rank, _)| *rank);
    let rest = services.iter().find(|service| !service.is_tcp() && service.spec.routes.is_empty()).map(to);
    routes.into_iter().map(|(_, route)| route).chain(rest).collect()
}

/// All requests to `service`. Names with a dot are those of further routes: no service has one in its name.
fn to(service: &Service) -> Route {
    Route {
        name: service.name.to_string(),
        pool: Some(service.name.clone()),
        error_pages: service.spec.error_pages.clone(),
        ..Route::default()
    }
}
