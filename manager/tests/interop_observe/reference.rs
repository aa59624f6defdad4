//! docs/metrics.md: the tables in it are made of what programs of a living cluster tell. `METRICS_TABLE=write` in the
//! environment writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::repository;

const PAGE: &str = "docs/metrics.md";
const BEGIN: &str = "<!-- tables: written by the test `interop_observe` -->\n";
const END: &str = "<!-- end of the tables -->\n";

/// The programs, in the order of the page, and where each is.
const PROGRAMS: [(&str, &str); 4] = [
    ("lb", "lb/src"),
    ("manager", "manager/src"),
    ("stateless", "stateless/src"),
    ("loadtest", "loadtest/src"),
];

/// What every program tells of its process.
const PROCESS: &str = "process_";

/// One metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// A metric that is told only where something is, or was: name, kind, labels and help, and when it is told.
type Sometimes = (&'static str, &'static str, &'static [&'static str], &'static str, &'static str);

/// Those that this run cannot be sure to see.
const SOMETIMES: [Sometimes; 26] = [
    (
        "lb_access_log_dropped_total",
        "counter",
        &[],
        "Lines that the disk was too slow for or refused.",
        "with an access log",
    ),
    ("lb_access_log_lines_total", "counter", &[], "Lines written to the access log.", "with an access log"),
    (
        "lb_pool_checked_upstreams",
        "gauge",
        &["pool"],
        "Upstreams that this balancer checks all the time; the rest of the pool is left to other balancers.",
        "with `check.active`",
    ),
    (
        "lb_pool_has_primary",
        "gauge",
        &["pool"],
        "1 while a pool with primary_only has a primary, else 0.",
        "with `primary_only`",
    ),
    (
        "lb_pool_primaries_total",
        "counter",
        &["pool"],
        "How often an upstream became the primary of its pool.",
        "with `primary_only`",
    ),
    (
        "lb_bgp_announced",
        "gauge",
        &["address"],
        "1 while the address is here, for a BGP daemon to announce.",
        "with `[bgp]`",
    ),
    (
        "lb_requests_limited_total",
        "counter",
        &["route", "pool", "outcome"],
        "Requests that were denied, or refused or delayed as too many.",
        "from the first one on",
    ),
    (
        "lb_spans_dropped_total",
        "counter",
        &["reason"],
        "Spans that did not arrive, by reason.",
        "with `[tracing]` and an endpoint",
    ),
    (
        "lb_spans_sent_total",
        "counter",
        &[],
        "Spans that a collector took.",
        "with `[tracing]` and an endpoint",
    ),
    (
        "lb_tcp_bytes_total",
        "counter",
        &["service", "way"],
        "Bytes that a TCP service had from its clients (received) and passed on to them (sent).",
        "with a TCP service",
    ),
    (
        "lb_tcp_connect_failures_total",
        "counter",
        &["service", "reason"],
        "Connections to upstreams that were not to be had; the next one was tried.",
        "with a TCP service",
    ),
    (
        "lb_tcp_connection_duration_seconds",
        "histogram",
        &["service"],
        "From the acceptance of a connection of a TCP service to its end.",
        "with a TCP service",
    ),
    (
        "lb_tcp_connections_accepted_total",
        "counter",
        &["service"],
        "Connections of a TCP service so far.",
        "with a TCP service",
    ),
    (
        "lb_tcp_connections_open",
        "gauge",
        &["service"],
        "Connections of a TCP service that are open.",
        "with a TCP service",
    ),
    (
        "lb_tcp_connections_total",
        "counter",
        &["service", "ended"],
        "Connections of a TCP service that have ended, by how.",
        "with a TCP service",
    ),
    (
        "lb_tcp_listening",
        "gauge",
        &["service"],
        "1 while the port of a TCP service is open, 0 while it cannot be.",
        "with a TCP service",
    ),
    (
        "lb_upstream_check_duration_seconds",
        "gauge",
        &["pool", "upstream"],
        "How long the last check of an upstream took.",
        "of upstreams that were checked",
    ),
    (
        "lb_upstream_check_passing",
        "gauge",
        &["pool", "upstream"],
        "1 while the last check of an upstream passed.",
        "of upstreams that were checked",
    ),
    (
        "lb_upstream_checks_total",
        "counter",
        &["pool", "upstream", "result"],
        "Checks of an upstream, by what they came to.",
        "of upstreams that were checked",
    ),
    (
        "lb_upstream_primary",
        "gauge",
        &["pool", "upstream"],
        "1 for the upstream that all connections of its pool go to.",
        "with `primary_only`",
    ),
    (
        "lb_vip_packets_dropped_total",
        "counter",
        &["kind"],
        "Received VRRP packets that were dropped, by kind.",
        "from the first one on",
    ),
    (
        "manager_acme_failures",
        "gauge",
        &["names"],
        "How many attempts in a row to get a certificate have failed, by its names.",
        "with `[acme]`",
    ),
    (
        "manager_autoscale_desired_machines",
        "gauge",
        &["service"],
        "How many machines an autoscaled service is to have, over all hosts.",
        "with `[service.autoscale]`",
    ),
    (
        "manager_autoscale_metric",
        "gauge",
        &["service", "metric"],
        "What was measured of a machine of an autoscaled service, on average; absent where nothing was.",
        "with `[service.autoscale]`",
    ),
    (
        "manager_autoscale_ready_machines",
        "gauge",
        &["service"],
        "How many machines of an autoscaled service take requests, over all hosts that are heard.",
        "with `[service.autoscale]`",
    ),
    (
        "manager_autoscale_target",
        "gauge",
        &["service", "metric"],
        "What a metric of an autoscaled service is to be.",
        "with `[service.autoscale]`",
    ),
];

/// What was told, by program and metric.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeMap<String, BTreeMap<String, Family>>);

impl Told {
    /// What `job` answered, in Prometheus' text format.
    pub(crate) fn add(&mut self, job: &str, text: &str) {
        let families = self.0.entry(job.to_owned()).or_default();
        let mut current = String::new();
        for line in text.lines() {
            if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
                current = name.to_owned();
                families.entry(current.clone()).or_default().help = help.replace("\\\\", "\\");
            } else if let Some((name, kind)) =
                line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
            {
                families.entry(name.to_owned()).or_default().kind = kind.to_owned();
            } else if let (Some((_, labels)), Some(family)) =
                (line.split_once('{'), families.get_mut(&current))
            {
                let names =
                    labels.split("=\"").map(|part| part.rsplit(['{', ',', '"']).next().unwrap_or_default());
                let count = labels.matches("=\"").count();
                let names = names.take(count).filter(|name| *name != "le").map(str::to_owned);
                family.labels.extend(names);
            }
        }
    }

    /// Asserts that the page has all that was told, and nothing else.
    pub(crate) fn compare_with_the_page(mut self) {
        let mut when = BTreeMap::new();
        for (name, kind, labels, help, condition) in SOMETIMES {
            let (program, sources) =
                PROGRAMS.into_iter().find(|(program, _)| name.starts_with(program)).expect("a program");
            assert!(
                sources_say(&repository(sources), name) && sources_say(&repository(sources), help),
                "{name}: {help}"
            );
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            let family = Family { kind: kind.to_owned(), help: help.to_owned(), labels };
            let seen = self.0.entry(program.to_owned()).or_default().insert(name.to_owned(), family.clone());
            assert!(seen.is_none_or(|seen| seen == family), "{name} is told otherwise");
            when.insert(name, condition);
        }
        let tables = self.tables(&when);
        let page = fs::read_to_string(repository(PAGE)).expect("the page");
        let (before, rest) = page.split_once(BEGIN).expect("the begin of the tables");
        let (committed, after) = rest.split_once(END).expect("the end of the tables");
        if std::env::var("METRICS_TABLE").as_deref() == Ok("write") {
            fs::write(repository(PAGE), format!("{before}{BEGIN}{tables}{END}{after}")).expect("written");
            return;
        }
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let (told, written) = (lines(&tables), lines(committed));
        let new: Vec<_> = told.difference(&written).collect();
        let gone: Vec<_> = written.difference(&told).collect();
        assert!(
            tables == committed,
            "{PAGE} is out of date (METRICS_TABLE=write writes it anew): new {new:#?}, gone {gone:#?}"
        );
    }

    fn tables(&self, when: &BTreeMap<&str, &str>) -> String {
        let mut text = String::new();
        let processes = self.0.values().flatten().filter(|(name, _)| name.starts_with(PROCESS));
        let processes: BTreeMap<_, _> =
            processes.map(|(name, family)| (name.clone(), family.clone())).collect();
        table(&mut text, "Every program, of its process", &processes, when);
        for (program, _) in PROGRAMS {
            let families = self.0.get(program).unwrap_or_else(|| panic!("{program} told nothing"));
            let own: BTreeMap<_, _> = families
                .iter()
                .filter(|(name, _)| !name.starts_with(PROCESS))
                .map(|(name, family)| (name.clone(), family.clone()))
                .collect();
            for name in own.keys() {
                assert!(name.starts_with(&format!("{program}_")), "{name} of {program}");
            }
            table(&mut text, program, &own, when);
        }
        text
    }
}

fn table(text: &mut String, heading: &str, families: &BTreeMap<String, Family>, when: &BTreeMap<&str, &str>) {
    let _ = write!(text, "\n## {heading}\n\n| metric | type | unit | labels | meaning |\n|-|-|-|-|-|\n");
    for (name, Family { kind, help, labels }) in families {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let when = when.get(name.as_str()).map(|when| format!(" (Only {when}.)")).unwrap_or_default();
        let help = help.replace('|', "\\|");
        let _ =
            writeln!(text, "| `{name}` | {kind} | {} | {} | {help}{when} |", unit(name), labels.join(", "));
    }
}

/// As the name says it.
fn unit(name: &str) -> &'static str {
    let base = name.trim_end_matches("_total");
    match base {
        _ if base.ends_with("_timestamp_seconds") || base == "process_start_time_seconds" => {
            "seconds since 1970"
        }
        _ if base.ends_with("_per_second") => "per second",
        _ if base.ends_with("_seconds") => "seconds",
        _ if base.ends_with("_bytes") => "bytes",
        _ => "",
    }
}

/// Whether a program's source has this text.
fn sources_say(directory: &Path, text: &str) -> bool {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.expect("an entry").path()).any(|path| match path.is_dir() {
        true => sources_say(&path, text),
        false => fs::read_to_string(path).is_ok_and(|source| source.contains(text)),
    })
}
