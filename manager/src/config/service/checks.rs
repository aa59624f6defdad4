//! What balancers ask the machines or servers of a service, as its `readiness` says; and which words of a probe are for
//! which kind.

use wire::checks::{Ask, Check, HttpAsk, TcpAsk};
use wire::database_checks::{MysqlAsk, PostgresAsk, RedisAsk};
use wire::service::{Probe, ProbeKind, ServiceSpec};
use wire::upstream_tls::UpstreamTls;

use super::{Fit, ensure, probes};

/// The longest name of a user, a database or a server, and the longest password, in bytes, as for the balancer.
const MAX_NAME: usize = 200;
const MAX_PASSWORD: usize = 1_024;

/// Refuses words that say nothing for the kind of `probe`, and values that the balancer would refuse.
pub(super) fn words(probe: &Probe, place: &str) -> Fit {
    use ProbeKind::{Https, Mysql, Postgres, Redis};
    let field = |name: &str| format!("{place}.{name}");
    let Probe { kind, user, password, database, galera, ca, ca_file, server_name, .. } = probe;
    for (name, is_given, kinds, said) in [
        ("user", user.is_some(), &[Mysql, Postgres, Redis][..], "`mysql`, `postgres` and `redis`"),
        ("password", password.is_some(), &[Mysql, Postgres, Redis], "`mysql`, `postgres` and `redis`"),
        ("database", database.is_some(), &[Postgres], "`postgres`"),
        ("galera", *galera, &[Mysql], "`mysql`"),
        ("ca", ca.is_some(), &[Https], "`https`"),
        ("ca_file", ca_file.is_some(), &[Https], "`https`"),
        ("server_name", server_name.is_some(), &[Https], "`https`"),
    ] {
        ensure(!is_given || kinds.contains(kind), &field(name), || {
            format!("is for the kinds {said}: expected one of them, or no `{name}`")
        })?;
    }
    ensure(ca_file.is_none(), &field("ca_file"), || {
        "files are named in files only: give the certificates as `ca`, or use `manager service apply`"
            .to_owned()
    })?;
    ensure(*kind != Https || ca.is_some(), &field("ca"), || {
        "`ca` is missing: which CAs may its certificate lead to? Expected PEM, or in a file a `ca_file`"
            .to_owned()
    })?;
    let is_pem = ca.as_ref().is_none_or(|ca| ca.contains("-----BEGIN CERTIFICATE-----"));
    ensure(is_pem, &field("ca"), || "expected certificates as PEM".to_owned())?;
    for (name, word) in [("user", user), ("database", database), ("server_name", server_name)] {
        let fits =
            word.as_ref().is_none_or(|word| (1..=MAX_NAME).contains(&word.len()) && !word.contains('\0'));
        ensure(fits, &field(name), || format!("expected a name of 1 to {MAX_NAME} bytes"))?;
    }
    if let Some(password) = password {
        ensure(password.file.is_none(), &field("password"), || {
            "files are named in files only: give the password as `value`, or use `manager service apply`"
                .to_owned()
        })?;
        let text = password.value.as_ref().map_or("", |value| value.0.as_str());
        let fits = (1..=MAX_PASSWORD).contains(&text.len()) && !text.contains('\0');
        ensure(fits, &field("password"), || {
            format!("expected a `value` of 1 to {MAX_PASSWORD} bytes, or in a file a `file`")
        })?;
    }
    match kind {
        Mysql | Postgres => {
            ensure(password.is_none() || user.is_some(), &field("user"), || {
                "`user` is missing: whose password is it?".to_owned()
            })?;
            ensure(!galera || user.is_some(), &field("user"), || {
                "`user` is missing: `galera` is asked by one who is logged in".to_owned()
            })
        }
        Redis => ensure(user.is_none() || password.is_some(), &field("password"), || {
            "`password` is missing: nobody logs in without one".to_owned()
        }),
        ProbeKind::Http | ProbeKind::Tcp | ProbeKind::Heartbeat | Https => Ok(()),
    }
}

/// What balancers ask.
pub(super) fn of(spec: &ServiceSpec) -> Check {
    let Some(probe) = &spec.readiness else {
        return Check { active: true, ask: Ask::Tcp(TcpAsk::default()), ..Check::default() };
    };
    Check {
        active: true,
        ask: ask(probe),
        port: probe.port,
        interval_ms: probe.period_ms,
        edge_interval_ms: probe.period_ms,
        timeout_ms: probe.timeout_ms,
        rise: probe.success_threshold,
        fall: probe.failure_threshold,
        ..Check::default()
    }
}

fn ask(probe: &Probe) -> Ask {
    let user = probe.user.clone();
    let password = probe.password.as_ref().and_then(|password| password.value.clone());
    let http = || HttpAsk { path: probe.path.clone(), expect_status: probes::well(), ..HttpAsk::default() };
    match probe.kind {
        ProbeKind::Http => Ask::Http(http()),
        ProbeKind::Https => {
            let server_name = probe.server_name.clone();
            let tls = UpstreamTls { ca: probe.ca.clone(), server_name, ..UpstreamTls::default() };
            Ask::Http(HttpAsk { tls: Some(Box::new(tls)), ..http() })
        }
        ProbeKind::Tcp | ProbeKind::Heartbeat => Ask::Tcp(TcpAsk::default()),
        ProbeKind::Mysql => Ask::Mysql(MysqlAsk { user, password, galera: probe.galera }),
        ProbeKind::Postgres => {
            Ask::Postgres(PostgresAsk { user, password, database: probe.database.clone() })
        }
        ProbeKind::Redis => Ask::Redis(RedisAsk { user, password }),
    }
}
