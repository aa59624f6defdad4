//! Statistics as CSV, with the names of HAProxy's columns (its management guide, section 9.1), so that what reads
//! those reads ours. What HAProxy has and we do not is left out, not filled with noughts.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use wire::checks::Ask;

use super::Shared;
use crate::proxy::check::record::{PASSED, RESULTS};
use crate::proxy::check::{Fault, Outcome};
use crate::proxy::metrics::CLASSES;
use crate::proxy::state::in_flight;
use crate::proxy::state::pool::{Member, Pool, Rank};
use crate::proxy::state::snapshot::Snapshot;
use crate::proxy::tcp::Tcp;
use crate::proxy::tcp::service::Service;

/// The columns.
const COLUMNS: [&str; 39] = [
    "pxname",
    "svname",
    "qcur",
    "qmax",
    "scur",
    "smax",
    "slim",
    "stot",
    "bin",
    "bout",
    "econ",
    "eresp",
    "wretr",
    "wredis",
    "status",
    "weight",
    "act",
    "bck",
    "chkdown",
    "qlimit",
    "throttle",
    "lbtot",
    "type",
    "addr",
    "algo",
    "connect",
    "reuse",
    "hrsp_2xx",
    "hrsp_3xx",
    "hrsp_4xx",
    "hrsp_5xx",
    "cli_abrt",
    "chkfail",
    "check_status",
    "check_code",
    "check_duration",
    "last_chk",
    "check_rise",
    "check_fall",
];

/// HAProxy's numbers for what a line is about.
const FRONTEND: u64 = 0;
const BACKEND: u64 = 1;
const SERVER: u64 = 2;

/// Statistics of TCP services, pools and upstreams, one line each, in the columns of HAProxy's `show stat`.
#[utoipa::path(get, path = "/statistics.csv", responses((status = 200, content_type = "text/csv", body = String)))]
pub(super) async fn statistics(State(admin): Shared) -> Response {
    let text = csv(&admin.state.snapshot(), &admin.state.tcp, Instant::now());
    ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], text).into_response()
}

/// One line, column by column.
struct Line([String; COLUMNS.len()]);

impl Line {
    fn new() -> Self {
        Line(std::array::from_fn(|_| String::new()))
    }

    fn set(&mut self, column: &str, value: impl std::fmt::Display) {
        if let Some(index) = COLUMNS.iter().position(|name| *name == column) {
            let value = value.to_string();
            // RFC 4180, section 2.
            self.0[index] = if value.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", value.replace('"', "\"\""))
            } else {
                value
            };
        }
    }
}

fn csv(snapshot: &Snapshot, tcp: &Tcp, now: Instant) -> String {
    let mut text = format!("# {}\n", COLUMNS.join(","));
    for service in tcp.services().all() {
        let _ = writeln!(text, "{}", frontend(tcp, service).0.join(","));
    }
    for pool in snapshot.pools.values() {
        for member in pool.members() {
            let _ = writeln!(text, "{}", server(pool, member, now).0.join(","));
        }
        let _ = writeln!(text, "{}", backend(snapshot, pool).0.join(","));
    }
    text
}

fn frontend(tcp: &Tcp, service: &Service) -> Line {
    let (described, stats) = (&service.described, &service.stats);
    let (received, sent) = stats.bytes();
    let mut line = Line::new();
    line.set("pxname", &described.name);
    line.set("svname", "FRONTEND");
    line.set("scur", stats.open());
    line.set("smax", stats.most());
    if let Some(most) = described.max_connections {
        line.set("slim", most);
    }
    line.set("stot", stats.accepted());
    line.set("bin", received);
    line.set("bout", sent);
    line.set("status", if tcp.fault(service).is_none() { "OPEN" } else { "STOP" });
    line.set("type", FRONTEND);
    line.set("addr", format_args!("*:{}", described.port));
    line
}

fn server(pool: &Pool, member: &Member, now: Instant) -> Line {
    let upstream = &member.upstream;
    let counters = &upstream.counters;
    let limits = &pool.policy.upstream_limits;
    let mut line = Line::new();
    line.set("pxname", &pool.name);
    line.set("svname", &upstream.id);
    line.set("scur", upstream.in_flight());
    line.set("smax", counters.most_in_flight.load(Ordering::Relaxed));
    line.set("slim", limits.max_requests.min(limits.max_connections));
    line.set("qlimit", limits.max_pending);
    let requests = counters.requests.load(Ordering::Relaxed);
    line.set("stot", requests);
    line.set("lbtot", requests);
    line.set("status", status(member));
    line.set("weight", member.weight);
    line.set("act", u8::from(!member.backup));
    line.set("bck", u8::from(member.backup));
    line.set("chkdown", counters.ejections.load(Ordering::Relaxed));
    line.set("type", SERVER);
    line.set("addr", upstream.address);
    line.set("connect", counters.connects.load(Ordering::Relaxed));
    line.set("reuse", requests.saturating_sub(counters.connects.load(Ordering::Relaxed)));
    let ramp = upstream.ramp(now);
    if ramp < 1.0 {
        line.set("throttle", format!("{:.0}", ramp * 100.0));
    }
    outcomes(&mut line, std::iter::once(member));
    checks(&mut line, pool, member);
    line
}

/// The columns about checks, once there was one.
fn checks(line: &mut Line, pool: &Pool, member: &Member) {
    let record = &member.upstream.health.checks;
    let Some(last) = record.last() else { return };
    let check = &pool.policy.check;
    line.set(
        "chkfail",
        (0..RESULTS.len()).filter(|&result| result != PASSED).map(|r| record.count(r)).sum::<u64>(),
    );
    line.set("check_status", check_status(last.outcome, &check.ask));
    line.set("check_duration", last.took.as_millis());
    line.set("check_rise", check.rise);
    line.set("check_fall", check.fall);
    if let Err(fault) = last.outcome {
        line.set("last_chk", fault);
    }
    if let Err(Fault::Status(code)) = last.outcome {
        line.set("check_code", code);
    }
}

/// HAProxy's word for what a check came to, where L4 is the connection, L6 TLS and L7 what is said over it.
fn check_status(outcome: Outcome, ask: &Ask) -> &'static str {
    let says_something = match ask {
        Ask::Http(_) | Ask::Grpc(_) | Ask::Mysql(_) | Ask::Postgres(_) | Ask::Redis(_) => true,
        Ask::Tcp(ask) => ask.expect.is_some(),
    };
    match outcome {
        Ok(_) if says_something => "L7OK",
        Ok(_) => "L4OK",
        Err(Fault::Refused) => "L4CON",
        Err(Fault::Timeout) if says_something => "L7TOUT",
        Err(Fault::Timeout) => "L4TOUT",
        Err(Fault::Tls(_)) => "L6RSP",
        Err(Fault::Broken | Fault::Body) => "L7RSP",
        Err(
            Fault::Status(_)
            | Fault::GrpcStatus(_)
            | Fault::NotServing(_)
            | Fault::Login
            | Fault::LoginMethod
            | Fault::Complaint(_)
            | Fault::Galera { .. },
        ) => "L7STS",
        Err(Fault::Void) => "SOCKERR",
    }
}

fn backend(snapshot: &Snapshot, pool: &Pool) -> Line {
    let members = pool.members();
    let queue = &pool.lasting.queue;
    let sum = |of: &dyn Fn(&Member) -> u64| members.iter().map(of).sum::<u64>();
    let in_use = |backup: bool| {
        let is = |member: &&Member| {
            member.rank <= Rank::Backup && member.backup == backup && !member.upstream.is_ejected()
        };
        members.iter().filter(is).count()
    };
    let mut line = Line::new();
    line.set("pxname", &pool.name);
    line.set("svname", "BACKEND");
    line.set("qcur", queue.waiting());
    line.set("qmax", queue.longest());
    line.set("scur", sum(&|member| member.upstream.in_flight().into()));
    line.set("stot", sum(&|member| member.upstream.counters.requests.load(Ordering::Relaxed)));
    line.set("lbtot", sum(&|member| member.upstream.counters.requests.load(Ordering::Relaxed)));
    line.set("connect", sum(&|member| member.upstream.counters.connects.load(Ordering::Relaxed)));
    line.set("chkdown", sum(&|member| member.upstream.counters.ejections.load(Ordering::Relaxed)));
    line.set("status", if in_use(false) + in_use(true) > 0 { "UP" } else { "DOWN" });
    line.set("weight", sum(&|member| if member.rank == Rank::Primary { member.weight.into() } else { 0 }));
    line.set("act", in_use(false));
    line.set("bck", in_use(true));
    line.set("type", BACKEND);
    line.set("algo", pool.policy.balance.algorithm.name());
    let routes = snapshot.routes.iter().filter(|route| route.pool.name == pool.name);
    line.set("wredis", routes.map(|route| route.stats.retries()).sum::<u64>());
    outcomes(&mut line, members.iter());
    line
}

/// Outcomes that say nothing bad of the upstream's answers.
const NO_FAULT: [&str; 6] = ["answered", "late", "hedge", "connect", "abandoned", "stale"];

fn outcomes<'a>(line: &mut Line, members: impl Iterator<Item = &'a Member> + Clone) {
    let sum = |of: &dyn Fn(&Member) -> u64| members.clone().map(of).sum::<u64>();
    for (index, class) in CLASSES.iter().enumerate() {
        line.set(&format!("hrsp_{class}"), sum(&|member| member.upstream.counters.answers(index)));
    }
    let ended = |wanted: &dyn Fn(&str) -> bool| {
        let outcomes = in_flight::Outcome::all().filter(|outcome| wanted(outcome.name()));
        outcomes.map(|outcome| sum(&|member| member.upstream.counters.outcomes(outcome))).sum::<u64>()
    };
    line.set("econ", ended(&|name| name == "connect"));
    line.set("cli_abrt", ended(&|name| name == "abandoned"));
    line.set("eresp", ended(&|name| !NO_FAULT.contains(&name)));
    line.set("wretr", ended(&|name| !["answered", "truncated", "abandoned"].contains(&name)));
}

/// HAProxy's words, where it has one.
fn status(member: &Member) -> &'static str {
    match member.rank {
        Rank::Maintenance => "MAINT",
        Rank::Draining => "DRAIN",
        _ if member.upstream.is_ejected() => "DOWN",
        Rank::Suspect => "NOLB",
        _ if member.upstream.health.trial.is_over() => "UP",
        _ => "UP 1/2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::check::Role;

    #[test]
    fn checks_have_the_words_of_haproxy() {
        let (http, tcp) =
            (Ask::Http(wire::checks::HttpAsk::default()), Ask::Tcp(wire::checks::TcpAsk::default()));
        for (outcome, over_http, over_tcp) in [
            (Ok(Role::Any), "L7OK", "L4OK"),
            (Err(Fault::Refused), "L4CON", "L4CON"),
            (Err(Fault::Timeout), "L7TOUT", "L4TOUT"),
            (Err(Fault::Status(503)), "L7STS", "L7STS"),
        ] {
            assert_eq!((check_status(outcome, &http), check_status(outcome, &tcp)), (over_http, over_tcp));
        }
    }

    #[test]
    fn a_field_that_would_break_the_line_is_quoted() {
        let mut line = Line::new();
        line.set("pxname", "a \"b\", c");
        line.set("no such column", 1);
        assert!(line.0.join(",").starts_with("\"a \"\"b\"\", c\",,"));
    }
}
