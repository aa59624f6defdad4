//! Broken settings, each with the place where it is refused and what is said: a line and column in the file, and in a
//! pushed configuration, which is refused in the same words, the field.

use kit::api::parse_json;
use kit::config::Source;
use serde_json::{Value, json};
use wire::Problem;
use wire::proxy_config::ProxyConfig;

use super::Settings;
use crate::proxy::state::check;

/// Where it can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum In {
    /// In the settings file only.
    File,
    /// In a pushed configuration too.
    Both,
}

use In::{Both, File};

/// The lines before each of them.
const MINIMAL: &str = "machine = \"m\"\naddress = \"192.168.10.10\"\n";

/// Each with what it is refused with; `…` stands for the names that could have been meant.
#[rustfmt::skip]
const BROKEN: &[(In, &str, &str, &str)] = &[
    (File, r#"listn = "0.0.0.0:80""#, "3:1", "unknown field `listn`, expected one of …; did you mean `listen`?"),
    (File, r#"listen = "0.0.0.0""#, "3:10", r#"invalid socket address syntax: expected an address with a port, such as "0.0.0.0:80" or "[::]:80""#),
    (File, "workers = 0", "3:11", "expected 1 to 256 workers"),
    (File, "[limit]\nconnections = 5", "3:2", "unknown field `limit`, expected one of …; did you mean `limits`?"),
    (File, r#"[limits]
connections = "many""#, "4:15", r#"invalid type: string "many", expected usize"#),
    (File, "[access_log]\npath = \"/log\"\nformat = \"combind\"", "5:10", "unknown variant `combind`, expected `json` or `combined`; did you mean `combined`?"),
    (File, "[access_log]\npath = \"/log\"\nonly = \"eror\"", "5:8", "unknown variant `eror`, expected `all` or `errors`; did you mean `errors`?"),
    (File, "[access_log]\npath = \"/log\"\nsample = 0.0", "5:10", "expected a share above 0 and at most 1, such as 0.01; for none of those that went well: only = \"errors\""),
    (File, "[access_log]\npath = \"/log\"\nsample = 1.5", "5:10", "expected a share above 0 and at most 1, such as 0.01; for none of those that went well: only = \"errors\""),
    (File, "[access_log]\npath = \"/log\"\nonly = \"errors\"\nsample = 0.5", "6:10", "says nothing beside only = \"errors\", which are all written"),
    (File, "[request_id]\nheader = \"x request id\"", "4:10", "expected the name of a header field, such as \"x-request-id\""),
    (File, "[request_id]\nheader = \"Connection\"", "4:10", "connection says something else: expected a field of its own, such as \"x-request-id\""),
    (File, "[request_id]\nheader = \"X-Forwarded-Id\"", "4:10", "x-forwarded-id says something else: expected a field of its own, such as \"x-request-id\""),
    (File, "[request_id]\naccept = \"alway\"", "4:10", "unknown variant `alway`, expected one of `trusted`, `always`, `never`; did you mean `always`?"),
    (File, "[tracing]\nendpoint = \"127.0.0.1:4318\"", "4:12", "expected the URL of a collector near by, such as http://127.0.0.1:4318 (https is not spoken)"),
    (File, "[tracing]\nsample = 2.0", "4:10", "expected a share of 0 to 1, such as 0.1"),
    (File, "[tracing]\nsample = nan", "4:10", "expected a share of 0 to 1, such as 0.1"),
    (File, "[tracing]\nservice = \"\"", "4:11", "expected a name of 1 to 255 visible characters"),
    (File, "[tracing]\nendpint = \"http://a\"", "4:1", "unknown field `endpint`, expected one of …; did you mean `endpoint`?"),
    (Both, "[config]\nroute = []", "4:1", "unknown field `route`, expected one of …; did you mean `routes`?"),
    (File, "[config]\ngeneration = 4", "4:1", "unknown field `generation`, expected one of …"),
    (Both, r#"[[config.routes]]
name = "r"
pol = "p""#, "5:1", "unknown field `pol`, expected one of …; did you mean `pool`?"),
    (Both, r#"[[config.routes]]
pool = "p""#, "3:1", "missing field `name`"),
    (Both, r#"[[config.routes]]
name = "r""#, "3:1", "expected exactly one of pool, split, redirect and respond, found 0 of them"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
[config.routes.redirect]
scheme = "https""#, "3:1", "expected exactly one of pool, split, redirect and respond, found 2 of them"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
[[config.routes]]
name = "r"
pool = "p""#, "7:8", "another route has the name r"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
hosts = ["example.org", "example.org:8080"]"#, "6:25", r#"expected a host name without port, such as "example.org" or "*.example.org", found "example.org:8080""#),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
hosts = ["www.*.org"]"#, "6:10", r#"expected a host name without port, such as "example.org" or "*.example.org", found "www.*.org""#),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
path = "api""#, "6:8", r#"expected a path that begins with a slash, found "api""#),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
path = "/api"
path_exact = "/api/x""#, "7:14", "expected one of path, path_exact and path_regex, found two"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
path_regex = "^/(items""#, "6:14", "expected a regular expression: unclosed group"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
methods = ["GET", "POTS"]"#, "6:19", r#"expected a method in capital letters, found "POTS"; did you mean `POST`?"#),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
methods = ["get"]"#, "6:12", r#"expected a method in capital letters, found "get"; did you mean `GET`?"#),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
headers = [{ name = "X Canary" }]"#, "6:21", r#"expected a name of letters, digits, `-` and `_`, found "X Canary"; did you mean `X-Canary`?"#),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
headers = [{ name = "X-Canary", exact = "1", prefix = "1" }]"#, "6:12", "expected at most one of exact, prefix, regex and present"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
headers = [{ name = "X-Canary", exakt = "1" }]"#, "6:33", "unknown field `exakt`, expected one of …; did you mean `exact`?"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
query = [{ name = "v", regex = "[" }]"#, "6:32", "expected a regular expression: unclosed character class"),
    (Both, r#"[[config.routes]]
name = "r"
split = [{ pool = "a", weight = 0 }]"#, "5:9", "expected a weight above 0 for one of the pools"),
    (Both, r#"[[config.routes]]
name = "r"
split = [{ pool = "a", weight = 90 }, { pool = "a", weight = 10 }]"#, "5:48", "the pool a has a share already"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
split_by = "client""#, "6:12", "says nothing without a `split`"),
    (Both, r#"[[config.routes]]
name = "r"
split = [{ pool = "a", weight = 1 }]
split_by = "clinet""#, "6:12", "unknown variant `clinet`, expected one of `client`, `path`, `header`, `cookie`; did you mean `client`?"),
    (Both, r#"[[config.routes]]
name = "r"
redirect = { status = 300, scheme = "https" }"#, "5:23", "expected 301, 302, 303, 307 or 308, found 300"),
    (Both, r#"[[config.routes]]
name = "r"
redirect = { scheme = "htps" }"#, "5:23", r#"expected `http` or `https`, found "htps"; did you mean `https`?"#),
    (Both, r#"[[config.routes]]
name = "r"
redirect = { host = "example.org:81" }"#, "5:21", r#"expected a host name; the port has a field of its own, found "example.org:81""#),
    (Both, r#"[[config.routes]]
name = "r"
redirect = {}"#, "5:1", "expected at least one of scheme, host, port, path and replace_prefix: it would lead back to itself"),
    (Both, r#"[[config.routes]]
name = "r"
path_regex = "^/u/(?<user>[^/]+)$"
redirect = { path = "/users/${usr}" }"#, "6:21", r#"path_regex has no group "usr"; `$$` is a dollar sign; did you mean `user`?"#),
    (Both, r#"[[config.routes]]
name = "r"
path_regex = "^/u/"
redirect = { replace_prefix = "/users" }"#, "6:31", "a path_regex has no prefix: give the whole `path`, with `$1` for its first group"),
    (Both, r#"[[config.routes]]
name = "r"
respond = { status = 99 }"#, "5:22", "expected 200 to 599, found 99"),
    (Both, r#"[[config.routes]]
name = "r"
respond = { status = 204, body = "x" }"#, "5:34", "an answer of 204 has no body"),
    (Both, r#"[[config.routes]]
name = "r"
respond = { status = 200 }
rewrite = { path = "/" }"#, "6:1", "says nothing without a `pool` or a `split`"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
rewrite = { path = "no-slash" }"#, "6:20", r#"expected a path that begins with a slash, found "no-slash""#),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
[config.routes.request_headers]
set = { "Transfer-Encoding" = "chunked" }"#, "7:31", "Transfer-Encoding belongs to the connection or frames the message, and is not free to change"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
[config.routes.request_headers.set]
"Host" = "inner""#, "7:10", "the host is changed by `rewrite.host`"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
[config.routes.response_headers]
remove = ["Server", "Connection"]"#, "7:21", "Connection belongs to the connection or frames the message, and is not free to change"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
[config.routes.request_headers]
set = { "X-Real-IP" = "{clent}" }"#, "7:23", "there is no {clent} here; did you mean `client`?"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
[config.routes.response_headers.add]
X-Two-Lines = "a\r\nb""#, "7:15", "expected a value of at most 4096 visible characters"),
    (Both, r#"[config.error_pages]
"50x" = { body = "x" }"#, "4:1", r#"expected a status such as "404" or a class such as "5xx", found "50x""#),
    (File, r#"[config.error_pages.404]
file = "/nonexistent/404.html""#, "4:8", "/nonexistent/404.html cannot be used: No such file or directory (os error 2)"),
    (Both, r#"[config.error_pages.502]
body = "<h1>{staus}</h1>""#, "4:8", "there is no {staus} here; did you mean `status`?"),
    (Both, r#"[config.error_pages.502]
content_type = "html"
body = "x""#, "4:16", r#"expected a type such as "text/html", found "html""#),
    (Both, "[config.error_pages.502]\nintercept = true", "3:21", "expected a `body`, or in a file a `file`"),
    (Both, "[config.pools.p]\nmax_tries = 0", "4:13", "expected 1 to 100"),
    (Both, "[config.pools.p]\nmax_tires = 2", "4:1", "unknown field `max_tires`, expected one of …; did you mean `max_tries`?"),
    (Both, r#"[config.pools.p]
balance = { algorithm = "leastrequests" }"#, "4:25", "unknown variant `leastrequests`, expected one of …; did you mean `least_requests`?"),
    (Both, r#"[config.pools.p.check.ask.http]
expect_status = ["2xx"]"#, "4:17", r#"expected a status such as "204" or a range such as "200-299", found "2xx""#),
    (Both, "[config.pools.p.check]\ninterval_ms = 5", "4:15", "expected 10 to 86400000 milliseconds"),
    (Both, "[config.pools.p.tls]\nmin_version = \"1.3\"", "3:17", "expected a `ca`, or in a file a `ca_file`: …"),
    (Both, "[config.pools.p.tls]\nverify = false\nmin_version = \"1.1\"", "5:15", "unknown variant `1.1`, expected `1.2` or `1.3`; did you mean `1.2`?"),
    (Both, "[config.pools.p.tls]\nverfy = false", "4:1", "unknown field `verfy`, expected one of …; did you mean `verify`?"),
    (Both, "[config.pools.p.tls]\nca = \"x\"", "4:6", "expected certificates as PEM, found none"),
    (Both, "[config.pools.p.tls]\nverify = false\nserver_name = \"a b\"", "5:15", r#"expected a name such as "app.internal", an address or "{host}", found "a b""#),
    (Both, "[config.pools.p.tls]\nverify = false\ntimeout_ms = 0", "5:14", "expected 1 to 60000 milliseconds"),
    (Both, "[config.pools.p.tls]\nverify = false\ncertificate = { chain = \"x\" }", "5:1", "expected a `key`, or in a file a `key_file`"),
    (File, "[config.pools.p.tls]\nca_file = \"/nonexistent/ca.pem\"", "4:11", "/nonexistent/ca.pem: No such file or directory (os error 2)"),
    (Both, "[config.pools.p]\nprotocol = \"h2c\"\ntls = { verify = false }", "4:12", "is spoken over plain connections: expected no `tls`, or `h2`"),
    (Both, "[config.pools.p]\nproxy_protocol = \"v2\"\nprotocol = \"h2c\"", "4:18", "is for one client, and connections of HTTP/2 are shared by many: expected `http1`"),
    (Both, "[config.pools.p]\nproxy_protocol = \"v3\"", "4:18", "unknown variant `v3`, expected `v1` or `v2`; did you mean `v1`?"),
    (Both, "[config.pools.p]\nprotocol = \"h2\"", "4:12", "is spoken over TLS: expected a `tls`, or `h2c`"),
    (File, r#"[[upstreams.web]]
address = "10.0.0.1"
port = 0"#, "5:8", "expected 1 to 65535"),
    (File, r#"[[upstreams.web]]
address = "web-1"
port = 80"#, "4:11", r#"invalid IP address syntax: expected an address such as "10.0.0.1" or "fd00::1"; names are not looked up"#),
    (File, r#"[[upstreams.web]]
adress = "10.0.0.1"
port = 80"#, "4:1", "unknown field `adress`, expected one of …; did you mean `address`?"),
    (File, r#"[upstreams]
web = [{ address = "10.0.0.1", port = 80 }, { address = "10.0.0.1", port = 80 }]"#, "4:45", "another upstream has the id 10.0.0.1:80"),
    (File, r#"[upstreams]
web = [{ address = "10.0.0.1", port = 80, state = "drain" }]"#, "4:51", "unknown variant `drain`, expected one of `ready`, `suspect`, `draining`"),
    (File, r#"[[config.routes]]
name = "r"
pool = "wbe"
[upstreams]
web = [{ address = "10.0.0.1", port = 80 }]"#, "5:8", "there is no pool wbe among the upstreams; did you mean `web`?"),
    (File, r#"[[config.routes]]
name = "r"
split = [{ pool = "web", weight = 9 }, { pool = "cnary", weight = 1 }]
[upstreams]
web = []
canary = []"#, "5:49", "there is no pool cnary among the upstreams; did you mean `canary`?"),
    (File, "[config.pools.webb]\nmax_tries = 2\n[upstreams]\nweb = []", "3:15", "there is no pool webb among the upstreams; did you mean `web`?"),
    (File, "[config", "3:8", "unclosed table, expected `]`"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
request_timeout_ms = 0"#, "6:22", "expected 1 to 86400000 milliseconds"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
body_bytes = -1"#, "6:14", "invalid value: integer `-1`, expected u64"),
    (Both, "[config]\ntrusted_proxies = [\"10.0.0.0/8\", \"10.0.0.0/33\"]", "4:34", r#"expected a network such as "10.0.0.0/8", or an address, found "10.0.0.0/33""#),
    (Both, "[config]\ntrusted_proxies = [\"10.0.0.1/8\"]", "4:20", r#"expected a network, found "10.0.0.1/8", which has more than its first 8 bits; did you mean `10.0.0.0/8`?"#),
    (Both, "[config]\ntrusted_proxies = [\"gateway\"]", "4:20", r#"expected a network such as "10.0.0.0/8", or an address, found "gateway""#),
    (Both, "[config]\nallow = [\"10.0.0.0\", \"10.0.0/24\"]", "4:22", r#"expected a network such as "10.0.0.0/8", or an address, found "10.0.0/24""#),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
rate_limits = [{ rate = "100" }]"#, "6:25", r#"expected 1 to 1000000 requests in some seconds, minutes or hours, at most a day, such as "100/s" or "5/10m", found "100""#),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
rate_limits = [{ rate = "1/s", burts = 5 }]"#, "6:32", "unknown field `burts`, expected one of …; did you mean `burst`?"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
rate_limits = [{ rate = "1/s", burst = 0 }]"#, "6:40", "expected 1 to 1000000 requests"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
rate_limits = [{ rate = "1/s", by = "cleint" }]"#, "6:37", "unknown variant `cleint`, expected one of `client`, `all`, `header`, `cookie`; did you mean `client`?"),
    (Both, "[config]\nrate_limits = [{ rate = \"1/s\", by = { header = \"X Key\" } }]", "4:48", r#"expected a name of letters, digits, `-` and `_`, found "X Key"; did you mean `X-Key`?"#),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
compress = { codings = ["brotli"] }"#, "6:25", "unknown variant `brotli`, expected one of `zstd`, `br`, `gzip`"),
    (Both, r#"[[config.routes]]
name = "r"
pool = "p"
compress = { types = ["text/html", "html"] }"#, "6:36", r#"expected a type such as "text/html" or "text/*", found "html""#),
    (Both, r#"[[config.routes]]
name = "r"
respond = {}
compress = {}"#, "6:1", "says nothing without a `pool` or a `split`"),
    (Both, "[config]\nclient_from = \"x-forward\"", "4:15", "unknown variant `x-forward`, expected `x-forwarded` or `forwarded`; did you mean `x-forwarded`?"),
    (Both, "[config]\nforwarded = \"x-forward\"", "4:13", "unknown variant `x-forward`, expected one of `x-forwarded`, `forwarded`, `both`, `off`; did you mean `x-forwarded`?"),
];

fn says(message: &str, expected: &str) -> bool {
    match expected.split_once('…') {
        Some((begins, ends)) => message.starts_with(begins) && message.ends_with(ends),
        None => message == expected,
    }
}

#[test]
fn each_is_refused_with_its_place_and_what_was_expected() {
    for (_, text, place, expected) in BROKEN {
        let source = Source::from_text("lb.toml", &format!("{MINIMAL}{text}\n"));
        let error = Settings::check(&source, true).expect_err(text).to_string();
        let first = error.lines().next().expect("a line");
        let message = first.strip_prefix(&format!("lb.toml:{place}: "));
        let message = message.unwrap_or_else(|| panic!("{text}\nat {place}: {first}"));
        assert!(says(message, expected), "{text}\n{expected}: {message}");
        assert!(error.lines().count() == 4, "the line is shown: {error}");
    }
}

#[test]
fn the_speaker_does_without_routes() {
    let (_, text, ..) = BROKEN.iter().find(|(_, text, ..)| text.contains("wbe")).expect("a wrong name");
    let source = Source::from_text("lb.toml", &format!("{MINIMAL}{text}\n"));
    assert!(Settings::check(&source, true).is_err());
    assert!(Settings::check(&source, false).is_ok());
}

fn push(config: &Value) -> Result<(), Problem> {
    let config: ProxyConfig = parse_json(config.to_string().as_bytes())?;
    check::config(&config)
}

#[test]
fn a_pushed_configuration_is_refused_in_the_same_words() {
    let both = BROKEN.iter().filter(|(wherever, ..)| *wherever == Both);
    for (_, text, _, expected) in both.clone() {
        let file: toml::Table = text.parse().expect(text);
        let mut config = serde_json::to_value(&file["config"]).expect("JSON");
        config["generation"] = json!(1);
        for (name, empty) in [("routes", json!([])), ("pools", json!({}))] {
            if config[name].is_null() {
                config[name] = empty;
            }
        }
        let problem = push(&config).expect_err(text);
        assert!(says(&problem.detail, expected), "{text}\n{expected}: {}", problem.detail);
        assert!(problem.parameter.is_some_and(|field| !field.is_empty()), "{text}: the field is named");
    }
    assert!(both.count() >= 40);
}
