//! Refuses what of a pool's policy cannot be used to check upstreams by, naming the field.

use http::HeaderValue;
use http::uri::Authority;
use wire::Problem;
use wire::balancing::Secret;
use wire::checks::{Ask, Check, GrpcAsk, HttpAsk, Method, TcpAsk};
use wire::database_checks::{MysqlAsk, PostgresAsk, RedisAsk};

use super::super::upstream_tls;
use super::check::{Checked, MAX_MILLIS, MAX_NAME, ensure, is_path};
use super::check_balance::is_token;

/// The shortest interval in milliseconds: an upstream has something else to do.
const MIN_INTERVAL: u64 = 10;

/// The most checks in a row that anything may take.
const MAX_ROW: u32 = 100;

/// By so much of itself a wait may vary.
const MAX_JITTER: f64 = 0.9;

/// The most header fields of a request, and the most ranges of statuses.
const MAX_LIST: usize = 20;

/// The longest text that is sent or looked for, and the longest value of a header field, in bytes.
const MAX_TEXT: usize = 4096;

/// The longest password, in bytes.
const MAX_PASSWORD: usize = 1024;

/// Header fields that are about the connection, or have a place of their own.
const OURS: [&str; 7] =
    ["host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer"];

/// Whether `check` can be used.
///
/// # Errors
///
/// A problem of 400 that names the first field that cannot.
pub(super) fn check(check: &Check, place: &str) -> Checked {
    let Check {
        active: _,
        ask,
        port,
        interval_ms,
        edge_interval_ms,
        unhealthy_interval_ms,
        jitter,
        timeout_ms,
        rise,
        fall,
    } = check;
    for (name, millis, least) in [
        ("interval_ms", Some(interval_ms), MIN_INTERVAL),
        ("edge_interval_ms", Some(edge_interval_ms), MIN_INTERVAL),
        ("unhealthy_interval_ms", unhealthy_interval_ms.as_ref(), MIN_INTERVAL),
        ("timeout_ms", Some(timeout_ms), 1),
    ] {
        let fits = millis.is_none_or(|millis| (least..=MAX_MILLIS).contains(millis));
        ensure(fits, &format!("{place}.{name}"), || {
            format!("expected {least} to {MAX_MILLIS} milliseconds")
        })?;
    }
    ensure((0.0..=MAX_JITTER).contains(jitter), &format!("{place}.jitter"), || {
        format!("expected 0 to {MAX_JITTER}, the share by which waits vary")
    })?;
    for (name, count) in [("rise", rise), ("fall", fall)] {
        ensure((1..=MAX_ROW).contains(count), &format!("{place}.{name}"), || {
            format!("expected 1 to {MAX_ROW} checks in a row")
        })?;
    }
    ensure(*port != Some(0), &format!("{place}.port"), || "expected 1 to 65535".to_owned())?;
    let place = format!("{place}.ask.{}", ask.name());
    match ask {
        Ask::Http(ask) => http(ask, &place),
        Ask::Tcp(TcpAsk { send, expect }) => {
            is_text(send.as_deref(), &format!("{place}.send"))?;
            is_text(expect.as_deref(), &format!("{place}.expect"))
        }
        Ask::Grpc(GrpcAsk { service, host }) => {
            let fits = service.len() <= MAX_NAME && service.bytes().all(|byte| byte.is_ascii_graphic());
            ensure(fits, &format!("{place}.service"), || {
                format!(
                    "expected a name such as \"package.Service\" of at most {MAX_NAME} bytes, found {service:?}"
                )
            })?;
            is_host(host.as_deref(), &format!("{place}.host"))
        }
        Ask::Mysql(MysqlAsk { user, password, galera }) => {
            login(user.as_deref(), password.as_ref(), &place)?;
            ensure(!galera || user.is_some(), &format!("{place}.galera"), || {
                "is asked by one who is logged in: expected a `user`".to_owned()
            })
        }
        Ask::Postgres(PostgresAsk { user, password, database }) => {
            login(user.as_deref(), password.as_ref(), &place)?;
            is_word(database.as_deref(), &format!("{place}.database"))
        }
        Ask::Redis(RedisAsk { user, password }) => {
            is_word(user.as_deref(), &format!("{place}.user"))?;
            is_password(password.as_ref(), &format!("{place}.password"))?;
            ensure(user.is_none() || password.is_some(), &format!("{place}.password"), || {
                "is missing: nobody logs in without one".to_owned()
            })
        }
    }
}

/// Who logs in to a database, if anybody.
fn login(user: Option<&str>, password: Option<&Secret>, place: &str) -> Checked {
    is_word(user, &format!("{place}.user"))?;
    is_password(password, &format!("{place}.password"))?;
    ensure(password.is_none() || user.is_some(), &format!("{place}.user"), || {
        "is missing: whose password is it?".to_owned()
    })
}

/// A name that a database is told: in its protocol a zero ends it.
fn is_word(word: Option<&str>, field: &str) -> Checked {
    let fits = word.is_none_or(|word| (1..=MAX_NAME).contains(&word.len()) && !word.contains('\0'));
    ensure(fits, field, || format!("expected a name of 1 to {MAX_NAME} bytes without a zero byte"))
}

/// The password itself must not come back in the answer.
fn is_password(password: Option<&Secret>, field: &str) -> Checked {
    let fits =
        |password: &Secret| (1..=MAX_PASSWORD).contains(&password.0.len()) && !password.0.contains('\0');
    ensure(password.is_none_or(fits), field, || {
        format!("expected 1 to {MAX_PASSWORD} bytes without a zero byte; leave it out for none")
    })
}

fn http(ask: &HttpAsk, place: &str) -> Checked {
    let HttpAsk { method, path, tls, host, headers, expect_status, expect_body } = ask;
    is_path(path, &format!("{place}.path"))?;
    let parses = path.len() <= MAX_TEXT && path.parse::<http::uri::PathAndQuery>().is_ok();
    ensure(parses, &format!("{place}.path"), || format!("cannot be asked for: {path:?}"))?;
    if let Some(Err(unusable)) = tls.as_deref().map(upstream_tls::check) {
        return Err(Problem::bad_parameter(&format!("{place}.tls.{}", unusable.field), unusable.message));
    }
    is_host(host.as_deref(), &format!("{place}.host"))?;
    ensure(headers.len() <= MAX_LIST, &format!("{place}.headers"), || {
        format!("expected at most {MAX_LIST} fields")
    })?;
    for (name, value) in headers {
        let field = format!("{place}.headers.{name}");
        is_token(name, &field)?;
        ensure(!OURS.contains(&name.to_ascii_lowercase().as_str()), &field, || {
            "is about the connection and not free to choose; `Host` is the field `host`".to_owned()
        })?;
        // The value itself must not come back in the answer.
        let fits = value.0.len() <= MAX_TEXT && HeaderValue::from_str(&value.0).is_ok();
        ensure(fits, &field, || format!("expected a value of at most {MAX_TEXT} visible characters"))?;
    }
    ensure((1..=MAX_LIST).contains(&expect_status.len()), &format!("{place}.expect_status"), || {
        format!("expected 1 to {MAX_LIST} statuses or ranges, such as \"200-299\"")
    })?;
    let field = format!("{place}.expect_body");
    is_text(expect_body.as_deref(), &field)?;
    let has_body = *method == Method::Get || expect_body.is_none();
    ensure(has_body, &field, || "the answer to HEAD has no body: use GET".to_owned())
}

fn is_text(text: Option<&str>, field: &str) -> Checked {
    let fits = text.is_none_or(|text| (1..=MAX_TEXT).contains(&text.len()));
    ensure(fits, field, || format!("expected 1 to {MAX_TEXT} bytes; leave it out for none"))
}

pub(super) fn is_host(host: Option<&str>, field: &str) -> Checked {
    let fits =
        |host: &str| host.len() <= MAX_NAME && !host.contains('@') && host.parse::<Authority>().is_ok();
    ensure(host.is_none_or(fits), field, || {
        format!("expected a name with or without a port, found {:?}", host.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bad_values_are_refused_with_their_place() {
        for (given, place) in [
            (json!({"interval_ms": 9}), "c.interval_ms"),
            (json!({"edge_interval_ms": 0}), "c.edge_interval_ms"),
            (json!({"unhealthy_interval_ms": 1}), "c.unhealthy_interval_ms"),
            (json!({"timeout_ms": 0}), "c.timeout_ms"),
            (json!({"jitter": 1.0}), "c.jitter"),
            (json!({"rise": 0}), "c.rise"),
            (json!({"fall": 101}), "c.fall"),
            (json!({"port": 0}), "c.port"),
            (json!({"ask": {"http": {"path": "x"}}}), "c.ask.http.path"),
            (json!({"ask": {"http": {"path": "/x HTTP/1.1\r\nX: y"}}}), "c.ask.http.path"),
            (json!({"ask": {"http": {"host": "a b"}}}), "c.ask.http.host"),
            (json!({"ask": {"http": {"headers": {"a b": "c"}}}}), "c.ask.http.headers.a b"),
            (json!({"ask": {"http": {"headers": {"Host": "c"}}}}), "c.ask.http.headers.Host"),
            (json!({"ask": {"http": {"headers": {"X": "secret\r\nY: z"}}}}), "c.ask.http.headers.X"),
            (json!({"ask": {"http": {"expect_status": []}}}), "c.ask.http.expect_status"),
            (json!({"ask": {"http": {"expect_body": ""}}}), "c.ask.http.expect_body"),
            (json!({"ask": {"http": {"method": "HEAD", "expect_body": "x"}}}), "c.ask.http.expect_body"),
            (json!({"ask": {"tcp": {"send": ""}}}), "c.ask.tcp.send"),
            (json!({"ask": {"tcp": {"expect": "x".repeat(5_000)}}}), "c.ask.tcp.expect"),
            (json!({"ask": {"grpc": {"service": "a b"}}}), "c.ask.grpc.service"),
            (json!({"ask": {"grpc": {"host": "/"}}}), "c.ask.grpc.host"),
            (json!({"ask": {"http": {"tls": {}}}}), "c.ask.http.tls.ca"),
            (json!({"ask": {"http": {"tls": {"verify": false, "ca_file": "/x"}}}}), "c.ask.http.tls.ca_file"),
            (json!({"ask": {"mysql": {"user": ""}}}), "c.ask.mysql.user"),
            (json!({"ask": {"mysql": {"user": "a\0b"}}}), "c.ask.mysql.user"),
            (json!({"ask": {"mysql": {"password": "secret"}}}), "c.ask.mysql.user"),
            (json!({"ask": {"mysql": {"user": "a", "password": ""}}}), "c.ask.mysql.password"),
            (json!({"ask": {"mysql": {"user": "a", "password": "secret\0"}}}), "c.ask.mysql.password"),
            (json!({"ask": {"mysql": {"galera": true}}}), "c.ask.mysql.galera"),
            (json!({"ask": {"postgres": {"password": "secret"}}}), "c.ask.postgres.user"),
            (json!({"ask": {"postgres": {"user": "a", "database": ""}}}), "c.ask.postgres.database"),
            (json!({"ask": {"redis": {"user": "a"}}}), "c.ask.redis.password"),
            (json!({"ask": {"redis": {"password": "x".repeat(2_000)}}}), "c.ask.redis.password"),
        ] {
            let given: Check = serde_json::from_value(given).expect("a check");
            let problem = check(&given, "c").expect_err(place);
            assert_eq!(problem.parameter.as_deref(), Some(place));
            assert!(!problem.detail.contains("secret"), "{}", problem.detail);
        }
        for good in [
            json!({}),
            json!({"active": true, "port": 1, "jitter": 0.0, "unhealthy_interval_ms": 10}),
            json!({"ask": {"http": {"host": "a.example:80", "headers": {"Authorization": "Bearer x"}}}}),
            json!({"ask": {"http": {"path": "/ready?full=1", "expect_status": ["200", "300-399"]}}}),
            json!({"ask": {"tcp": {"send": "PING\r\n", "expect": "+PONG"}}}),
            json!({"ask": {"grpc": {"service": "orders.v1.Orders", "host": "[::1]:50051"}}}),
            json!({"ask": {"http": {"tls": {"verify": false}}}}),
            json!({"ask": {"mysql": {}}}),
            json!({"ask": {"mysql": {"user": "check", "password": "x", "galera": true}}}),
            json!({"ask": {"postgres": {"user": "check", "database": "postgres"}}}),
            json!({"ask": {"redis": {"password": "x"}}}),
        ] {
            check(&serde_json::from_value(good).expect("a check"), "c").expect("can be used");
        }
    }
}
